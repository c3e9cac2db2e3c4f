/**
 * The cache contract: keys and values of one softmax layer, for all sequences of a pool.
 *
 * The attention block needs it, so it lives here; the kinds live in `cache/`, one file each. A model does not know which
 * kind it has: it hands over q, k and v before rotary embedding and gets attention back. (A kind that rotates or quantises
 * before rotary, as RotateKV does, therefore decides itself when rotary happens.)
 *
 * Axes  T tokens of the step, H query heads, G key/value heads, D head size.
 */
import type { RopeTable, Step } from "../ops/index.js";
import type { Tensor } from "../tensor/index.js";

/** What a layer does to q and k before attention. */
export interface HeadOptions {
  /** Query heads H. */
  readonly heads: number;
  readonly rope: RopeTable | undefined;
  /** RMSNorm over each q and k head before rotary (Qwen3): weights [D]. */
  readonly qNorm?: Tensor | undefined;
  readonly kNorm?: Tensor | undefined;
  readonly eps?: number;
  /** [T, C]: the layer's input, the residual stream. Kinds that keep some tokens exact choose them by it. */
  readonly hidden?: Tensor | undefined;
}

export interface AttendOptions {
  readonly heads: number;
  /** Factor of q·k, usually 1/√D. */
  readonly scale: number;
  /** A token sees this many positions up to its own; undefined: all. */
  readonly window?: number | undefined;
  /** f16: products of a training step may be rounded to halves. A cache has its own kind. */
  readonly precision?: "f32" | "f16" | undefined;
}

/** Kept values of one sequence in one layer, so far as positions before the snapshot could still change afterwards. */
export type CacheSnapshot = Disposable;

export interface LayerCache extends Disposable {
  readonly kind: string;
  /** Bytes of device memory. */
  readonly bytes: number;
  /** Adds room for pages `firstPage … firstPage + pages − 1`; what is there stays where it is. */
  addPages(firstPage: number, pages: number): void;
  /**
   * Takes up the step's keys and values. `qkv` is [T, (H + 2G)·D] with the heads of q, k and v side by side, before rotary;
   * afterwards its q part is ready for `attend`.
   */
  append(qkv: Tensor, options: HeadOptions, step: Step): void;
  /**
   * Attention of the step's queries over their sequences: [T, H·D]. Usually right after `append` of the same step; a kind
   * may keep the step's tokens only now, so that its queries see them as they came.
   */
  attend(qkv: Tensor, options: AttendOptions, step: Step): Tensor;
  /** `append` for a step that has no `attend`. */
  keep(qkv: Tensor, options: HeadOptions, step: Step): void;
  /** Bytes of device memory that a sequence uses: its pages, and what its slot has beside them. */
  slotBytes(pages: number): number;
  /** A new sequence begins in the slot. */
  open(slot: number): void;
  /** Called when a slot's sequence is cut to `length` tokens; later appends overwrite what follows. */
  trim(slot: number, length: number): void;
  /** What the slot needs beyond its pages to be restored later; undefined where pages are enough. */
  snapshot(slot: number): CacheSnapshot | undefined;
  restore(slot: number, snapshot: CacheSnapshot | undefined): void;
  dispose(): void;
}
