/** Checks that the operations on cache pages share. */
import { ShapeError, sameShape, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import { type KvPages, PAGE_TOKENS } from "./kv-pages.js";

/** @throws {ShapeError} The pages contradict themselves. */
export function checkPages(where: string, pages: KvPages): void {
  const { kvHeads, headDim, dtype, segments, pageTable } = pages;
  if (segments.length === 0) throw new ShapeError(where, "pages", "at least one segment", "none");
  segments.forEach((segment, i) => {
    const shape = [segment.pages, kvHeads, PAGE_TOKENS, headDim];
    for (const name of ["keys", "values"] as const) {
      const tensor = segment[name];
      if (tensor.dtype !== dtype || !sameShape(tensor.shape, shape)) {
        throw new ShapeError(where, `${name} of segment ${i}`, `${dtype} [${shape.join(", ")}]`, described(tensor));
      }
    }
  });
  if (pageTable.dtype !== "i32" || pageTable.shape.length !== 2) {
    throw new ShapeError(where, "pageTable", "i32 [slots, pagesPerSlot]", described(pageTable));
  }
}

/** Checks qkv [T, (H + 2G)·D]. */
export function checkQkv(where: string, qkv: Tensor, pages: KvPages, heads: number, step: Step): void {
  if (!Number.isInteger(heads) || heads < 1 || heads % pages.kvHeads !== 0) {
    throw new RangeError(`${where}: heads expected a multiple of the ${pages.kvHeads} key/value heads, got ${heads}`);
  }
  const shape = [step.tokenCount, (heads + 2 * pages.kvHeads) * pages.headDim];
  if (qkv.dtype !== "f32" || !sameShape(qkv.shape, shape)) {
    const names = `f32 [T=${shape[0]}, (H=${heads} + 2·G=${pages.kvHeads})·D=${pages.headDim}]`;
    throw new ShapeError(where, "qkv", `${names} = [${shape.join(", ")}]`, described(qkv));
  }
}

export function described(tensor: Tensor): string {
  return `${tensor.dtype} [${tensor.shape.join(", ")}]`;
}
