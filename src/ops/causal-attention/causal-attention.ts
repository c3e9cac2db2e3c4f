/**
 * Causal softmax attention within the rows of a step, with its gradient: what training computes, where no cache is needed.
 *
 *   P[t, j] = softmax over j of scale · q[t, h] · k[j, g],   first(row) ≤ j ≤ t, t − j < window;   out[t, h] = Σ_j P[t, j] v[j, g]
 *   dv[j] = Σ P dO;   dP = dO · v;   dS = P (dP − Σ_j P dP);   dq[t] = scale Σ_j dS k;   dk[j] = scale Σ_t dS q
 *
 * Axes      T tokens, H query heads, G key/value heads (g = ⌊h · G / H⌋), D head size ≤ 256. qkv: [T, (H + 2G)·D] f32 with q
 *           and k rotated already; out: [T, H·D] f32.
 * Precision float32; no [T, T] matrix is stored: the forward pass keeps the logarithm of each softmax's sum, and the
 *           backward pass computes the probabilities again (Dao et al. 2022, arXiv 2205.14135).
 * Departs   rows see nothing before the step: `past` only counts in positions. Dead rows (slot −1) see themselves.
 */
import { f32, type WebGpuKernel } from "../../device/index.js";
import { type Backward, empty, type Keep, record, ShapeError, sameShape, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import { attentionParams, type CausalPass, causalKernel } from "./causal-attention.wgsl.js";

export interface CausalAttentionOptions {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** On q · k; usually 1/√D. */
  readonly scale: number;
  /** Positions that a token sees, itself included. Default: all. */
  readonly window?: number | undefined;
}

/** @returns f32 [T, H·D]. @throws {ShapeError} */
export function causalAttention(qkv: Tensor, o: CausalAttentionOptions, step: Step): Tensor {
  const { heads, kvHeads, headDim } = o;
  const T = step.tokenCount;
  const shape = [T, (heads + 2 * kvHeads) * headDim];
  if (qkv.dtype !== "f32" || !sameShape(qkv.shape, shape)) {
    throw new ShapeError("causalAttention", "qkv", `f32 [T, (H + 2G)·D] = [${shape.join(", ")}]`, qkv.shape);
  }
  if (headDim > 256 || heads % kvHeads !== 0) {
    throw new ShapeError("causalAttention", "heads", "a multiple of kvHeads, of at most 256 channels", [
      heads,
      kvHeads,
      headDim,
    ]);
  }
  const { device } = qkv;
  const out = empty(device, [T, heads * headDim]);
  const logSums = empty(device, [T, heads]);
  launch("forward", [qkv, step.tokens, step.rows, out, logSums], o, T * heads, step);
  record("causalAttention", [qkv], [out], backward(qkv, out, logSums, o, step));
  logSums.dispose();
  return out;
}

function backward(
  qkv: Tensor,
  out: Tensor,
  logSums: Tensor,
  o: CausalAttentionOptions,
  step: Step,
): (keep: Keep) => Backward {
  return (keep) => {
    const [qkv_, out_, logSums_] = keep(qkv, out, logSums);
    return ([dOut]) => {
      if (!dOut) return [];
      const { device } = qkv_;
      const T = step.tokenCount;
      const dQkv = empty(device, qkv_.shape);
      // Σ_j P dP = dO · out, of each token and head.
      using pulls = empty(device, [T, o.heads]);
      launch("queries", [qkv_, step.tokens, step.rows, out_, logSums_, dOut, dQkv, pulls], o, T * o.heads, step);
      launch("keys", [qkv_, step.tokens, step.rows, logSums_, dOut, pulls, dQkv], o, T * o.kvHeads, step);
      return [dQkv.handOver()];
    };
  };
}

function launch(
  pass: CausalPass,
  buffers: readonly Tensor[],
  o: CausalAttentionOptions,
  tasks: number,
  step: Step,
): void {
  const [{ device }] = buffers as readonly [Tensor];
  const { heads, kvHeads, headDim, scale } = o;
  const window = Math.min(o.window ?? 2 ** 30, 2 ** 30);
  const T = step.tokenCount;
  const pairs = T * Math.min(step.lengthBound, window) * heads * headDim;
  const cost = {
    bytes: buffers.reduce((sum, { byteLength }) => sum + byteLength, 0),
    operations: (pass === "forward" ? 2 : pass === "queries" ? 3 : 4) * pairs,
  };
  if (device.kind === "cpu") {
    const bytes = Math.ceil((step.lengthBound * 4 + headDim * 8) / 64) * 64;
    const name = `causalAttention${pass[0]!.toUpperCase()}${pass.slice(1)}`;
    device.run(name, {
      arguments: [...buffers, ...[device.workerScratch(bytes), bytes, heads, kvHeads, headDim, window, f32(scale), T]],
      tasks,
      // Late tokens see more keys than early ones: small chunks even that out.
      chunk: 8,
      cost,
    });
    return;
  }
  const groups = Math.ceil(tasks / 64);
  const width = Math.min(groups, 65_535);
  device.run(kept(pass, headDim), {
    buffers,
    params: attentionParams.write({ tokens: T, heads, kvHeads, window, scale }),
    grid: [width, Math.ceil(groups / width)],
    cost,
  });
}

const kernels = new Map<string, WebGpuKernel>();

function kept(pass: CausalPass, headDim: number): WebGpuKernel {
  const key = `${pass} ${headDim}`;
  let kernel = kernels.get(key);
  if (!kernel) {
    kernel = causalKernel(pass, headDim);
    kernels.set(key, kernel);
  }
  return kernel;
}

export function causalAttentionVariants(): WebGpuKernel[] {
  return [8, 64, 128].flatMap((headDim) =>
    (["forward", "queries", "keys"] as const).map((pass) => kept(pass, headDim)),
  );
}
