/**
 * CPU kernels of attention over pages.
 *
 * Prefill: a task is (tile, key/value head). The page's keys are widened and transposed into panels of eight columns, its
 * values into panels too, and both serve all queries of the tile and all heads of the group: 4 × 8 products, 64 deep.
 * Decode: a task is (row, key/value head, split), bound by memory: four keys at a time, read once for the heads of the group.
 * Combine: a task is one head of one token.
 *
 * Hidden keys are masked out of the maximum and their probabilities set to zero by mask, because `exp` clamps.
 */
import { exp, madd, maxF32, sumF32 } from "../simd.inline.as";
import { multiplyTile, storeTransposed } from "../matmul/tile.inline.as";
import { BF16, F16, F32, loadFour, PAGE_TOKENS, Segment, segmentOf, shiftOf } from "./kv-pages.inline.as";

@unmanaged
class AttentionArgs {
  /** [T, H + 2G, D]. */
  qkv: usize;
  /** Prefill: rows. Decode: tokens. */
  rows: usize;
  /** Prefill only. */
  tiles: usize;
  /** [T, H, D]; decode with several splits: parts [split, T, H, D]. */
  out: usize;
  /** Decode with several splits: [split, T, H, 2], maximum and sum; else 0. */
  stats: usize;
  /** [slots, pagesPerSlot]. */
  pageTable: usize;
  scratch: usize;
  scratchBytes: i32;
  tokens: i32;
  heads: i32;
  kvHeads: i32;
  headDim: i32;
  pagesPerSlot: i32;
  window: i32;
  splits: i32;
  scale: f32;
  /** Segments follow as words. */
  segments: i32;
}

/** Below every score. */
// @ts-ignore: decorator
@inline
const NOTHING: f32 = -1e30;
/** Tokens of a tile: QUERY_TILE. */
// @ts-ignore: decorator
@inline
const TILE_TOKENS: i32 = 32;

/** Lanes whose key, key … key + 3, lies in [lo, hi). */
// @ts-ignore: decorator
@inline
function visible(key: i32, lo: i32, hi: i32): v128 {
  const index = i32x4.add(i32x4.splat(key), i32x4(0, 1, 2, 3));
  return v128.and(i32x4.ge_s(index, i32x4.splat(lo)), i32x4.lt_s(index, i32x4.splat(hi)));
}

/** exp of one number, with the bits of the vector's. */
// @ts-ignore: decorator
@inline
function expOne(x: f32): f32 {
  return f32x4.extract_lane(exp(f32x4.splat(x)), 0);
}

/** The address of a key/value head in its page, or 0 where there is no such page. `which`: offset of the pointer in Segment. */
// @ts-ignore: decorator
@inline
function headOfPage(kind: i32, g: AttentionArgs, segment: usize, which: usize, page: i32, kvHead: i32): usize {
  const index = <usize>((page - changetype<Segment>(segment).firstPage) * g.kvHeads + kvHead);
  return load<usize>(segment + which) + (index * PAGE_TOKENS * g.headDim << shiftOf(kind));
}

// —— prefill

/** Keys [begin, end) (multiples of 8) of a page as panels [8 keys][D][8]. */
// @ts-ignore: decorator
@inline
function packKeys(kind: i32, from: usize, begin: i32, end: i32, headDim: i32, panels: usize): void {
  const line = <usize>headDim << shiftOf(kind);
  for (let key = begin; key < end; key += 4) {
    let k0 = from + <usize>key * line;
    let to = panels + (<usize>(key >> 3) * headDim << 5) + (<usize>(key & 4) << 2);
    for (let c = 0; c < headDim; c += 4) {
      storeTransposed(
        loadFour(kind, k0), loadFour(kind, k0 + line), loadFour(kind, k0 + 2 * line), loadFour(kind, k0 + 3 * line),
        to, 32,
      );
      k0 += 4 << shiftOf(kind);
      to += 128;
    }
  }
}

/** Values of keys [begin, end) as panels [D / 8][64 keys][8]. */
// @ts-ignore: decorator
@inline
function packValues(kind: i32, from: usize, begin: i32, end: i32, headDim: i32, panels: usize): void {
  let v = from + (<usize>begin * headDim << shiftOf(kind));
  for (let key = begin; key < end; key++) {
    let to = panels + (<usize>key << 5);
    for (let c = 0; c < headDim; c += 4) {
      v128.store(to + (<usize>(c >> 3) << 11) + (<usize>(c & 4) << 2), loadFour(kind, v));
      v += 4 << shiftOf(kind);
    }
  }
}

