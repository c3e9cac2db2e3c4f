/**
 * Second moments of what the experts of a model get, from running it over calibration text.
 *
 *   gateUp of expert e:  Σ over tokens routed to e of w² m mᵀ          m [H]: the normed input of the layer's experts
 *   down of expert e:    Σ over tokens routed to e of w² h hᵀ          h [I] = SiLU(W1 m) ⊙ (W3 m)
 *
 * Axes       T tokens of a window, H channels, I inner channels, E experts.
 * Our choice a token counts by the square of its routing weight w, by which the layer multiplies the expert's error.
 * Precision  products of a window in float32 on the device, sums over windows in float64.
 */
import { SequencePool } from "../../cache/index.js";
import type { Device } from "../../device/index.js";
import { yieldToEvents } from "../../generate/index.js";
import type { ExpertsPass, LanguageModel } from "../../models/index.js";
import { buildStep } from "../../nn/index.js";
import { matmul, routeExperts, weightFromFloat32 } from "../../ops/index.js";
import { type Tensor, upload } from "../../tensor/index.js";
import type { Moments } from "./hessian.js";

/** Of one layer, one entry an expert. */
export interface ExpertMoments {
  readonly gateUp: readonly Moments[];
  readonly down: readonly Moments[];
}

export interface ExpertMomentsOptions {
  /** Tokens that see each other. Default 2,048, or the model's longest sequence. */
  readonly context?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

class Sum implements Moments {
  readonly sum: Float64Array;
  count = 0;
  constructor(readonly size: number) {
    this.sum = new Float64Array(size * size);
  }

  /** @param columns inputs as columns, [size, n]. */
  async add(device: Device, columns: Float32Array, weight: number): Promise<void> {
    const n = columns.length / this.size;
    if (n === 0) return;
    using x = upload(device, columns, [this.size, n]);
    using w = weightFromFloat32(device, columns, this.size, n, "f32");
    using product = matmul(x, w);
    const values = await product.readFloat32();
    for (let i = 0; i < values.length; i++) this.sum[i] = this.sum[i]! + values[i]!;
    this.count += weight;
  }
}

/** Layers without experts have no entry. @param model unquantised. */
export async function expertMoments(
  model: LanguageModel,
  ids: readonly number[],
  options: ExpertMomentsOptions = {},
): Promise<ReadonlyMap<number, ExpertMoments>> {
  const { device, state } = model;
  const { context = Math.min(2048, state.maxPositions), signal, onProgress } = options;
  const layers = new Map<number, { gateUp: Sum[]; down: Sum[] }>();
  using pool = new SequencePool(device, state, { slots: 1, maxTokens: context });
  for (let from = 0; from < ids.length; from += context) {
    signal?.throwIfAborted();
    const window = ids.slice(from, from + context);
    const passes: { layer: number; input: Tensor; pass: ExpertsPass }[] = [];
    try {
      using sequence = pool.open();
      sequence.reserve(window.length);
      using step = buildStep(device, [{ slot: sequence.slot, past: 0, ids: window }]);
      const onExperts = (layer: number, pass: ExpertsPass): void => {
        passes.push({ layer, input: pass.input.reshape(pass.input.shape), pass });
      };
      model.forward(step, pool, { onExperts }).dispose();
      for (const { layer, input, pass } of passes) {
        signal?.throwIfAborted();
        let sums = layers.get(layer);
        if (!sums) {
          const make = (size: number) => Array.from({ length: pass.experts }, () => new Sum(size));
          sums = { gateUp: make(pass.weights.gateUp.columns), down: make(pass.weights.down.columns) };
          layers.set(layer, sums);
        }
        await addPass(device, input, pass, sums);
        await yieldToEvents();
      }
    } finally {
      for (const { input } of passes) input.dispose();
    }
    onProgress?.(Math.min(ids.length, from + context), ids.length);
  }
  return layers;
}

async function addPass(
  device: Device,
  input: Tensor,
  { weights, experts: E, topK, normalise }: ExpertsPass,
  sums: { gateUp: Sum[]; down: Sum[] },
): Promise<void> {
  const H = weights.gateUp.columns;
  const I = weights.down.columns;
  using logits = matmul(input, weights.router);
  const routes = routeExperts(logits, { topK, normalise });
  using chosen = routes.experts;
  using shares = routes.weights;
  // All experts for all tokens: more than is needed, in one plain product.
  using projected = matmul(input, weights.gateUp);
  const m = await input.readFloat32();
  const expertOf = new Int32Array(await device.read(chosen));
  const shareOf = await shares.readFloat32();
  const z = await projected.readFloat32(); // [T, E · 2 I]
  for (let e = 0; e < E; e++) {
    const entries = [...expertOf.keys()].filter((i) => expertOf[i] === e);
    const n = entries.length;
    const mColumns = new Float32Array(H * n);
    const hColumns = new Float32Array(I * n);
    let weight = 0;
    for (const [at, entry] of entries.entries()) {
      const t = Math.floor(entry / topK);
      const share = shareOf[entry]!;
      weight += share * share;
      for (let c = 0; c < H; c++) mColumns[c * n + at] = share * m[t * H + c]!;
      const row = (t * E + e) * 2 * I;
      for (let i = 0; i < I; i++) {
        const gate = z[row + i]!;
        hColumns[i * n + at] = ((share * gate) / (1 + Math.exp(-gate))) * z[row + I + i]!;
      }
    }
    await sums.gateUp[e]!.add(device, mColumns, weight);
    await sums.down[e]!.add(device, hColumns, weight);
  }
}
