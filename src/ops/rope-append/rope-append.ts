/**
 * Rotary embedding of a step's queries and keys, and the way of keys and values into the cache, in one go.
 *
 *   q, k ← rmsNorm(q), rmsNorm(k) over D, each with its weight              (where given; Qwen3)
 *   x[i], x[i + r/2] ← x[i]·cos a − x[i + r/2]·sin a, x[i + r/2]·cos a + x[i]·sin a,  a = angle(position, i), i < r/2
 *   channels ≥ r pass; q stays in qkv, k and v are rounded into the page of their position
 *
 * Axes      T tokens, H query heads, G key/value heads, D head size (even), r rotary channels (even, ≤ D).
 *           qkv: [T, (H + 2G)·D] f32; columns: q heads, k heads, v heads.
 * Precision float32; cosines and sines by the angle sum of rope.ts; pages round to nearest, ties to even.
 * Departs   k in qkv is left as it was (nobody reads it there again). A dead token (slot −1), a position past the page
 *           table, and a page that no segment holds append nothing; q is rotated in any case.
 */
import { type Device, f32, KeptKernels } from "../../device/index.js";
import { record, ShapeError, sameShape, type Tensor } from "../../tensor/index.js";
import { segmentArguments } from "../attention/attention.launch-cpu.js";
import { checkPages, checkQkv, described } from "../attention/check-pages.js";
import type { KvPages } from "../attention/kv-pages.js";
import type { RopeTable } from "../rope/rope.js";
import type { Step } from "../step/layout.js";
import { HEADS_PER_GROUP, ropeAppendKernel, ropeAppendParams } from "./rope-append.wgsl.js";

export { ropeAppendVariants } from "./rope-append.wgsl.js";

export interface RopeAppendOptions {
  /** H. */
  readonly heads: number;
  /** Nothing: no rotation. */
  readonly rope?: RopeTable;
  /** [D] f32: weights of a norm of each q head, of each k head. */
  readonly qNorm?: Tensor;
  readonly kNorm?: Tensor;
  /** Of the norms. Default 1e-6. */
  readonly eps?: number;
}

const kernelOf = { f32: "ropeAppendF32", f16: "ropeAppendF16", bf16: "ropeAppendBf16" } as const;

/**
 * Rotates q in place; appends k and v to the pages of each token's slot, at its position.
 *
 * @throws {ShapeError} qkv, the norms or the pages do not fit together.
 *
 * Cost: reads and writes qkv about once.
 */
export function ropeAppend(qkv: Tensor, pages: KvPages, o: RopeAppendOptions, step: Step): void {
  checkPages("ropeAppend", pages);
  checkQkv("ropeAppend", qkv, pages, o.heads, step);
  const { headDim } = pages;
  if (headDim % 2 !== 0 || headDim > 256) {
    throw new ShapeError("ropeAppend", "headDim", "an even number, at most 256", [headDim]);
  }
  for (const name of ["qNorm", "kNorm"] as const) {
    const weight = o[name];
    if (weight && !(weight.dtype === "f32" && sameShape(weight.shape, [headDim]))) {
      throw new ShapeError("ropeAppend", name, `f32 [D=${headDim}]`, described(weight));
    }
  }
  if (o.rope && o.rope.rotaryDim > headDim) {
    throw new ShapeError("ropeAppend", "rope.rotaryDim", `at most the head size ${headDim}`, [o.rope.rotaryDim]);
  }
  if (step.tokenCount > 0) launch(qkv.device, qkv, pages, o, step);
  record("ropeAppend", [qkv], [qkv]);
}

function launch(device: Device, qkv: Tensor, pages: KvPages, o: RopeAppendOptions, step: Step): void {
  const { rope, qNorm, kNorm, heads } = o;
  const { kvHeads, headDim, pageTable } = pages;
  const eps = o.eps ?? 1e-6;
  const columns = heads + 2 * kvHeads;
  const cost = { bytes: 2 * qkv.byteLength, operations: 6 * qkv.size };
  const sizes = {
    heads,
    kvHeads,
    rotaryDim: rope?.rotaryDim ?? 0,
    highLines: rope?.highLines ?? 1,
    pagesPerSlot: pageTable.shape[1]!,
  };

  if (device.kind === "cpu") {
    const bytes = Math.ceil((headDim * 4) / 64) * 64;
    device.run(kernelOf[pages.dtype], {
      arguments: [
        ...[qkv, step.tokens, pageTable, rope?.table, qNorm, kNorm, device.workerScratch(bytes), bytes],
        ...[heads, kvHeads, headDim, sizes.rotaryDim, sizes.highLines, sizes.pagesPerSlot, f32(eps)],
        pages.segments.length,
        ...segmentArguments(pages),
      ],
      tasks: step.tokenCount * columns,
      cost,
    });
    return;
  }

  const optional = [rope?.table, qNorm, kNorm].filter((tensor) => tensor !== undefined);
  const kernel = kernels.of(ropeAppendKernel, {
    store: pages.dtype,
    headDim,
    rope: rope !== undefined,
    qNorm: qNorm !== undefined,
    kNorm: kNorm !== undefined,
  });
  pages.segments.forEach((segment, i) => {
    // A second launch must not rotate q again.
    const firstHead = i === 0 ? 0 : heads;
    const groups = step.tokenCount * Math.ceil((columns - firstHead) / HEADS_PER_GROUP);
    const width = Math.min(groups, 65_535);
    device.run(kernel, {
      buffers: [qkv, step.tokens, pageTable, segment.keys, segment.values, ...optional],
      params: ropeAppendParams.write({
        ...sizes,
        tokens: step.tokenCount,
        firstHead,
        firstPage: segment.firstPage,
        pages: segment.pages,
        eps,
      }),
      grid: [width, Math.ceil(groups / width)],
      cost,
    });
  });
}

const kernels = new KeptKernels();
