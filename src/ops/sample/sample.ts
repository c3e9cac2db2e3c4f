/**
 * The next token of each row, drawn on the device.
 *
 *   z      = x, where the sequence has seen the token: x / penalty if x > 0, else x · penalty
 *   greedy (temperature 0): the largest z, the lowest index among equals
 *   else   weights exp((z − max z) / temperature), then filters, each on what the one before kept:
 *          top-k  keeps every z ≥ the k-th largest, equals included
 *          top-p  largest first, keeps a token while the probability of those before it is < topP; of equals at the cut the
 *                 lowest indices; the first always stays
 *          min-p  keeps weights ≥ minP · the largest weight
 *          draw   the first index at which the running total of kept weights exceeds u · their sum, u = uniformAt(seed, position)
 *   logProb = x[token] − log Σ exp x: of the raw logits, at temperature 1, before penalty and filters; natural logarithm
 *
 * Axes      R rows, V vocabulary. logits: f32 [R, V]. Everything else is read from the row's slot in `controls` and `seen`.
 * Precision float32; the CPU adds up in float64. A token on the edge of top-p or of the draw (within about 1e-6) may fall to
 *           either side of it on different devices.
 * Source    top-k: Fan et al. 2018; top-p: Holtzman et al. 2020; min-p: Nguyen et al. 2024; penalty: Keskar et al. 2019.
 *           The order of the filters is that of transformers.
 * Departs   NaN counts as −∞ and infinities as ±1e30, so that a valid token comes out of any row. Of equals at top-p's cut
 *           transformers keeps whatever its sort puts first. Temperatures below 1e-6 act as 1e-6.
 */
import { empty, record, ShapeError, type Tensor } from "../../tensor/index.js";
import { CONTROL_WORDS, type Step } from "../step/layout.js";
import { launchSampleCpu } from "./sample.launch-cpu.js";
import { launchSampleWebGpu } from "./sample.launch-webgpu.js";

export { markSeen } from "./mark-seen.js";
export { filterProbabilities, type SamplingParams } from "./sample.reference.js";
export { uniformAt } from "./uniform.js";

/**
 * Draws a token for each row whose slot is active: writes CONTROL.token and CONTROL.logProb there.
 *
 * @param logits f32 [R, V], R = rows of the step.
 * @param controls i32 [slots, CONTROL_WORDS].
 * @param seen u32 [slots, words], at least V bits a slot: the tokens to which the repetition penalty applies.
 * @throws {ShapeError}
 *
 * Cost: greedy rows read the logits once, sampled rows a few times more on the CPU and up to 25 times on WebGPU.
 */
export function sample(logits: Tensor, controls: Tensor, seen: Tensor, step: Step): void {
  check("sample", logits, controls, seen, step);
  launch(logits, controls, seen, step, undefined);
  record("sample", [logits], []);
}

/**
 * The probabilities from which `sample` draws: 0 for dropped tokens; greedy rows have a single 1. Rows without a slot are
 * zeros; CONTROL.active is not asked.
 *
 * @returns f32 [R, V].
 */
export function filteredProbabilities(logits: Tensor, controls: Tensor, seen: Tensor, step: Step): Tensor {
  check("filteredProbabilities", logits, controls, seen, step);
  const out = empty(logits.device, logits.shape, "f32", "filteredProbabilities");
  launch(logits, controls, seen, step, out);
  record("filteredProbabilities", [logits], [out]);
  return out;
}

function launch(logits: Tensor, controls: Tensor, seen: Tensor, step: Step, probabilities: Tensor | undefined): void {
  const { device } = logits;
  if (device.kind === "cpu") launchSampleCpu(device, logits, controls, seen, step, probabilities);
  else launchSampleWebGpu(device, logits, controls, seen, step, probabilities);
}

function check(where: string, logits: Tensor, controls: Tensor, seen: Tensor, step: Step): void {
  const [R, V] = logits.shape;
  if (logits.shape.length !== 2 || R !== step.rowCount || V === undefined || V < 1) {
    throw new ShapeError(where, "logits", `[R=${step.rowCount}, V ≥ 1] (rows of the step)`, logits.shape);
  }
  const [slots, words] = controls.shape;
  if (controls.shape.length !== 2 || slots === undefined || words !== CONTROL_WORDS) {
    throw new ShapeError(where, "controls", `[slots, ${CONTROL_WORDS}]`, controls.shape);
  }
  const [seenSlots, seenWords = 0] = seen.shape;
  if (seen.shape.length !== 2 || seenSlots !== slots || seenWords < Math.ceil(V / 32)) {
    throw new ShapeError(where, "seen", `[slots=${slots}, words ≥ ${Math.ceil(V / 32)}]`, seen.shape);
  }
  const dtypes = [
    ["logits", logits, "f32"],
    ["controls", controls, "i32"],
    ["seen", seen, "u32"],
    ["step.rows", step.rows, "i32"],
  ] as const;
  for (const [name, tensor, dtype] of dtypes) {
    if (tensor.dtype !== dtype) throw new TypeError(`${where}: ${name} expected ${dtype}, got ${tensor.dtype}`);
    if (tensor.device !== logits.device)
      throw new TypeError(`${where}: ${name} lives on another device than the logits`);
  }
}
