/**
 * A model folder against its golden: logits in one piece, in chunks, token by token and in a ragged batch; hidden states;
 * the greedy continuation through the engine.
 */
import type { Device } from "../../device/index.js";
import type { Folder } from "../../formats/index.js";
import { type LanguageModel, loadLanguageModel } from "../../models/index.js";
import { createTokenizer } from "../../text/index.js";
import { type Check, checkRms, logSumExp, RelativeRms, topTwo } from "./compare.js";
import { type Golden, ReferenceTensors, readGolden } from "./goldens-file.js";
import { batchLogits, greedy, piecewiseLogits } from "./run-model.js";

/** What `verify` reports. */
export interface Verification {
  readonly folder: string;
  readonly family: string;
  readonly logitsRelRms: number;
  readonly logitsMaxAbs: number;
  readonly greedyEqual: boolean;
  readonly checks: readonly Check[];
  readonly passed: boolean;
}

interface Tally {
  readonly logits: RelativeRms;
  worstRms: number;
  greedyEqual: boolean;
  readonly checks: Check[];
}

const DEFAULT_TOLERANCE = 1e-4;
/** Mean next-token cross-entropy, absolute. */
const LOSS_TOLERANCE = 1e-5;

export async function verifyModel(device: Device, folder: Folder, configFile = "config.json"): Promise<Verification> {
  const golden = await readGolden(folder);
  using model = await loadLanguageModel(device, folder, { configFile });
  await using reference = await ReferenceTensors.open(folder, "golden.safetensors");
  const tally: Tally = { logits: new RelativeRms(), worstRms: 0, greedyEqual: true, checks: [] };
  switch (golden.shape) {
    case "sequences":
      await verifySequences(model, golden.data, reference, tally);
      break;
    case "cases":
      await verifyCases(model, golden.data, reference, tally);
      break;
    case "prompts":
      await verifyPrompts(model, folder, golden.data, reference, tally);
      break;
    default:
      golden satisfies never;
  }
  return {
    folder: folder.name,
    family: model.family,
    logitsRelRms: tally.worstRms,
    logitsMaxAbs: tally.logits.maxAbs,
    greedyEqual: tally.greedyEqual,
    checks: tally.checks,
    passed: tally.checks.every((check) => check.passed),
  };
}

type DataOf<S extends Golden["shape"]> = Extract<Golden, { shape: S }>["data"];

/** Adds a comparison of logits and returns its check. */
function compareLogits(
  tally: Tally,
  name: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tolerance: number,
): void {
  const rms = new RelativeRms().add(got, want);
  tally.logits.add(got, want);
  tally.worstRms = Math.max(tally.worstRms, rms.value);
  tally.checks.push(checkRms(name, rms.value, tolerance));
}

function rowsOf(values: Float32Array, positions: readonly number[], width: number): Float32Array {
  const rows = new Float32Array(positions.length * width);
  for (const [i, p] of positions.entries()) rows.set(values.subarray(p * width, (p + 1) * width), i * width);
  return rows;
}

/** Uneven pieces, the last tokens one by one: prefill over chunk borders, then decode. */
function unevenPieces(length: number): number[] {
  const tail = Math.min(4, length - 1);
  const body = length - tail;
  const pieces = [Math.ceil(body * 0.37), 1, Math.floor(body * 0.3)].filter((n) => n > 0);
  const left = body - pieces.reduce((a, b) => a + b, 0);
  const split = left >= 0 ? [...pieces, ...(left > 0 ? [left] : [])] : [body];
  return [...split, ...Array<number>(tail).fill(1)];
}

async function verifySequences(
  model: LanguageModel,
  golden: DataOf<"sequences">,
  reference: ReferenceTensors,
  tally: Tally,
): Promise<void> {
  const tolerance = golden.tolerance?.relative_rms ?? DEFAULT_TOLERANCE;
  const { vocabSize } = model;
  const wanted = new Map<string, Float64Array>();
  for (const { logits } of golden.sequences) wanted.set(logits, await reference.values(logits));

  for (const { name, ids, logit_positions, logits, loss } of golden.sequences) {
    const want = wanted.get(logits) ?? new Float64Array();
    const whole = await piecewiseLogits(model, ids, []);
    compareLogits(tally, `${name} in one piece`, rowsOf(whole, logit_positions, vocabSize), want, tolerance);
    if (loss !== undefined && ids.length > 1) {
      const difference = Math.abs(crossEntropy(whole, ids, vocabSize) - loss);
      tally.checks.push({
        name: `${name} loss`,
        passed: difference <= LOSS_TOLERANCE,
        detail: `absolute error ${difference.toExponential(2)} (at most ${LOSS_TOLERANCE})`,
      });
    }
    if (ids.length > 1) {
      const chunked = await piecewiseLogits(model, ids, unevenPieces(ids.length));
      compareLogits(tally, `${name} in pieces`, rowsOf(chunked, logit_positions, vocabSize), want, tolerance);
    }
  }

  const batch = await batchLogits(
    model,
    golden.sequences.map(({ ids }) => ids),
  );
  for (const [i, { name, logit_positions, logits }] of golden.sequences.entries()) {
    const got = rowsOf(batch[i] ?? new Float32Array(), logit_positions, vocabSize);
    compareLogits(tally, `${name} in a batch`, got, wanted.get(logits) ?? new Float64Array(), tolerance);
  }

  if (golden.hidden) {
    const hidden = new Map<string, Float32Array>();
    await piecewiseLogits(model, golden.hidden.ids, [], hidden);
    for (const name of golden.hidden.tensors) {
      const rms = new RelativeRms().add(hidden.get(name) ?? [], await reference.values(name)).value;
      tally.checks.push(checkRms(name, rms, tolerance));
    }
  }
  if (golden.greedy) {
    const { prompt, continuation } = golden.greedy;
    await checkGreedy(model, "greedy continuation", prompt, continuation, 0, tally);
  }
}

