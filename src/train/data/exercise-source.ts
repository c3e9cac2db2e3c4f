/**
 * Exercises without end as training documents: the n-th is drawn from random numbers that belong to n alone.
 *
 * Only problems of the training split are ever drawn (`make`). A document is one conversation: the question, with thoughts or asking for
 * the answer at once, and the reply, written by the tokenizer's chat template.
 */
import type { ChatMessage, ChatTemplate, Tokenizer } from "../../text/index.js";
import {
  checkedFamilies,
  defaultMaterial,
  type Family,
  familyNamed,
  type Level,
  type Material,
  type Mode,
  make,
  type Problem,
  Random,
  toPrompt,
  toReply,
} from "../tasks/index.js";
import { conversationDocuments } from "./conversation.js";
import { DataError } from "./data-error.js";
import { encodeDocument, type Stretch } from "./encode-document.js";
import type { Piece, PieceSource } from "./piece.js";

/** What is drawn, and how often. */
export interface ExerciseMix {
  /** Families by name; as a list each with its usual weight. Default: all checked ones. */
  readonly families?: readonly string[] | Readonly<Record<string, number>> | undefined;
  /** Weights of the levels 0, 1, 2. Default 0.30, 0.38, 0.32 as in fulgur-mini's training. */
  readonly levels?: readonly number[] | undefined;
  /**
   * `think`: with worked steps. `direct`: the answer at once, at any level. `mixed`: both, direct with probability `direct` where the
   * family's level allows it. Default mixed.
   */
  readonly mode?: Mode | "mixed" | undefined;
  /** Default 0.3. */
  readonly direct?: number | undefined;
  /** Weights of conversations of one exercise, two, three …. Default: one. */
  readonly turns?: readonly number[] | undefined;
  /** Texts for the system, one of which stands in front of a conversation with probability `system`. Default: none. */
  readonly systems?: readonly string[] | undefined;
  /** Default 0.3, where there are `systems`. */
  readonly system?: number | undefined;
  /** Which tokens count. Default: those of the replies. */
  readonly loss?: "answer" | "all" | undefined;
}

/** Options of {@link exerciseSource}. */
export interface ExerciseSourceOptions extends ExerciseMix {
  readonly name: string;
  readonly tokenizer: Pick<Tokenizer, "encode">;
  readonly template: ChatTemplate;
  /** Problems whose document is longer are drawn again. */
  readonly sequence: number;
  readonly seed: string;
  readonly material?: Material | undefined;
}

const usualLevels = [0.3, 0.38, 0.32];
const usualDirect = 0.3;
const usualSystem = 0.3;
// Even where one problem in eight fits, 200 draws miss with probability 3e-12.
const attempts = 200;

/** A problem as training draws it: with its mode. */
export interface DrawnExercise {
  readonly problem: Problem;
  readonly mode: Mode;
}

/** Checks a mix and gives the function that draws from it. @throws {RangeError} an unknown family, or weights that are none. */
export function exerciseDrawer(
  mix: ExerciseMix,
  material: Material = defaultMaterial,
): (random: Random) => DrawnExercise {
  const { levels = usualLevels, mode = "mixed", direct = usualDirect } = mix;
  const chosen: readonly (readonly [family: Family, weight: number])[] =
    mix.families === undefined
      ? checkedFamilies.map((family) => [family, family.weight])
      : isList(mix.families)
        ? mix.families.map((name) => [familyNamed(name), familyNamed(name).weight])
        : Object.entries(mix.families).map(([name, weight]) => [familyNamed(name), weight]);
  const names = chosen.map(([{ name }]) => name);
  const weights = chosen.map(([, weight]) => weight);
  if (levels.length !== 3) throw new RangeError(`exercises: levels expected three weights, got ${levels.length}.`);
  checkWeights("families", weights);
  checkWeights("levels", levels);
  return (random) => {
    const name = random.weighted(names, weights);
    const level = random.weighted([0, 1, 2] as const, levels);
    const problem = make(random, name, level, "train", material);
    return { problem, mode: mode === "mixed" ? modeOf(problem, direct, random) : mode };
  };
}

