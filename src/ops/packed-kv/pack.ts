/**
 * Packs what a step makes old enough, and keeps the rest in the side store.
 *
 * For each row of the step with `past` tokens before it and n in it: tokens packedEnd(past) … packedEnd(past + n) − 1 are
 * packed, from the side store's ring where they came before the step, else from qkv; afterwards the step's sinks, newest and
 * marked tokens are written to the side store. Nothing is packed twice. A token of the ring that has been marked since it came
 * is copied to its own entry.
 *
 * Precision  quantiser.reference.ts: given the same numbers, both devices write the same bits.
 * Departs    dead rows, tokens behind the page table and pages that no segment holds are left out.
 */
import { empty, record, ShapeError, sameShape, type Tensor } from "../../tensor/index.js";
import { checkPages, checkQkv } from "../packed-attention/check-packed.js";
import type { RopeTable } from "../rope/rope.js";
import type { Step } from "../step/layout.js";
import { ringTokens } from "./format.js";
import { packOnCpu } from "./pack.launch-cpu.js";
import { packOnWebGpu } from "./pack.launch-webgpu.js";
import type { PackedPages } from "./packed-pages.js";
import type { PreparedKv } from "./prepare.js";

export { packVariants } from "./pack.wgsl.js";

export interface PackOptions {
  /** H. */
  readonly heads: number;
  readonly rope?: RopeTable;
  /**
   * "pages": only the packing (and marked tokens that leave the ring); "side": only the step's entries of the side store,
   * which may overwrite what the step's attention reads. Default: both, in this order. A strict prefill runs attention between.
   */
  readonly part?: "pages" | "side";
}

/** Rows of a step's tokens for the launches: head h of token t begins at number offset + t · stride + h · D. */
export interface PackSource {
  readonly tensor: Tensor;
  readonly offset: number;
  readonly stride: number;
}

/** What the launches take. */
export interface PackPlan {
  readonly keys: PackSource;
  readonly values: PackSource;
  /** Kinds with rotary at every read and a ring: [T, G·D], remade rows of tokens in the ring. */
  readonly ringKeys: Tensor | undefined;
  /** Taken off the keys after rotary. */
  readonly mean: Tensor | undefined;
  readonly rope: RopeTable | undefined;
}

/**
 * @param qkv As `prepareKv` left it.
 * @throws {ShapeError} qkv or the pages do not fit together.
 *
 * Cost: reads k and v of the step once, writes them packed.
 */
export function packKv(qkv: Tensor, prepared: PreparedKv, pages: PackedPages, o: PackOptions, step: Step): void {
  checkPages("packKv", pages);
  checkQkv("packKv", qkv, pages, o.heads, step);
  const { device } = qkv;
  const { kvHeads, headDim, ropeAtRead, meanPairs } = pages.format;
  if (ringTokens(pages.format) > 0 && !pages.side && o.part !== "side") {
    throw new ShapeError("packKv", "side", "the entries that tokens come from (a further store: the first's)", "none");
  }
  const { keyRows } = prepared;
  if (ropeAtRead && !(keyRows && sameShape(keyRows.shape, [step.tokenCount, kvHeads * headDim]))) {
    throw new ShapeError("packKv", "prepared.keyRows", `[T=${step.tokenCount}, ${kvHeads * headDim}]`, "others");
  }
  if (step.tokenCount > 0) {
    const fromQkv = (head: number): PackSource => ({
      tensor: qkv,
      offset: head * headDim,
      stride: (o.heads + 2 * kvHeads) * headDim,
    });
    if (o.part === "side") launch(qkv, pages, undefined, o.heads, step, "side");
    else {
      const hasRing = ringTokens(pages.format) > 0;
      using ringKeys =
        ropeAtRead && hasRing ? empty(device, [step.tokenCount, kvHeads * headDim], "f32", "ring keys") : undefined;
      const plan: PackPlan = {
        keys: keyRows && ropeAtRead ? { tensor: keyRows, offset: 0, stride: kvHeads * headDim } : fromQkv(o.heads),
        values: fromQkv(o.heads + kvHeads),
        ringKeys,
        mean: meanPairs > 0 ? pages.mean : undefined,
        rope: o.rope,
      };
      launch(qkv, pages, plan, o.heads, step, o.part ?? "both");
    }
  }
  record("packKv", [qkv], []);
}

/**
 * The packing alone, of rows that are the quantisers' inputs as they are (no mean is taken off; norms are).
 *
 * @param keys f32 [T, G·D], of the step's tokens. Tokens before the step come from the side store, as in `packKv`.
 * @param values f32 [T, G·D].
 */
export function packRows(keys: Tensor, values: Tensor, pages: PackedPages, step: Step): void {
  checkPages("packRows", pages);
  const { kvHeads, headDim } = pages.format;
  const shape = [step.tokenCount, kvHeads * headDim];
  for (const [name, tensor] of [
    ["keys", keys],
    ["values", values],
  ] as const) {
    if (tensor.dtype !== "f32" || !sameShape(tensor.shape, shape)) {
      throw new ShapeError("packRows", name, `f32 [T=${shape[0]}, G·D=${shape[1]}]`, tensor.shape);
    }
  }
  if (step.tokenCount === 0) return;
  const source = (tensor: Tensor): PackSource => ({ tensor, offset: 0, stride: kvHeads * headDim });
  const plan = { keys: source(keys), values: source(values), ringKeys: undefined, mean: undefined, rope: undefined };
  launch(keys, pages, plan, kvHeads, step, "pages");
}

function launch(
  qkv: Tensor,
  pages: PackedPages,
  plan: PackPlan | undefined,
  heads: number,
  step: Step,
  part: "pages" | "side" | "both",
): void {
  const { device } = qkv;
  if (device.kind === "cpu") packOnCpu(device, qkv, pages, plan, heads, step, part);
  else packOnWebGpu(device, qkv, pages, plan, heads, step, part);
}