/** Four queries of one head, scaled, as [D][4]; those that do not exist are zeros. */
function packQueries(g: AttentionArgs, token: i32, count: i32, head: i32, to: usize): void {
  const headDim = g.headDim;
  const line = <usize>((g.heads + 2 * g.kvHeads) * headDim) << 2;
  const from = g.qkv + <usize>token * line + (<usize>(head * headDim) << 2);
  const scale = f32x4.splat(g.scale);
  const zero = f32x4.splat(0);
  for (let c: usize = 0; c < <usize>headDim << 2; c += 16) {
    const q0 = f32x4.mul(v128.load(from + c), scale);
    const q1 = count > 1 ? f32x4.mul(v128.load(from + line + c), scale) : zero;
    const q2 = count > 2 ? f32x4.mul(v128.load(from + 2 * line + c), scale) : zero;
    const q3 = count > 3 ? f32x4.mul(v128.load(from + 3 * line + c), scale) : zero;
    storeTransposed(q0, q1, q2, q3, to + (c << 2), 16);
  }
}

/** Largest of `best` and the visible scores of a row in panels [key / 8][4 rows][8]. */
function rowMaximum(scores: usize, begin: i32, end: i32, lo: i32, hi: i32, best: f32): f32 {
  let most = f32x4.splat(best);
  const nothing = f32x4.splat(NOTHING);
  for (let key = begin; key < end; key += 4) {
    const s = v128.load(scores + (<usize>(key >> 3) << 7) + (<usize>(key & 4) << 2));
    most = f32x4.max(most, v128.bitselect(s, nothing, visible(key, lo, hi)));
  }
  return maxF32(most);
}

// @ts-ignore: decorator
@inline
function probability(scores: usize, key: i32, lo: i32, hi: i32, best: v128): v128 {
  const s = v128.load(scores + (<usize>(key >> 3) << 7) + (<usize>(key & 4) << 2));
  return v128.and(exp(f32x4.sub(s, best)), visible(key, lo, hi));
}

/**
 * Online softmax of four rows over keys [begin, end) of a page. Row i sees [lo + i, hi + i), cut to [0, last).
 *
 * @param stats four maxima, then four sums; updated.
 * @param probabilities [64][4].
 * @returns four factors for what has been summed so far.
 */
function softmaxFour(
  scores: usize, begin: i32, end: i32, lo: i32, hi: i32, last: i32, stats: usize, probabilities: usize,
): v128 {
  const lo0 = max(lo, 0), lo1 = max(lo + 1, 0), lo2 = max(lo + 2, 0), lo3 = max(lo + 3, 0);
  const hi0 = min(hi, last), hi1 = min(hi + 1, last), hi2 = min(hi + 2, last), hi3 = min(hi + 3, last);
  const old = v128.load(stats);
  const m0 = rowMaximum(scores, begin, end, lo0, hi0, f32x4.extract_lane(old, 0));
  const m1 = rowMaximum(scores + 32, begin, end, lo1, hi1, f32x4.extract_lane(old, 1));
  const m2 = rowMaximum(scores + 64, begin, end, lo2, hi2, f32x4.extract_lane(old, 2));
  const m3 = rowMaximum(scores + 96, begin, end, lo3, hi3, f32x4.extract_lane(old, 3));
  const best = f32x4(m0, m1, m2, m3);
  const shrink = exp(f32x4.sub(old, best));
  let sum = f32x4.mul(v128.load(stats, 16), shrink);
  for (let key = begin; key < end; key += 4) {
    const to = probabilities + (<usize>key << 4);
    storeTransposed(
      probability(scores, key, lo0, hi0, f32x4.splat(m0)),
      probability(scores + 32, key, lo1, hi1, f32x4.splat(m1)),
      probability(scores + 64, key, lo2, hi2, f32x4.splat(m2)),
      probability(scores + 96, key, lo3, hi3, f32x4.splat(m3)),
      to, 16,
    );
    // Key by key: the order of the sum does not depend on where a page's blocks begin.
    sum = f32x4.add(sum, v128.load(to));
    sum = f32x4.add(sum, v128.load(to, 16));
    sum = f32x4.add(sum, v128.load(to, 32));
    sum = f32x4.add(sum, v128.load(to, 48));
  }
  v128.store(stats, best);
  v128.store(stats, sum, 16);
  return shrink;
}

