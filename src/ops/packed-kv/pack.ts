/**
 * Packs what a step makes old enough, and keeps the rest in the side store.
 *
 * For each row of the step with `past` tokens before it and n in it: tokens packedEnd(past) … packedEnd(past + n) − 1 are
 * packed, from the side store's ring where they came before the step, else from qkv; afterwards the step's sinks, newest and
 * marked tokens are written to the side store. Nothing is packed twice.
 */
import { ShapeError, type Tensor } from "../../tensor/index.js";
import type { RopeTable } from "../rope/rope.js";
import type { Step } from "../step/layout.js";
import type { PackedPages } from "./packed-pages.js";
import type { PreparedKv } from "./prepare.js";

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

/** @throws {ShapeError} */
export function packKv(_qkv: Tensor, _prepared: PreparedKv, _pages: PackedPages, _o: PackOptions, _step: Step): void {
  throw new ShapeError("packKv", "qkv", "kernels", "none");
}
