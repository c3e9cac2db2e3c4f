/** CPU kernel of rope-append: a task is one head of one token. */
import { BF16, F16, F32, PAGE_TOKENS, Segment, segmentOf, shiftOf, storeOne } from "../attention/kv-pages.inline.as";
import { normaliseHead, rotateHead } from "../rope/head.inline.as";

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
      if (g.qNorm) normaliseHead(x, x, g.qNorm, headDim, g.eps);
      if (g.table) rotateHead(x, g.table, g.rotaryDim, g.highLines, position);
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
      if (g.kNorm) normaliseHead(x, own, g.kNorm, headDim, g.eps);
      else memory.copy(own, x, bytes);
      if (g.table) rotateHead(own, g.table, g.rotaryDim, g.highLines, position);
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