/** Multiplies row i of the blocks [panel][4][8] by factor i. */
function scaleFour(blocks: usize, panels: i32, factors: v128): void {
  const f0 = f32x4.splat(f32x4.extract_lane(factors, 0)), f1 = f32x4.splat(f32x4.extract_lane(factors, 1));
  const f2 = f32x4.splat(f32x4.extract_lane(factors, 2)), f3 = f32x4.splat(f32x4.extract_lane(factors, 3));
  for (let i = 0; i < panels; i++) {
    v128.store(blocks, f32x4.mul(v128.load(blocks), f0));
    v128.store(blocks, f32x4.mul(v128.load(blocks, 16), f0), 16);
    v128.store(blocks, f32x4.mul(v128.load(blocks, 32), f1), 32);
    v128.store(blocks, f32x4.mul(v128.load(blocks, 48), f1), 48);
    v128.store(blocks, f32x4.mul(v128.load(blocks, 64), f2), 64);
    v128.store(blocks, f32x4.mul(v128.load(blocks, 80), f2), 80);
    v128.store(blocks, f32x4.mul(v128.load(blocks, 96), f3), 96);
    v128.store(blocks, f32x4.mul(v128.load(blocks, 112), f3), 112);
    blocks += 128;
  }
}

// @ts-ignore: decorator
@inline
function prefill(kind: i32, args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<AttentionArgs>(args);
  const headDim = g.headDim;
  const group = g.heads / g.kvHeads;
  const panels = (headDim + 7) >> 3;
  // Scratch of this worker, in the order of prefillScratchBytes (attention.launch-cpu.ts).
  const keys = g.scratch + <usize>worker * g.scratchBytes;
  const values = keys + (<usize>headDim << 8);
  const scores = values + (<usize>panels << 11);
  const probabilities = scores + 1024;
  const stats = probabilities + 1024;
  const queries = stats + (<usize>group << 8);
  const sums = queries + (<usize>(group * headDim) << 7);
  const queryBytes = <usize>headDim << 4;
  const sumBytes = <usize>panels << 7;
  // The last panel's columns past D are never stored, but must be numbers.
  memory.fill(values, 0, <usize>panels << 11);

  for (let task = begin; task < end; task++) {
    const tile = g.tiles + (<usize>(task / g.kvHeads) << 3);
    const kvHead = task % g.kvHeads;
    const row = g.rows + (<usize>load<i32>(tile) << 4);
    const first = load<i32>(tile, 4);
    const count = min(TILE_TOKENS, load<i32>(row) + load<i32>(row, 4) - first);
    const slot = load<i32>(row, 8);
    const position = load<i32>(row, 12) + first - load<i32>(row);
    const length = position + count;
    const blocks = (count + 3) >> 2;

    for (let h = 0; h < group; h++) {
      for (let b = 0; b < blocks; b++) {
        const at = <usize>(h * 8 + b);
        packQueries(g, first + 4 * b, min(4, count - 4 * b), kvHead * group + h, queries + at * queryBytes);
        v128.store(stats + (at << 5), f32x4.splat(NOTHING));
        v128.store(stats + (at << 5), f32x4.splat(0), 16);
        memory.fill(sums + at * sumBytes, 0, sumBytes);
      }
    }

    const firstPosition = max(position - g.window + 1, 0);
    const stop = slot < 0 ? 0 : (length + PAGE_TOKENS - 1) / PAGE_TOKENS;
    for (let index = firstPosition / PAGE_TOKENS; index < stop; index++) {
      const page = load<i32>(g.pageTable + (<usize>(slot * g.pagesPerSlot + index) << 2));
      const segment = segmentOf(args + offsetof<AttentionArgs>(), g.segments, page);
      if (segment == 0) continue;
      const start = index * PAGE_TOKENS;
      // Keys that some query of the tile sees: the rest of the page may hold anything, and 0 · NaN is NaN.
      const lo = max(firstPosition - start, 0);
      const hi = min(length - start, PAGE_TOKENS);
      packKeys(kind, headOfPage(kind, g, segment, offsetof<Segment>("keys"), page, kvHead), lo & ~7, (hi + 7) & ~7, headDim, keys);
      packValues(kind, headOfPage(kind, g, segment, offsetof<Segment>("values"), page, kvHead), lo, hi, headDim, values);
      for (let h = 0; h < group; h++) {
        for (let b = 0; b < blocks; b++) {
          const query = position + 4 * b;
          const from = max(max(query - g.window + 1, 0) - start, 0);
          const to = min(min(query + 4, length) - start, hi);
          if (from >= to) continue;
          const at = <usize>(h * 8 + b);
          for (let key = from & ~7; key < to; key += 8) {
            multiplyTile(
              headDim, queries + at * queryBytes, keys + (<usize>(key >> 3) * headDim << 5),
              scores + (<usize>(key >> 3) << 7), true,
            );
          }
          const shrink = softmaxFour(
            scores, from & ~7, (to + 7) & ~7, query - g.window + 1 - start, query + 1 - start, to,
            stats + (at << 5), probabilities,
          );
          scaleFour(sums + at * sumBytes, panels, shrink);
          for (let c = 0; c < panels; c++) {
            multiplyTile(
              to - from, probabilities + (<usize>from << 4), values + (<usize>c << 11) + (<usize>from << 5),
              sums + at * sumBytes + (<usize>c << 7), false,
            );
          }
        }
      }
    }

    for (let h = 0; h < group; h++) {
      for (let t = 0; t < count; t++) {
        const at = <usize>(h * 8 + (t >> 2));
        const total = load<f32>(stats + (at << 5) + 16 + (<usize>(t & 3) << 2));
        const factor = f32x4.splat(total > 0 ? 1 / total : 0);
        const out = g.out + (<usize>((first + t) * g.heads + kvHead * group + h) * headDim << 2);
        const from = sums + at * sumBytes + (<usize>(t & 3) << 5);
        for (let c = 0; c < headDim; c += 4) {
          const v = v128.load(from + (<usize>(c >> 3) << 7) + (<usize>(c & 4) << 2));
          v128.store(out + (<usize>c << 2), f32x4.mul(v, factor));
        }
      }
    }
  }
}

