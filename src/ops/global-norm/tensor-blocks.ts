/**
 * Many tensors in few launches: what a norm over all gradients and an optimiser's step have in common.
 *
 * Tensors are cut into blocks of `BLOCK` numbers; a launch takes some tensors and has a task, or a workgroup, for each of
 * their blocks. How many tensors depends on what a kernel can bind. Blocks do not depend on the number of threads.
 */
import type { BufferSlice } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";

/** Numbers of a block. */
export const BLOCK = 4096;
/** Numbers that a tensor's beginning is rounded up to where several share a buffer: 256 bytes can be bound and copied anywhere. */
export const ALIGN = 64;

export const aligned = (count: number): number => Math.ceil(count / ALIGN) * ALIGN;

/** A tensor, or a part of one that a binding cannot hold whole. */
export interface Span {
  /** Which tensor. */
  readonly tensor: number;
  /** First number in it, a multiple of `BLOCK`. */
  readonly begin: number;
  readonly size: number;
  /** Blocks of this span and of those before it in the same launch. */
  readonly end: number;
  /** Numbers of the spans before it in the same launch, each rounded up to `ALIGN`. */
  readonly offset: number;
}

export interface BlockLaunch {
  readonly spans: readonly Span[];
  readonly blocks: number;
  /** Numbers of all spans, each rounded up to `ALIGN`. */
  readonly size: number;
}

export interface BlockLimits {
  /** Tensors of a launch. */
  readonly tensors: number;
  /** Numbers that a launch's spans have together, rounded up. */
  readonly numbers: number;
}

/** Shares tensors out over launches, in their order. */
export function blockLaunches(sizes: readonly number[], limits: BlockLimits): BlockLaunch[] {
  const most = Math.floor(limits.numbers / BLOCK) * BLOCK;
  const launches: BlockLaunch[] = [];
  let spans: Span[] = [];
  let blocks = 0;
  let offset = 0;
  const close = () => {
    if (spans.length > 0) launches.push({ spans, blocks, size: offset });
    [spans, blocks, offset] = [[], 0, 0];
  };
  for (const [tensor, whole] of sizes.entries()) {
    for (let begin = 0; begin < whole; begin += most) {
      const size = Math.min(most, whole - begin);
      if (spans.length === limits.tensors || offset + aligned(size) > most) close();
      blocks += Math.ceil(size / BLOCK);
      spans.push({ tensor, begin, size, end: blocks, offset });
      offset += aligned(size);
    }
  }
  close();
  return launches;
}

/** The bytes of a span of f32 tensors. */
export function spanOf(tensor: Tensor, span: Span): BufferSlice {
  return { allocation: tensor.allocation, byteOffset: tensor.byteOffset + 4 * span.begin, byteLength: 4 * span.size };
}

/** Grid of a launch with a workgroup a block. */
export function blockGrid(blocks: number): readonly [number, number] {
  const width = Math.min(blocks, 65_535);
  return [width, Math.ceil(blocks / width)];
}

const each = (count: number, f: (i: number) => string) => Array.from({ length: count }, (_, i) => f(i));

/**
 * WGSL that finds a workgroup's block: `which` span, its numbers `first … last − 1`. The parameter block has `size0 …` and
 * `end0 …`. Spans that a launch does not have repeat the last one's end.
 */
export function findBlock(tensors: number): string {
  return /* wgsl */ `
struct Block { which: u32, first: u32, last: u32 }
fn findBlock(block: u32) -> Block {
  var found = Block(0u, 0u, 0u);
  ${each(
    tensors,
    (i) => `${i === 0 ? "" : "else "}if (block < p.end${i}) {
    found.which = ${i}u;
    found.first = (block - ${i === 0 ? "0u" : `p.end${i - 1}`}) * ${BLOCK}u;
    found.last = min(found.first + ${BLOCK}u, p.size${i});
  }`,
  ).join("\n  ")}
  return found;
}`;
}

/** A WGSL function that reads one of several buffers. */
export function loadFrom(name: string, buffers: string, tensors: number): string {
  return /* wgsl */ `
fn ${name}(which: u32, i: u32) -> f32 {
  switch which {
    ${each(tensors - 1, (i) => `case ${i + 1}u: { return ${buffers}${i + 1}[i]; }`).join("\n    ")}
    default: { return ${buffers}0[i]; }
  }
}`;
}

/** A WGSL function that writes one of several buffers. */
export function storeTo(name: string, buffers: string, tensors: number): string {
  return /* wgsl */ `
fn ${name}(which: u32, i: u32, value: f32) {
  switch which {
    ${each(tensors - 1, (i) => `case ${i + 1}u: { ${buffers}${i + 1}[i] = value; }`).join("\n    ")}
    default: { ${buffers}0[i] = value; }
  }
}`;
}

/** Fields of a parameter block, one a span. */
export function spanFields<T extends "u32" | "f32">(name: string, tensors: number, type: T): Record<string, T> {
  return Object.fromEntries(each(tensors, (i) => `${name}${i}`).map((field) => [field, type]));
}

/** Values of such fields; missing spans repeat the last value. */
export function spanValues(name: string, tensors: number, values: readonly number[]): Record<string, number> {
  return Object.fromEntries(
    each(tensors, (i) => `${name}${i}`).map((field, i) => [field, values[i] ?? values.at(-1) ?? 0]),
  );
}
