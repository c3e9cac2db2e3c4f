/**
 * Documents that ask for things said earlier in the text: facts one after the other or spread over prose, then questions about some of
 * them, one a turn. For training; problems that the evaluation of `recall` may ask are left out by the same checksum.
 */

import type { ChatMessage, ChatTemplate, Tokenizer } from "../../text/index.js";
import { isEvaluation, type Level, type Material, type Mode, Random, toPrompt, toReply } from "../tasks/index.js";
import { conversationDocuments } from "./conversation.js";
import { DataError } from "./data-error.js";
import { encodeDocument } from "./encode-document.js";
import { type FactKind, factKinds } from "./fact-kinds.js";
import type { Piece, PieceSource } from "./piece.js";

/** Options of a retrieval document. */
export interface RetrievalOptions {
  readonly facts: number;
  /** Questions at most, one a turn. */
  readonly questions: number;
  /** Characters of prose after each fact, about; 0: none. */
  readonly spacing: number;
  /** Plain text to cut the prose from. */
  readonly prose: string;
  readonly material: Material;
  /** `heldOut`: for measuring only. Default `training`. */
  readonly wordings?: "training" | "heldOut";
  /** Probability that a turn wants the answer at once. Default 0.5. */
  readonly direct?: number;
}

/** A turn: question and reply. */
export interface RetrievalTurn {
  /** The user's message; the first holds the text too. */
  readonly user: string;
  readonly think: string;
  readonly answer: string;
  readonly mode: Mode;
}

const doNotKnow = "I do not know.";
const openings = ["Remember: ", "Remember: ", "Read this: ", "Here is a text.\n", ""];

const fill = (wording: string, key: string, value: string): string =>
  wording.replaceAll("{k}", () => key).replaceAll("{v}", () => value);

const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** One document's turns; none in the rare case that every question belongs to the evaluation. */
export function retrievalTurns(random: Random, options: RetrievalOptions): RetrievalTurn[] {
  const { material, prose, spacing, wordings = "training", direct = 0.5 } = options;
  const kind = random.weighted(
    factKinds,
    factKinds.map(({ weight = 1 }) => weight),
  );
  const { keys, values } = kind.draw(random, options.facts + 1, material);
  // One fact is drawn and not told: what the text does not say can be asked for as well.
  const absent = keys.length - 1;
  // Half of the texts keep to one wording, as lists do; names of people begin sentences anyway.
  const one = random.chance(0.5) ? random.choice(kind.statements) : undefined;
  const lines = keys.slice(0, absent).map((key, i) => fill(one ?? random.choice(kind.statements), key, values[i]!));
  const body = lines
    .flatMap((line) => {
      const text = spacing > 0 ? proseOf(random, prose, Math.round(spacing * (0.3 + 1.4 * random.float()))) : "";
      return text === "" ? [line] : [line, text];
    })
    .join(spacing > 0 ? "\n" : random.choice([" ", " ", "\n"]));

  const asked = random.shuffle(lines.map((_, i) => i)).slice(0, options.questions);
  if (asked.length > 1 && random.chance(0.15)) asked[random.int(0, asked.length - 1)] = absent;
  const usual = random.chance(direct);
  const opening = random.choice(openings);
  const turns: RetrievalTurn[] = [];
  for (const i of asked) {
    const { question, named, answer } = ask(random, kind, keys[i]!, values[i]!, wordings);
    if (isEvaluation("recall", body + question)) continue;
    // Most conversations keep to one mode.
    const mode: Mode = (random.chance(0.8) ? usual : !usual) ? "direct" : "think";
    const [think, said] =
      i === absent
        ? [`I look for ${named}: it is not in the text.`, doNotKnow]
        : [`I look for ${named}: ${lines[i]}`, answer];
    const user = turns.length === 0 ? `${opening}${body}\n${question}` : question;
    turns.push({ user, think, answer: said, mode });
  }
  return turns;
}

/** A question for a fact, usually for its value. */
function ask(random: Random, kind: FactKind, key: string, value: string, wordings: "training" | "heldOut") {
  const { backward } = kind;
  const isBackward = backward !== undefined && random.chance(0.2);
  const { questions, heldOut } = isBackward ? backward : kind;
  const wording = random.choice(wordings === "training" ? questions : heldOut);
  const question = fill(wording, key, value);
  return {
    // "{k}?" asks as the text spells it; sentences begin with a capital where they have a verb.
    question: wording.includes(" ") && random.chance(0.5) ? sentence(question) : question,
    named: isBackward ? value : key,
    answer: isBackward ? key : value,
  };
}

/** A stretch of prose on one line, whole words. */
function proseOf(random: Random, prose: string, characters: number): string {
  if (characters < 20 || prose.length <= characters) return "";
  const start = random.int(0, prose.length - characters);
  const text = prose.slice(start, start + characters).replace(/[\0\s]+/g, " ");
  const [first, last] = [text.indexOf(" "), text.lastIndexOf(" ")];
  return last > first ? `${text.slice(first + 1, last)}.` : "";
}

