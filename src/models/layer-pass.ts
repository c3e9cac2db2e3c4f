/** One layer of a pass: its temporaries freed, and perhaps called by somebody else (`aroundLayer`). */
import type { Device } from "../device/index.js";
import type { Tensor } from "../tensor/index.js";
import type { ForwardOptions } from "./language-model.js";

interface LayerOutput {
  readonly next: Tensor;
  /** For `onExperts`. */
  readonly input: Tensor | undefined;
}

export function layerPass(
  device: Device,
  x: Tensor,
  run: (x: Tensor) => LayerOutput,
  weights: unknown,
  around: ForwardOptions["aroundLayer"],
): LayerOutput {
  if (!around) return device.scope(() => run(x));
  return { next: around(x, (x) => device.scope(() => run(x).next), weights), input: undefined };
}