export function attentionPrefillF32(args: usize, begin: i32, end: i32, worker: i32): void {
  prefill(F32, args, begin, end, worker);
}

export function attentionPrefillF16(args: usize, begin: i32, end: i32, worker: i32): void {
  prefill(F16, args, begin, end, worker);
}

export function attentionPrefillBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  prefill(BF16, args, begin, end, worker);
}

// —— decode

/** Four lines of D elements as float32: in place, or widened into `quad`; keys outside [lo, hi) are zeros there. */
// @ts-ignore: decorator
@inline
function quadOf(kind: i32, from: usize, key: i32, lo: i32, hi: i32, headDim: i32, quad: usize): usize {
  const line = <usize>headDim << shiftOf(kind);
  const isWhole = key >= lo && key + 4 <= hi;
  if (kind == F32 && isWhole) return from + <usize>key * line;
  for (let i = 0; i < 4; i++) {
    const to = quad + (<usize>(i * headDim) << 2);
    if (key + i < lo || key + i >= hi) {
      memory.fill(to, 0, <usize>headDim << 2);
      continue;
    }
    const source = from + <usize>(key + i) * line;
    for (let c = 0; c < headDim; c += 4) {
      v128.store(to + (<usize>c << 2), loadFour(kind, source + (<usize>c << shiftOf(kind))));
    }
  }
  return quad;
}