async function verifyCases(
  model: LanguageModel,
  golden: DataOf<"cases">,
  reference: ReferenceTensors,
  tally: Tally,
): Promise<void> {
  const tolerance = golden.tolerance?.relative_rms ?? DEFAULT_TOLERANCE;
  const { vocabSize } = model;
  const first = await reference.values("first_position_logits");
  for (const [i, { prompt, ids, continuation }] of golden.cases.entries()) {
    const logits = await piecewiseLogits(model, ids, []);
    const got = logits.subarray((ids.length - 1) * vocabSize);
    const title = JSON.stringify(prompt.length > 48 ? `${prompt.slice(0, 45)}…` : prompt);
    const want = first.subarray(i * vocabSize, (i + 1) * vocabSize);
    compareLogits(tally, `${title} first position`, got, want, tolerance);
    if (ids.length > 1) {
      const pieces = await piecewiseLogits(model, ids, unevenPieces(ids.length));
      compareLogits(tally, `${title} in pieces`, pieces.subarray((ids.length - 1) * vocabSize), want, tolerance);
    }
    await checkGreedy(model, `${title} greedy continuation`, ids, continuation, 0, tally);
  }
}

async function verifyPrompts(
  model: LanguageModel,
  folder: Folder,
  golden: DataOf<"prompts">,
  reference: ReferenceTensors,
  tally: Tally,
): Promise<void> {
  const tolerance = golden.tolerance?.relative_rms ?? DEFAULT_TOLERANCE;
  for (const { text, ids, logits, continuation } of golden.prompts) {
    const title = JSON.stringify(text);
    const want = await reference.values(logits);
    const compare = async (name: string, pieces: readonly number[]) =>
      compareLogits(tally, `${title} ${name}`, await piecewiseLogits(model, ids, pieces), want, tolerance);
    await compare("prompt", []);
    if (ids.length > 1) await compare("in pieces", unevenPieces(ids.length));
    await compare(
      "token by token",
      ids.map(() => 1),
    );
    // The reference's own rounding decides where the two best logits are closer than this.
    await checkGreedy(model, `${title} greedy continuation`, ids, continuation, 1e-3, tally);
  }
  if (golden.tokenizer && (await folder.has("tokenizer.json"))) {
    const config: unknown = (await folder.has("tokenizer_config.json"))
      ? await folder.readJson("tokenizer_config.json")
      : {};
    const tokenizer = createTokenizer(await folder.readJson("tokenizer.json"), config);
    const wrong = golden.tokenizer.filter(
      ({ text, ids, decoded }) => tokenizer.encode(text).join() !== ids.join() || tokenizer.decode(ids) !== decoded,
    );
    tally.checks.push({
      name: "tokenizer",
      passed: wrong.length === 0,
      detail: `${golden.tokenizer.length - wrong.length} of ${golden.tokenizer.length} texts equal`,
    });
  }
}

/** Compares up to the first place where the two best logits are closer than `closest`. */
async function checkGreedy(
  model: LanguageModel,
  name: string,
  prompt: readonly number[],
  continuation: readonly number[],
  closest: number,
  tally: Tally,
): Promise<void> {
  const got = await greedy(model, prompt, continuation.length);
  const at = continuation.findIndex((id, i) => got[i] !== id);
  let passed = at < 0 && got.length === continuation.length;
  let detail = `${at < 0 ? got.length : at} of ${continuation.length} tokens equal`;
  if (!passed && closest > 0 && at >= 0) {
    const ids = [...prompt, ...continuation.slice(0, at)];
    const logits = await piecewiseLogits(model, ids, []);
    const { gap } = topTwo(logits.subarray((ids.length - 1) * model.vocabSize));
    passed = gap < closest;
    detail += `; there the two best logits are ${gap.toExponential(1)} apart`;
  }
  if (!passed) tally.greedyEqual = false;
  tally.checks.push({ name, passed, detail });
}

/** Mean next-token cross-entropy over the T − 1 predicted positions, float64. */
function crossEntropy(logits: Float32Array, ids: readonly number[], vocabSize: number): number {
  let sum = 0;
  for (let t = 0; t + 1 < ids.length; t++) {
    const row = logits.subarray(t * vocabSize, (t + 1) * vocabSize);
    sum += logSumExp(row) - (row[ids[t + 1] as number] as number); // t + 1 < length, ids < vocabSize
  }
  return sum / (ids.length - 1);
}