/** What a retrieval source writes. */
export interface RetrievalMix {
  /** Tokens of a document from … to, each length of the same order as likely. Default 128 to the sequence. */
  readonly tokens?: readonly [from: number, to: number] | undefined;
  /** Facts from … to. Default 3 to 30. */
  readonly facts?: readonly [from: number, to: number] | undefined;
  /** Questions from … to, one a turn. Default: one in 30 % of the documents, else 2 to 7, without prose to 12. */
  readonly questions?: readonly [from: number, to: number] | undefined;
  /** Share of documents without prose, facts alone. Default 0.3. */
  readonly dense?: number | undefined;
  readonly direct?: number | undefined;
  readonly loss?: "answer" | "all" | undefined;
}

/** Options of {@link retrievalSource}. */
export interface RetrievalSourceOptions extends RetrievalMix {
  readonly name: string;
  readonly tokenizer: Pick<Tokenizer, "encode">;
  readonly template: ChatTemplate;
  readonly sequence: number;
  readonly seed: string;
  readonly prose: string;
  readonly material: Material;
}

// Each attempt draws a shorter document.
const attempts = 40;

/** Retrieval documents without end. @throws {RangeError} ranges that are none, or too little prose. */
export function retrievalSource(options: RetrievalSourceOptions): PieceSource {
  const { name, tokenizer, template, sequence, seed, prose, material, loss, direct = 0.5, dense = 0.3 } = options;
  const [shortest, longest] = options.tokens ?? [Math.min(128, sequence), sequence];
  const [fewest, most] = options.facts ?? [3, 30];
  checkRange(name, "tokens", shortest, longest, sequence);
  checkRange(name, "facts", fewest, most, 200);
  if (options.questions) checkRange(name, "questions", ...options.questions, 200);
  const questionsOf = (random: Random, isDense: boolean): number => {
    if (options.questions) return random.int(...options.questions);
    return random.chance(0.3) ? 1 : random.int(2, isDense ? 12 : 7);
  };
  if (dense < 1 && prose.length < 10_000) {
    throw new RangeError(`${name}: prose expected at least 10,000 characters, got ${prose.length}.`);
  }
  const perToken = (text: string): number => text.length / Math.max(1, tokenizer.encode(text).length);
  const proseCharacters = dense < 1 ? perToken(prose.slice(0, 10_000)) : 1;

  return {
    name,
    async piece(n): Promise<Piece> {
      const random = new Random(`${seed}/${n}`);
      for (let attempt = 0; attempt < attempts; attempt++) {
        const target = shortest * (longest / shortest) ** random.float() * 0.9 ** attempt;
        const isDense = random.chance(dense);
        // A fact and its question take some 12 and 24 tokens of a usual vocabulary, and characters / 4 of any.
        const factTokens = (12 * 4) / proseCharacters;
        const room = Math.max(1, Math.floor(target / (2 * factTokens)));
        const facts = Math.min(random.int(fewest, most), isDense ? room : Math.max(fewest, room));
        const questions = Math.min(questionsOf(random, isDense), Math.max(1, room));
        const left = target - factTokens * (facts + 2 * questions);
        const spacing = isDense ? 0 : Math.max(0, (left * proseCharacters) / facts);
        const turns = retrievalTurns(random, { facts, questions, spacing, prose, material, direct });
        if (turns.length === 0) continue;
        const messages = turns.flatMap(({ user, mode, ...reply }): ChatMessage[] => [
          { role: "user", content: toPrompt({ user }, mode) },
          { role: "assistant", content: toReply(reply, mode) },
        ]);
        // Where the template rewrites earlier turns, the last answer's document has them all in front.
        const stretches = conversationDocuments(messages, template, { lossOnAll: loss === "all" }).at(-1) ?? [];
        const document = encodeDocument(stretches, tokenizer);
        if (document.ids.length - 1 <= Math.min(sequence, Math.ceil(longest))) return { ...document, isWhole: true };
      }
      throw new DataError(
        name,
        `document ${n}`,
        `found none of at most ${longest} tokens in ${attempts} draws ("facts" or "tokens" too tight)`,
      );
    },
  };
}

function checkRange(name: string, field: string, from: number, to: number, limit: number): void {
  if (!(Number.isInteger(from) && Number.isInteger(to) && from >= 1 && from <= to && to <= limit)) {
    throw new RangeError(`${name}: ${field} expected whole numbers from <= to of 1 to ${limit}, got ${from} to ${to}.`);
  }
}

/** A problem for measuring: one text, one question in a wording that is never trained. */
export function heldOutRetrieval(
  seed: number | string,
  n: number,
  options: Omit<RetrievalOptions, "questions" | "wordings" | "direct">,
): { readonly user: string; readonly answer: string; readonly level: Level } {
  for (let attempt = 0; ; attempt++) {
    const random = new Random(`held out/${seed}/${n}/${attempt}`);
    const [turn] = retrievalTurns(random, { ...options, questions: 1, wordings: "heldOut", direct: 0 });
    if (turn) return { user: turn.user, answer: turn.answer, level: 2 };
  }
}
