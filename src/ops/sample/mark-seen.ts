/**
 * Remembers which tokens a sequence has seen, one bit each: for the repetition penalty.
 *
 * Departs   a token without a slot, or with an id beyond the bits, marks nothing: both are written by kernels, whom nobody
 *           can throw at.
 */
import { record, ShapeError, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import { MARK_SEEN_LANES, markSeenKernel, markSeenParams } from "./mark-seen.wgsl.js";

/**
 * Sets the bit of each token of the step in its slot.
 *
 * @param seen u32 [slots, words].
 * @throws {ShapeError}
 */
export function markSeen(seen: Tensor, step: Step): void {
  const [slots, words] = seen.shape;
  if (slots === undefined || words === undefined || seen.shape.length !== 2) {
    throw new ShapeError("markSeen", "seen", "[slots, words]", seen.shape);
  }
  if (seen.dtype !== "u32") throw new TypeError(`markSeen: seen expected u32, got ${seen.dtype}`);
  if (step.tokens.device !== seen.device) throw new TypeError("markSeen: the step and seen live on different devices");
  const { device } = seen;
  const tokens = step.tokenCount;
  if (device.kind === "cpu") {
    // One task: tokens of one slot may share words.
    device.run("markSeenTokens", { arguments: [step.tokens, seen, tokens, words], tasks: 1 });
  } else {
    const groups = Math.ceil(tokens / MARK_SEEN_LANES);
    const height = Math.ceil(groups / device.limits.maxWorkgroupsPerDimension);
    device.run(markSeenKernel, {
      buffers: [step.tokens, seen],
      params: markSeenParams.write({ tokens, words }),
      grid: [Math.ceil(groups / height), height],
    });
  }
  record("markSeen", [], [seen]);
}