/** Products of q with four keys. */
function dotFour(q: usize, quad: usize, headDim: i32): v128 {
  const line = <usize>headDim << 2;
  const stop = q + line;
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
  while (q < stop) {
    const x = v128.load(q);
    s0 = madd(x, v128.load(quad), s0);
    s1 = madd(x, v128.load(quad + line), s1);
    s2 = madd(x, v128.load(quad + 2 * line), s2);
    s3 = madd(x, v128.load(quad + 3 * line), s3);
    q += 16;
    quad += 16;
  }
  // The four sums side by side: two rounds of pairwise additions.
  const low = f32x4.add(v128.shuffle<i32>(s0, s1, 0, 4, 1, 5), v128.shuffle<i32>(s0, s1, 2, 6, 3, 7));
  const high = f32x4.add(v128.shuffle<i32>(s2, s3, 0, 4, 1, 5), v128.shuffle<i32>(s2, s3, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<i64>(low, high, 0, 2), v128.shuffle<i64>(low, high, 1, 3));
}

/** acc += four probabilities · four lines of values. */
function addFour(acc: usize, probabilities: usize, quad: usize, headDim: i32): void {
  const line = <usize>headDim << 2;
  const stop = acc + line;
  const p0 = v128.load_splat<f32>(probabilities), p1 = v128.load_splat<f32>(probabilities, 4);
  const p2 = v128.load_splat<f32>(probabilities, 8), p3 = v128.load_splat<f32>(probabilities, 12);
  while (acc < stop) {
    let sum = madd(p0, v128.load(quad), v128.load(acc));
    sum = madd(p1, v128.load(quad + line), sum);
    sum = madd(p2, v128.load(quad + 2 * line), sum);
    v128.store(acc, madd(p3, v128.load(quad + 3 * line), sum));
    acc += 16;
    quad += 16;
  }
}

/** Online softmax of one row over keys [begin, end) (multiples of 4), in place; hidden keys become 0. Returns the factor. */
function softmaxOne(scores: usize, begin: i32, end: i32, lo: i32, hi: i32, stats: usize): f32 {
  const old = load<f32>(stats);
  let most = f32x4.splat(old);
  for (let key = begin; key < end; key += 4) {
    const s = v128.load(scores + (<usize>key << 2));
    most = f32x4.max(most, v128.bitselect(s, f32x4.splat(NOTHING), visible(key, lo, hi)));
  }
  const best = maxF32(most);
  let sum = f32x4.splat(0);
  for (let key = begin; key < end; key += 4) {
    const at = scores + (<usize>key << 2);
    const p = v128.and(exp(f32x4.sub(v128.load(at), f32x4.splat(best))), visible(key, lo, hi));
    v128.store(at, p);
    sum = f32x4.add(sum, p);
  }
  const shrink = expOne(old - best);
  store<f32>(stats, best);
  store<f32>(stats, load<f32>(stats, 4) * shrink + sumF32(sum), 4);
  return shrink;
}

// @ts-ignore: decorator
@inline
function scaleLine(from: usize, to: usize, headDim: i32, factor: f32): void {
  const f = f32x4.splat(factor);
  for (let c: usize = 0; c < <usize>headDim << 2; c += 16) v128.store(to + c, f32x4.mul(v128.load(from + c), f));
}

// @ts-ignore: decorator
@inline
function decode(kind: i32, args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<AttentionArgs>(args);
  const headDim = g.headDim;
  const group = g.heads / g.kvHeads;
  const line = <usize>headDim << 2;
  // Scratch of this worker, in the order of decodeScratchBytes (attention.launch-cpu.ts).
  const quad = g.scratch + <usize>worker * g.scratchBytes;
  const scores = quad + 4 * line;
  const stats = scores + (<usize>group << 8);
  const queries = stats + (<usize>group << 4);
  const sums = queries + <usize>group * line;

  for (let task = begin; task < end; task++) {
    const split = task % g.splits;
    const kvHead = (task / g.splits) % g.kvHeads;
    const token = task / (g.splits * g.kvHeads);
    const word = g.rows + (<usize>token << 4);
    const position = load<i32>(word, 4);
    const slot = load<i32>(word, 12);
    const head = token * g.heads + kvHead * group;

    for (let h = 0; h < group; h++) {
      const columns = token * (g.heads + 2 * g.kvHeads) + kvHead * group + h;
      scaleLine(g.qkv + <usize>columns * line, queries + <usize>h * line, headDim, g.scale);
      store<f32>(stats + (<usize>h << 3), NOTHING);
      store<f32>(stats + (<usize>h << 3), 0, 4);
    }
    memory.fill(sums, 0, <usize>group * line);

    // This split's share of the pages, from the true length.
    const firstPosition = max(position - g.window + 1, 0);
    const firstPage = firstPosition / PAGE_TOKENS;
    const pageCount = position / PAGE_TOKENS + 1 - firstPage;
    const share = (pageCount + g.splits - 1) / g.splits;
    const from = firstPage + split * share;
    const stop = slot < 0 ? from : min(from + share, firstPage + pageCount);
    for (let index = from; index < stop; index++) {
      const page = load<i32>(g.pageTable + (<usize>(slot * g.pagesPerSlot + index) << 2));
      const segment = segmentOf(args + offsetof<AttentionArgs>(), g.segments, page);
      if (segment == 0) continue;
      const lo = max(firstPosition - index * PAGE_TOKENS, 0);
      const hi = min(position + 1 - index * PAGE_TOKENS, PAGE_TOKENS);
      const lo4 = lo & ~3;
      const hi4 = (hi + 3) & ~3;
      const keys = headOfPage(kind, g, segment, offsetof<Segment>("keys"), page, kvHead);
      for (let key = lo4; key < hi4; key += 4) {
        const k = quadOf(kind, keys, key, lo, hi, headDim, quad);
        for (let h = 0; h < group; h++) {
          v128.store(scores + (<usize>h << 8) + (<usize>key << 2), dotFour(queries + <usize>h * line, k, headDim));
        }
      }
      for (let h = 0; h < group; h++) {
        const shrink = softmaxOne(scores + (<usize>h << 8), lo4, hi4, lo, hi, stats + (<usize>h << 3));
        const sum = sums + <usize>h * line;
        scaleLine(sum, sum, headDim, shrink);
      }
      const values = headOfPage(kind, g, segment, offsetof<Segment>("values"), page, kvHead);
      for (let key = lo4; key < hi4; key += 4) {
        const v = quadOf(kind, values, key, lo, hi, headDim, quad);
        for (let h = 0; h < group; h++) {
          addFour(sums + <usize>h * line, scores + (<usize>h << 8) + (<usize>key << 2), v, headDim);
        }
      }
    }

    for (let h = 0; h < group; h++) {
      const sum = sums + <usize>h * line;
      const total = load<f32>(stats + (<usize>h << 3), 4);
      if (g.stats) {
        const part = <usize>(split * g.tokens * g.heads + head + h);
        memory.copy(g.out + part * line, sum, line);
        store<f32>(g.stats + (part << 3), load<f32>(stats + (<usize>h << 3)));
        store<f32>(g.stats + (part << 3), total, 4);
      } else scaleLine(sum, g.out + <usize>(head + h) * line, headDim, total > 0 ? 1 / total : 0);
    }
  }
}

export function attentionDecodeF32(args: usize, begin: i32, end: i32, worker: i32): void {
  decode(F32, args, begin, end, worker);
}

export function attentionDecodeF16(args: usize, begin: i32, end: i32, worker: i32): void {
  decode(F16, args, begin, end, worker);
}

export function attentionDecodeBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  decode(BF16, args, begin, end, worker);
}

