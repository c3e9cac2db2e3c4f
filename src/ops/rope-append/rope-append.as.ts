/** CPU kernel of rope-append: a task is one head of one token. */
import { BF16, F16, F32, PAGE_TOKENS, Segment, segmentOf, shiftOf, storeOne } from "../attention/kv-pages.inline.as";

@unmanaged
class RopeAppendArgs {
  /** [T, H + 2G, D]. */
  qkv: usize;
  tokens: usize;
  pageTable: usize;
  /** [LOW + highLines, rotaryDim], or 0. */
  table: usize;
  /** [D], or 0. */
  qNorm: usize;
  kNorm: usize;
  scratch: usize;
  scratchBytes: i32;
  heads: i32;
  kvHeads: i32;
  headDim: i32;
  rotaryDim: i32;
  highLines: i32;
  pagesPerSlot: i32;
  eps: f32;
  /** Segments follow as words. */
  segments: i32;
}

// @ts-ignore: decorator
@inline
const LOW_POSITIONS: i32 = 1024;

/** to = from / rms(from) · weight over D channels (even). */
function normalise(from: usize, to: usize, weight: usize, headDim: i32, eps: f32): void {
  let s0: f32 = 0, s1: f32 = 0;
  const stop = <usize>headDim << 2;
  for (let c: usize = 0; c < stop; c += 8) {
    const x0 = load<f32>(from + c);
    const x1 = load<f32>(from + c, 4);
    s0 += x0 * x0;
    s1 += x1 * x1;
  }
  const inverseRms: f32 = 1 / sqrt<f32>((s0 + s1) / <f32>headDim + eps);
  for (let c: usize = 0; c < stop; c += 4) store<f32>(to + c, load<f32>(from + c) * inverseRms * load<f32>(weight + c));
}

/** Rotates channel pairs (i, i + r/2) in place. */
function rotate(x: usize, g: RopeAppendArgs, position: i32): void {
  const half = <usize>(g.rotaryDim >> 1) << 2;
  const line = <usize>g.rotaryDim << 2;
  const low = g.table + <usize>(position % LOW_POSITIONS) * line;
  const high = g.table + <usize>(LOW_POSITIONS + min(position / LOW_POSITIONS, g.highLines - 1)) * line;
  for (let c: usize = 0; c < half; c += 4) {
    const lowCos = load<f32>(low + c), lowSin = load<f32>(low + half + c);
    const highCos = load<f32>(high + c), highSin = load<f32>(high + half + c);
    const cosine = lowCos * highCos - lowSin * highSin;
    const sine = lowSin * highCos + lowCos * highSin;
    const x0 = load<f32>(x + c), x1 = load<f32>(x + half + c);
    store<f32>(x + c, x0 * cosine - x1 * sine);
    store<f32>(x + half + c, x1 * cosine + x0 * sine);
  }
}

// @ts-ignore: decorator
@inline
function ropeAppend(kind: i32, args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<RopeAppendArgs>(args);
  const headDim = g.headDim;
  const columns = g.heads + 2 * g.kvHeads;
  const own = g.scratch + <usize>worker * g.scratchBytes;
  const bytes = <usize>headDim << 2;
  for (let task = begin; task < end; task++) {
    const column = task % columns;
    const word = g.tokens + (<usize>(task / columns) << 4);
    const position = max(load<i32>(word, 4), 0);
    const slot = load<i32>(word, 12);
    const x = g.qkv + <usize>task * bytes;
    if (column < g.heads) {
      if (g.qNorm) normalise(x, x, g.qNorm, headDim, g.eps);
      if (g.table) rotate(x, g, position);
      continue;
    }
    const index = position / PAGE_TOKENS;
    if (slot < 0 || index >= g.pagesPerSlot) continue;
    const page = load<i32>(g.pageTable + (<usize>(slot * g.pagesPerSlot + index) << 2));
    const segment = segmentOf(args + offsetof<RopeAppendArgs>(), g.segments, page);
    if (segment == 0) continue;
    const isValue = column >= g.heads + g.kvHeads;
    const kvHead = column - g.heads - (isValue ? g.kvHeads : 0);
    let from = x;
    if (!isValue && (g.kNorm || g.table)) {
      from = own;
      if (g.kNorm) normalise(x, own, g.kNorm, headDim, g.eps);
      else memory.copy(own, x, bytes);
      if (g.table) rotate(own, g, position);
    }
    const s = changetype<Segment>(segment);
    const line = <usize>(((page - s.firstPage) * g.kvHeads + kvHead) * PAGE_TOKENS + position % PAGE_TOKENS);
    let to = (isValue ? s.values : s.keys) + (line * headDim << shiftOf(kind));
    for (let c: usize = 0; c < bytes; c += 4) {
      storeOne(kind, to, load<f32>(from + c));
      to += 1 << shiftOf(kind);
    }
  }
}

export function ropeAppendF32(args: usize, begin: i32, end: i32, worker: i32): void {
  ropeAppend(F32, args, begin, end, worker);
}

export function ropeAppendF16(args: usize, begin: i32, end: i32, worker: i32): void {
  ropeAppend(F16, args, begin, end, worker);
}

export function ropeAppendBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  ropeAppend(BF16, args, begin, end, worker);
}
