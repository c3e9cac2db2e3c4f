/**
 * What follows sampling: decides what becomes of each row's token, and prepares the next decode step on the device.
 *
 * For each row whose slot is active, in this order:
 *   1. token       the sampled one (CONTROL.token), or the next forced one, whose log-probability is set to 0; at the list's
 *                  end forcedAt = −1. The token's bit in `seen` is set; generated += 1.
 *   2. thinking    the token is closeId: state 2. It is openId in state 0: state 1. Else in state 1, unless forced:
 *                  thinkCount += 1. At the end of a forced list, without a closeId: state 1 becomes 2.
 *                  In state 1 with thinkCount ≥ thinkBudget ≥ 0, nothing forced being due: forcedAt = 0 if there is a list.
 *   3. repetition  unless forced: repeatCount += 1 if logProb > repeatThreshold, else 0.
 *   4. finish      the first that holds of: the token is a stop id, not forced (stop); generated ≥ maxTokens (length);
 *                  repeatCount ≥ repeatLimit > 0 (repetition); position ≥ maxPosition (context).
 *   5. next step   finished: active = 0. Else position += 1.
 *   6. output      (token, logProb, finish, slot) in the ring at ringHead modulo its steps, which grows by 1 a call. Rows
 *                  that are not active, and the ring's rows beyond the step's, get (0, 0, 0, −1).
 *
 * Position  CONTROL.position is the place of the token that is being sampled: tokens in the cache after the current step.
 *           The host sets it to the prompt's length before the first sampling. A decode step's next token is (token,
 *           position, row r, slot) and its row (r, 1, slot, past = position), with the value before step 5; afterwards the
 *           control names the place of the token after that one. A finished sequence keeps its cache's length.
 *           maxPosition is the number of places: a token that would get the place maxPosition cannot be fed.
 * Prefill   a step that is no decode step keeps its tokens and rows; everything else happens.
 * Dead rows in a decode step, rows that are not active or have finished get slot −1 in tokens and rows, so that later
 *           replays write no state for them.
 * Our choice: forced tokens neither count as thinking nor make or break a repetition. A list that closes the thinking must
 *           hold closeId where there is one, or it starts again at its end. With a budget of 0 and the opening marker in
 *           the prompt the host sets forcedAt = 0 itself.
 */
import { record, ShapeError, type Tensor } from "../../tensor/index.js";
import { advanceKernel, advanceParams } from "./advance.wgsl.js";
import { CONTROL_WORDS, OUTPUT_WORDS, type Step } from "./layout.js";

/**
 * Advances all rows of a step after `sample`; see the file's header.
 *
 * @param step `tokens` and `rows` are rewritten in a decode step.
 * @param controls i32 [slots, CONTROL_WORDS].
 * @param seen u32 [slots, words].
 * @param ring i32 [ringSteps, R or more, OUTPUT_WORDS].
 * @param ringHead i32 [1]: number of calls so far.
 * @throws {ShapeError}
 */
export function advance(step: Step, controls: Tensor, seen: Tensor, ring: Tensor, ringHead: Tensor): void {
  check(step, controls, seen, ring, ringHead);
  const { device } = controls;
  const rows = step.rowCount;
  const [ringSteps = 0, ringRows = 0] = ring.shape;
  const seenWords = seen.shape[1] ?? 0;
  const isDecode = step.isDecode ? 1 : 0;
  if (device.kind === "cpu") {
    // One task: the rows are few, and the ring's head moves when all are done.
    device.run("advanceRows", {
      arguments: [
        step.tokens,
        step.rows,
        controls,
        seen,
        ring,
        ringHead,
        rows,
        ringSteps,
        ringRows,
        seenWords,
        isDecode,
      ],
      tasks: 1,
    });
  } else {
    device.run(advanceKernel, {
      buffers: [step.tokens, step.rows, controls, seen, ring, ringHead],
      params: advanceParams.write({ rows, ringSteps, ringRows, seenWords, isDecode }),
      grid: [1],
    });
  }
  record("advance", [], [step.tokens, step.rows, controls, seen, ring, ringHead]);
}

function check(step: Step, controls: Tensor, seen: Tensor, ring: Tensor, ringHead: Tensor): void {
  const [slots, words] = controls.shape;
  if (controls.shape.length !== 2 || slots === undefined || words !== CONTROL_WORDS) {
    throw new ShapeError("advance", "controls", `[slots, ${CONTROL_WORDS}]`, controls.shape);
  }
  if (seen.shape.length !== 2 || seen.shape[0] !== slots) {
    throw new ShapeError("advance", "seen", `[slots=${slots}, words]`, seen.shape);
  }
  const [ringSteps = 0, ringRows = 0, outputWords] = ring.shape;
  if (ring.shape.length !== 3 || ringSteps < 1 || ringRows < step.rowCount || outputWords !== OUTPUT_WORDS) {
    throw new ShapeError("advance", "ring", `[ringSteps ≥ 1, R ≥ ${step.rowCount}, ${OUTPUT_WORDS}]`, ring.shape);
  }
  if (ringHead.size !== 1) throw new ShapeError("advance", "ringHead", "[1]", ringHead.shape);
  if (step.isDecode && step.tokenCount !== step.rowCount) {
    throw new ShapeError("advance", "step", "as many tokens as rows in a decode step", [
      step.tokenCount,
      step.rowCount,
    ]);
  }
  const dtypes = [
    ["step.tokens", step.tokens, "i32"],
    ["step.rows", step.rows, "i32"],
    ["controls", controls, "i32"],
    ["seen", seen, "u32"],
    ["ring", ring, "i32"],
    ["ringHead", ringHead, "i32"],
  ] as const;
  for (const [name, tensor, dtype] of dtypes) {
    if (tensor.dtype !== dtype) throw new TypeError(`advance: ${name} expected ${dtype}, got ${tensor.dtype}`);
    if (tensor.device !== controls.device)
      throw new TypeError(`advance: ${name} lives on another device than the controls`);
  }
}