function checkWeights(field: string, list: readonly number[]): void {
  if (list.some((weight) => weight > 0) && list.every((weight) => weight >= 0 && weight < Infinity)) return;
  throw new RangeError(
    `exercises: ${field} expected weights, at least one above 0 and none below, got [${list.join(", ")}].`,
  );
}

const isList = (value: readonly string[] | object): value is readonly string[] => Array.isArray(value);

/** Direct answers only where a small model can hope to give them; open families have nothing to work out, so twice as often. */
function modeOf({ family, level }: { family: string; level: Level }, direct: number, random: Random): Mode {
  const { highestDirectLevel, isOpen } = familyNamed(family);
  const probability = Math.min(1, isOpen ? 2 * direct : direct);
  return level <= highestDirectLevel && random.chance(probability) ? "direct" : "think";
}

/** The document of a conversation of exercises. */
export function exerciseStretches(
  exercises: readonly DrawnExercise[],
  template: ChatTemplate,
  {
    loss = "answer",
    system,
  }: { readonly loss?: "answer" | "all" | undefined; readonly system?: string | undefined } = {},
): Stretch[] {
  const messages: ChatMessage[] = [
    ...(system === undefined ? [] : [{ role: "system", content: system }]),
    ...exercises.flatMap(({ problem, mode }): ChatMessage[] => [
      { role: "user", content: toPrompt(problem, mode) },
      { role: "assistant", content: toReply(problem, mode) },
    ]),
  ];
  // Where the template rewrites earlier turns, the last answer's document has them all in front.
  const stretches = conversationDocuments(messages, template, { lossOnAll: loss === "all" }).at(-1) ?? [];
  const replies = stretches.filter((stretch) => stretch.loss).length;
  let reply = exercises.length - replies;
  return stretches.flatMap((stretch) => {
    if (!stretch.loss) return [stretch];
    const { problem } = exercises[reply++] as DrawnExercise; // as many as replies, or the last ones
    const at = problem.spelt ? stretch.text.lastIndexOf(problem.answer) : -1;
    if (at < 0) return [stretch];
    // The answer stands last in the reply.
    const end = at + problem.answer.length;
    return [
      { text: stretch.text.slice(0, at), loss: true },
      { text: problem.answer, loss: true, spelt: true },
      { text: stretch.text.slice(end), loss: true },
    ];
  });
}

/** @throws {RangeError} the mix is none. Pieces: @throws {DataError} nothing fits into `sequence`. */
export function exerciseSource(options: ExerciseSourceOptions): PieceSource {
  const { name, tokenizer, template, sequence, seed, loss, material } = options;
  const { turns = [1], systems = [], system = usualSystem } = options;
  const draw = exerciseDrawer(options, material);
  checkWeights("turns", turns);
  const counts = turns.map((_, i) => i + 1);
  return {
    name,
    async piece(n): Promise<Piece> {
      const random = new Random(`${seed}/${n}`);
      let shortest = Number.POSITIVE_INFINITY;
      for (let attempt = 0; attempt < attempts; attempt++) {
        const count = turns.length > 1 ? random.weighted(counts, turns) : 1;
        const front = systems.length > 0 && random.chance(system) ? random.choice(systems) : undefined;
        const exercises = Array.from({ length: count }, () => draw(random));
        const document = encodeDocument(exerciseStretches(exercises, template, { loss, system: front }), tokenizer);
        if (document.ids.length - 1 <= sequence) return { ...document, isWhole: true };
        shortest = Math.min(shortest, document.ids.length - 1);
      }
      throw new DataError(
        name,
        `exercise ${n}`,
        `expected at most ${sequence} tokens ("sequence"), got ${shortest} and more in ${attempts} draws`,
      );
    },
  };
}
