/**
 * What a model's layers work on in training: no pool, no pages. Every row of a step is a text of its own, from its beginning;
 * keys and values live in the step's own tensors, and lightning states start from zero, one a row.
 */
import type { StateSpec } from "../cache/index.js";
import type { Device } from "../device/index.js";
import type { AttendOptions, CacheSnapshot, HeadOptions, LayerCache } from "../nn/index.js";
import { causalAttention, joinColumns, rmsNorm, rotate, type Step, splitColumns } from "../ops/index.js";
import { type Tensor, zeros } from "../tensor/index.js";

export class StepStates implements Disposable {
  readonly caches: readonly LayerCache[];
  /** [rows, H, d, d] float32, one per lightning layer: zeros, made when they are asked for. */
  readonly states: readonly Tensor[];

  /** @param rows rows of the step; row r's slot must be r. */
  constructor(device: Device, spec: StateSpec, rows: number) {
    const { lightningHeads: h, lightningHeadDim: d } = spec;
    this.caches = Array.from({ length: spec.softmaxLayers }, () => new StepCache(spec.kvHeads, spec.headDim));
    // A state is zero whenever a layer asks for it: a layer that is run again begins anew, and nothing is kept between
    // layers. The scope of the layer frees it.
    const states: Tensor[] = [];
    for (let l = 0; l < spec.lightningLayers; l++) {
      Object.defineProperty(states, l, { get: () => zeros(device, [rows, h, d, d]), enumerable: false });
    }
    this.states = states;
  }

  dispose(): void {
    for (const cache of this.caches) cache.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** One layer's attention over the step's own tokens, every operation with its gradient. */
class StepCache implements LayerCache {
  readonly kind = "step";
  readonly bytes = 0;
  private ready: Tensor | undefined;

  constructor(
    private readonly kvHeads: number,
    private readonly headDim: number,
  ) {}

  addPages(): void {}

  append(qkv: Tensor, { heads, rope, qNorm, kNorm, eps = 1e-6 }: HeadOptions, step: Step): void {
    const { kvHeads, headDim } = this;
    let turned = qkv.retain();
    const next = (value: Tensor) => {
      turned.dispose();
      turned = value;
    };
    if (qNorm || kNorm) {
      const [q, k, v] = splitColumns(
        turned,
        [heads, kvHeads, kvHeads].map((n) => n * headDim),
      ) as [Tensor, Tensor, Tensor];
      const normed = (x: Tensor, weight: Tensor | undefined) => {
        if (!weight) return x.retain();
        using rows = x.reshape([x.size / headDim, headDim]);
        using y = rmsNorm(rows, weight, { eps });
        return y.reshape(x.shape);
      };
      using qNormed = normed(q, qNorm);
      using kNormed = normed(k, kNorm);
      next(joinColumns([qNormed, kNormed, v]));
      for (const tensor of [q, k, v]) tensor.dispose();
    }
    if (rope) next(rotate(turned, { heads, kvHeads, headDim, rope }, step));
    this.ready?.dispose();
    this.ready = turned.retain();
    turned.dispose();
  }

  attend(_qkv: Tensor, { heads, scale, window, precision }: AttendOptions, step: Step): Tensor {
    if (!this.ready) throw new Error("internal: attention before append");
    const { kvHeads, headDim } = this;
    const out = causalAttention(this.ready, { heads, kvHeads, headDim, scale, window, precision }, step);
    this.ready.dispose();
    this.ready = undefined;
    return out;
  }

  keep(): void {}

  slotBytes(): number {
    return 0;
  }

  open(): void {}

  trim(): void {}

  snapshot(): CacheSnapshot | undefined {
    return undefined;
  }

  restore(): void {}

  dispose(): void {
    this.ready?.dispose();
    this.ready = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