@unmanaged
class CombineArgs {
  /** [part, results, D]. */
  parts: usize;
  /** [part, results, 2]. */
  stats: usize;
  /** [results, D]. */
  out: usize;
  count: i32;
  results: i32;
  headDim: i32;
}

export function attentionCombine(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<CombineArgs>(args);
  const line = <usize>g.headDim << 2;
  for (let task = begin; task < end; task++) {
    let best = NOTHING;
    for (let i = 0; i < g.count; i++) best = max(best, load<f32>(g.stats + (<usize>(i * g.results + task) << 3)));
    const out = g.out + <usize>task * line;
    memory.fill(out, 0, line);
    let total: f32 = 0;
    for (let i = 0; i < g.count; i++) {
      const part = <usize>(i * g.results + task);
      const sum = load<f32>(g.stats + (part << 3), 4);
      if (!(sum > 0)) continue; // an empty part has no maximum to compare
      const weight = expOne(load<f32>(g.stats + (part << 3)) - best);
      total += weight * sum;
      const w = f32x4.splat(weight);
      for (let c: usize = 0; c < line; c += 16) {
        v128.store(out + c, madd(w, v128.load(g.parts + part * line + c), v128.load(out + c)));
      }
    }
    scaleLine(out, out, g.headDim, total > 0 ? 1 / total : 0);
  }
}
