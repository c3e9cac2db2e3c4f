/**
 * CPU kernels of attention over pages.
 *
 * Prefill: a task is (tile, key/value head). Eight queries side by side, a lane each in the softmax: keys and values are taken
 * as they lie in their page, a number at a time, times the eight; nothing but the queries is transposed.
 * Decode: a task is (row, key/value head, split): a page at a time, four heads of the group side by side, a lane each in the
 * softmax, so that nothing is transposed.
 * Combine: a task is one head of one token.
 *
 * Keys that no query sees are not touched. Where some queries see a key and others do not, it is masked out of the maximum and
 * its probabilities set to zero by mask, because `exp` clamps.
 */
import { exp, madd, sumFour } from "../simd.inline.as";
import { storeTransposed } from "../matmul/tile.inline.as";
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
/** Blocks of eight of them. */
// @ts-ignore: decorator
@inline
const TILE_BLOCKS: usize = 4;
/** Prefill: a page's scores of eight queries, and of three keys behind it. */
// @ts-ignore: decorator
@inline
const SCORE_BYTES: usize = 67 * 32;
/** Eight maxima, sums and factors. */
// @ts-ignore: decorator
@inline
const STAT_BYTES: usize = 96;

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

/** Elements of `count` lines of D, widened one behind the other. */
function widenLines(kind: i32, from: usize, count: i32, headDim: i32, to: usize): void {
  for (let left = count * headDim; left > 0; left -= 4) {
    v128.store(to, loadFour(kind, from));
    from += 4 << shiftOf(kind);
    to += 16;
  }
}

/**
 * Looks at each cache line of `bytes` from `at`: what is read across lines afterwards has come in order then, which memory is
 * two or three times as fast at.
 */
// @ts-ignore: decorator
@inline
function touch(at: usize, bytes: usize): void {
  for (const stop = at + bytes; at < stop; at += 64) load<i32>(at);
}

// —— prefill

/** Up to four queries of one head, scaled, as four columns of [D][8]; those that do not exist are zeros. */
function packQueries(g: AttentionArgs, token: i32, count: i32, head: i32, to: usize): void {
  const headDim = g.headDim;
  const line = <usize>((g.heads + 2 * g.kvHeads) * headDim) << 2;
  const from = g.qkv + <usize>token * line + (<usize>(head * headDim) << 2);
  const scale = f32x4.splat(g.scale);
  const zero = f32x4.splat(0);
  for (let c: usize = 0; c < <usize>headDim << 2; c += 16) {
    const q0 = count > 0 ? f32x4.mul(v128.load(from + c), scale) : zero;
    const q1 = count > 1 ? f32x4.mul(v128.load(from + line + c), scale) : zero;
    const q2 = count > 2 ? f32x4.mul(v128.load(from + 2 * line + c), scale) : zero;
    const q3 = count > 3 ? f32x4.mul(v128.load(from + 3 * line + c), scale) : zero;
    storeTransposed(q0, q1, q2, q3, to + (c << 3), 32);
  }
}

/** Scores [4 keys, 8 queries] of queries [D][8] with the keys from k0, `line` apart. Not unrolled: see tile.inline.as.ts. */
function scoreFour(queries: usize, k0: usize, line: usize, headDim: i32, scores: usize): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00;
  let c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  let k1 = k0 + line, k2 = k1 + line, k3 = k2 + line;
  const stop = k0 + (<usize>headDim << 2);
  while (k0 < stop) {
    const b0 = v128.load(queries);
    const b1 = v128.load(queries, 16);
    const a0 = v128.load_splat<f32>(k0);
    c00 = madd(a0, b0, c00);
    c01 = madd(a0, b1, c01);
    const a1 = v128.load_splat<f32>(k1);
    c10 = madd(a1, b0, c10);
    c11 = madd(a1, b1, c11);
    const a2 = v128.load_splat<f32>(k2);
    c20 = madd(a2, b0, c20);
    c21 = madd(a2, b1, c21);
    const a3 = v128.load_splat<f32>(k3);
    c30 = madd(a3, b0, c30);
    c31 = madd(a3, b1, c31);
    queries += 32;
    k0 += 4;
    k1 += 4;
    k2 += 4;
    k3 += 4;
  }
  v128.store(scores, c00);
  v128.store(scores, c01, 16);
  v128.store(scores, c10, 32);
  v128.store(scores, c11, 48);
  v128.store(scores, c20, 64);
  v128.store(scores, c21, 80);
  v128.store(scores, c30, 96);
  v128.store(scores, c31, 112);
}

/** Lanes whose bounds contain `key`: lane i has [lo + i, hi + i). */
// @ts-ignore: decorator
@inline
function sees(key: i32, lo: i32, hi: i32): v128 {
  const own = i32x4.sub(i32x4.splat(key), i32x4(0, 1, 2, 3));
  return v128.and(i32x4.ge_s(own, i32x4.splat(lo)), i32x4.lt_s(own, i32x4.splat(hi)));
}

/**
 * Online softmax of eight queries, a lane each, over keys [from, to): scores [key, 8] become probabilities. Query i sees
 * [lo + i, hi + i).
 *
 * @param stats eight maxima, then eight sums; updated. Behind them: eight factors for what has been summed so far.
 */
function softmaxQueries(scores: usize, from: i32, to: i32, lo: i32, hi: i32, stats: usize): void {
  const begin = scores + (<usize>from << 5);
  const end = scores + (<usize>to << 5);
  const isWhole = lo + 7 <= from && hi >= to;
  const nothing = f32x4.splat(NOTHING);
  const old0 = v128.load(stats), old1 = v128.load(stats, 16);
  let best0 = old0, best1 = old1;
  if (!isWhole) {
    for (let at = begin, key = from; at < end; at += 32, key++) {
      v128.store(at, v128.bitselect(v128.load(at), nothing, sees(key, lo, hi)));
      v128.store(at, v128.bitselect(v128.load(at, 16), nothing, sees(key - 4, lo, hi)), 16);
    }
  }
  // A score that is not a number is no maximum, but its probability is not a number.
  for (let at = begin; at < end; at += 32) {
    best0 = f32x4.pmax(best0, v128.load(at));
    best1 = f32x4.pmax(best1, v128.load(at, 16));
  }
  const shrink0 = exp(f32x4.sub(old0, best0)), shrink1 = exp(f32x4.sub(old1, best1));
  let sum0 = f32x4.mul(v128.load(stats, 32), shrink0), sum1 = f32x4.mul(v128.load(stats, 48), shrink1);
  for (let at = begin, key = from; at < end; at += 32, key++) {
    let p0 = exp(f32x4.sub(v128.load(at), best0));
    let p1 = exp(f32x4.sub(v128.load(at, 16), best1));
    if (!isWhole) {
      p0 = v128.and(p0, sees(key, lo, hi));
      p1 = v128.and(p1, sees(key - 4, lo, hi));
    }
    v128.store(at, p0);
    v128.store(at, p1, 16);
    sum0 = f32x4.add(sum0, p0);
    sum1 = f32x4.add(sum1, p1);
  }
  v128.store(stats, best0);
  v128.store(stats, best1, 16);
  v128.store(stats, sum0, 32);
  v128.store(stats, sum1, 48);
  v128.store(stats, shrink0, 64);
  v128.store(stats, shrink1, 80);
}

/** Sums [4 channels, 8 queries] = shrink · sums + lines of values, of which four channelsᵀ · probabilities [count, 8]. */
function addFourChannels(
  probabilities: usize, values: usize, line: usize, count: i32, sums: usize, shrink0: v128, shrink1: v128,
): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00;
  let c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  const stop = probabilities + (<usize>count << 5);
  while (probabilities < stop) {
    const b0 = v128.load(probabilities);
    const b1 = v128.load(probabilities, 16);
    const a0 = v128.load_splat<f32>(values);
    c00 = madd(a0, b0, c00);
    c01 = madd(a0, b1, c01);
    const a1 = v128.load_splat<f32>(values, 4);
    c10 = madd(a1, b0, c10);
    c11 = madd(a1, b1, c11);
    const a2 = v128.load_splat<f32>(values, 8);
    c20 = madd(a2, b0, c20);
    c21 = madd(a2, b1, c21);
    const a3 = v128.load_splat<f32>(values, 12);
    c30 = madd(a3, b0, c30);
    c31 = madd(a3, b1, c31);
    probabilities += 32;
    values += line;
  }
  v128.store(sums, madd(shrink0, v128.load(sums), c00));
  v128.store(sums, madd(shrink1, v128.load(sums, 16), c01), 16);
  v128.store(sums, madd(shrink0, v128.load(sums, 32), c10), 32);
  v128.store(sums, madd(shrink1, v128.load(sums, 48), c11), 48);
  v128.store(sums, madd(shrink0, v128.load(sums, 64), c20), 64);
  v128.store(sums, madd(shrink1, v128.load(sums, 80), c21), 80);
  v128.store(sums, madd(shrink0, v128.load(sums, 96), c30), 96);
  v128.store(sums, madd(shrink1, v128.load(sums, 112), c31), 112);
}

/** Four of eight columns of sums [D][8], over their totals, as up to four lines, `line` apart. */
function storeQueries(sums: usize, totals: v128, count: i32, headDim: i32, four: usize, to: usize, line: usize): void {
  const inverse = v128.and(f32x4.div(f32x4.splat(1), totals), f32x4.gt(totals, f32x4.splat(0)));
  for (let c = 0; c < headDim; c += 4) {
    const v0 = f32x4.mul(v128.load(sums), inverse);
    const v1 = f32x4.mul(v128.load(sums, 32), inverse);
    const v2 = f32x4.mul(v128.load(sums, 64), inverse);
    const v3 = f32x4.mul(v128.load(sums, 96), inverse);
    storeTransposed(v0, v1, v2, v3, four, 16);
    for (let i: usize = 0; i < <usize>count; i++) v128.store(to + i * line, v128.load(four + (i << 4)));
    sums += 128;
    to += 16;
  }
}

// @ts-ignore: decorator
@inline
function prefill(kind: i32, args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<AttentionArgs>(args);
  const headDim = g.headDim;
  const group = g.heads / g.kvHeads;
  const line = <usize>headDim << 2;
  const tokenBytes = <usize>g.heads * line;
  const columnBytes = line << 3;
  // Scratch of this worker, in the order of prefillScratchBytes (attention.launch-cpu.ts).
  const scores = g.scratch + <usize>worker * g.scratchBytes;
  const stats = scores + SCORE_BYTES;
  const queries = stats + <usize>group * TILE_BLOCKS * STAT_BYTES;
  const sums = queries + <usize>group * TILE_BLOCKS * columnBytes;
  const wideKeys = sums + <usize>group * TILE_BLOCKS * columnBytes;
  const wideValues = wideKeys + <usize>(PAGE_TOKENS + 3) * line;

  for (let task = begin; task < end; task++) {
    const tile = g.tiles + (<usize>(task / g.kvHeads) << 3);
    const kvHead = task % g.kvHeads;
    const row = g.rows + (<usize>load<i32>(tile) << 4);
    const first = load<i32>(tile, 4);
    const count = min(TILE_TOKENS, load<i32>(row) + load<i32>(row, 4) - first);
    const slot = load<i32>(row, 8);
    const position = load<i32>(row, 12) + first - load<i32>(row);
    const length = position + count;
    const blocks = (count + 7) >> 3;

    for (let h = 0; h < group; h++) {
      for (let b = 0; b < blocks; b++) {
        const at = <usize>h * TILE_BLOCKS + b;
        const q = queries + at * columnBytes;
        packQueries(g, first + 8 * b, count - 8 * b, kvHead * group + h, q);
        packQueries(g, first + 8 * b + 4, count - 8 * b - 4, kvHead * group + h, q + 16);
        const stat = stats + at * STAT_BYTES;
        v128.store(stat, f32x4.splat(NOTHING));
        v128.store(stat, f32x4.splat(NOTHING), 16);
        memory.fill(stat + 32, 0, 32);
        memory.fill(sums + at * columnBytes, 0, columnBytes);
      }
    }

    const firstPosition = max(position - g.window + 1, 0);
    const stop = slot < 0 ? 0 : (length + PAGE_TOKENS - 1) / PAGE_TOKENS;
    for (let index = firstPosition / PAGE_TOKENS; index < stop; index++) {
      const page = load<i32>(g.pageTable + (<usize>(slot * g.pagesPerSlot + index) << 2));
      const segment = segmentOf(args + offsetof<AttentionArgs>(), g.segments, page);
      if (segment == 0) continue;
      const start = index * PAGE_TOKENS;
      // Keys that some query of the tile sees: the rest of the page may hold anything.
      const lo = max(firstPosition - start, 0);
      const hi = min(length - start, PAGE_TOKENS);
      const skipped = <usize>(lo * headDim) << shiftOf(kind);
      let keys = headOfPage(kind, g, segment, offsetof<Segment>("keys"), page, kvHead);
      let values = headOfPage(kind, g, segment, offsetof<Segment>("values"), page, kvHead);
      if (kind == F32) {
        touch(keys + skipped, <usize>(hi - lo) * line);
        touch(values + skipped, <usize>(hi - lo) * line);
      } else {
        widenLines(kind, keys + skipped, hi - lo, headDim, wideKeys + <usize>lo * line);
        widenLines(kind, values + skipped, hi - lo, headDim, wideValues + <usize>lo * line);
        keys = wideKeys;
        values = wideValues;
      }
      for (let h = 0; h < group; h++) {
        for (let b = 0; b < blocks; b++) {
          const query = position + 8 * b;
          const from = max(max(query - g.window + 1, 0) - start, 0);
          const to = min(min(query + 8, length) - start, hi);
          if (from >= to) continue;
          const at = <usize>h * TILE_BLOCKS + b;
          const stat = stats + at * STAT_BYTES;
          // The last four keys may reach past those that are there; nobody looks at the results.
          for (let key = from; key < to; key += 4) {
            scoreFour(queries + at * columnBytes, keys + <usize>key * line, line, headDim, scores + (<usize>key << 5));
          }
          softmaxQueries(scores, from, to, query - g.window + 1 - start, query + 1 - start, stat);
          const shrink0 = v128.load(stat, 64), shrink1 = v128.load(stat, 80);
          const own = sums + at * columnBytes;
          const p = scores + (<usize>from << 5);
          const v = values + <usize>from * line;
          for (let c: usize = 0; c < line; c += 16) {
            addFourChannels(p, v + c, line, to - from, own + (c << 3), shrink0, shrink1);
          }
        }
      }
    }

    for (let h = 0; h < group; h++) {
      const out = g.out + <usize>first * tokenBytes + <usize>(kvHead * group + h) * line;
      for (let b = 0; b < blocks; b++) {
        const at = <usize>h * TILE_BLOCKS + b;
        const own = sums + at * columnBytes;
        const stat = stats + at * STAT_BYTES;
        const to = out + <usize>(8 * b) * tokenBytes;
        const left = count - 8 * b;
        storeQueries(own, v128.load(stat, 32), min(4, left), headDim, scores, to, tokenBytes);
        if (left <= 4) continue;
        storeQueries(own + 16, v128.load(stat, 48), min(4, left - 4), headDim, scores, to + 4 * tokenBytes, tokenBytes);
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

/** Pairs of keys between those that are multiplied and those that are looked at in advance. */
// @ts-ignore: decorator
@inline
const AHEAD_KEYS: usize = 4;

/** Queries of up to four heads, scaled, as [D / 4][4 heads][4]; heads that do not exist are zeros. */
function packHeads(from: usize, count: i32, headDim: i32, factor: f32, to: usize): void {
  const line = <usize>headDim << 2;
  const f = f32x4.splat(factor);
  for (let c: usize = 0; c < line; c += 16) {
    for (let h = 0; h < 4; h++) {
      const q = h < count ? f32x4.mul(v128.load(from + <usize>h * line + c), f) : f32x4.splat(0);
      v128.store(to + (<usize>h << 4), q);
    }
    to += 64;
  }
}

/** Scores of four heads with the keys at k0 and k1: [2, 4 heads]. */
function scoreTwo(queries: usize, k0: usize, k1: usize, headDim: i32, scores: usize): void {
  const stop = k0 + (<usize>headDim << 2);
  let s00 = f32x4.splat(0), s01 = s00, s02 = s00, s03 = s00;
  let s10 = s00, s11 = s00, s12 = s00, s13 = s00;
  while (k0 < stop) {
    const a0 = v128.load(k0);
    const a1 = v128.load(k1);
    const b0 = v128.load(queries);
    s00 = madd(b0, a0, s00);
    s10 = madd(b0, a1, s10);
    const b1 = v128.load(queries, 16);
    s01 = madd(b1, a0, s01);
    s11 = madd(b1, a1, s11);
    const b2 = v128.load(queries, 32);
    s02 = madd(b2, a0, s02);
    s12 = madd(b2, a1, s12);
    const b3 = v128.load(queries, 48);
    s03 = madd(b3, a0, s03);
    s13 = madd(b3, a1, s13);
    queries += 64;
    k0 += 16;
    k1 += 16;
  }
  v128.store(scores, sumFour(s00, s01, s02, s03));
  v128.store(scores, sumFour(s10, s11, s12, s13), 16);
}

/** The same for two heads; those of the other two are 0. */
function scoreTwoOfTwo(queries: usize, k0: usize, k1: usize, headDim: i32, scores: usize): void {
  const stop = k0 + (<usize>headDim << 2);
  const zero = f32x4.splat(0);
  let s00 = zero, s01 = zero, s10 = zero, s11 = zero;
  while (k0 < stop) {
    const a0 = v128.load(k0);
    const a1 = v128.load(k1);
    const b0 = v128.load(queries);
    s00 = madd(b0, a0, s00);
    s10 = madd(b0, a1, s10);
    const b1 = v128.load(queries, 16);
    s01 = madd(b1, a0, s01);
    s11 = madd(b1, a1, s11);
    queries += 64;
    k0 += 16;
    k1 += 16;
  }
  v128.store(scores, sumFour(s00, s01, zero, zero));
  v128.store(scores, sumFour(s10, s11, zero, zero), 16);
}

/**
 * Online softmax of four heads, a lane each, over `count` keys: scores [count, 4] become probabilities.
 *
 * @param stats four maxima, then four sums; updated.
 * @returns four factors for what has been summed so far.
 */
function softmaxHeads(scores: usize, count: i32, stats: usize): v128 {
  const old = v128.load(stats);
  const stop = scores + (<usize>count << 4);
  let best = old;
  // A score that is not a number is no maximum, but its probability is not a number.
  for (let at = scores; at < stop; at += 16) best = f32x4.pmax(best, v128.load(at));
  const shrink = exp(f32x4.sub(old, best));
  let sum = f32x4.mul(v128.load(stats, 16), shrink);
  for (let at = scores; at < stop; at += 16) {
    const p = exp(f32x4.sub(v128.load(at), best));
    v128.store(at, p);
    sum = f32x4.add(sum, p);
  }
  v128.store(stats, best);
  v128.store(stats, sum, 16);
  return shrink;
}

/** Sums [4 heads, 8 channels] = shrink · sums + probabilities [count, 4]ᵀ · lines of values, of which eight channels. */
function addValues(probabilities: usize, values: usize, line: usize, count: i32, sums: usize, shrink: v128): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00;
  let c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  const stop = probabilities + (<usize>count << 4);
  while (probabilities < stop) {
    const b0 = v128.load(values);
    const b1 = v128.load(values, 16);
    const a0 = v128.load_splat<f32>(probabilities);
    c00 = madd(a0, b0, c00);
    c01 = madd(a0, b1, c01);
    const a1 = v128.load_splat<f32>(probabilities, 4);
    c10 = madd(a1, b0, c10);
    c11 = madd(a1, b1, c11);
    const a2 = v128.load_splat<f32>(probabilities, 8);
    c20 = madd(a2, b0, c20);
    c21 = madd(a2, b1, c21);
    const a3 = v128.load_splat<f32>(probabilities, 12);
    c30 = madd(a3, b0, c30);
    c31 = madd(a3, b1, c31);
    probabilities += 16;
    values += line;
  }
  const f0 = v128.shuffle<i32>(shrink, shrink, 0, 0, 0, 0), f1 = v128.shuffle<i32>(shrink, shrink, 1, 1, 1, 1);
  const f2 = v128.shuffle<i32>(shrink, shrink, 2, 2, 2, 2), f3 = v128.shuffle<i32>(shrink, shrink, 3, 3, 3, 3);
  v128.store(sums, madd(f0, v128.load(sums), c00));
  v128.store(sums, madd(f0, v128.load(sums, 16), c01), 16);
  v128.store(sums, madd(f1, v128.load(sums, 32), c10), 32);
  v128.store(sums, madd(f1, v128.load(sums, 48), c11), 48);
  v128.store(sums, madd(f2, v128.load(sums, 64), c20), 64);
  v128.store(sums, madd(f2, v128.load(sums, 80), c21), 80);
  v128.store(sums, madd(f3, v128.load(sums, 96), c30), 96);
  v128.store(sums, madd(f3, v128.load(sums, 112), c31), 112);
}

/** The same for the first two of four heads. */
function addValuesOfTwo(probabilities: usize, values: usize, line: usize, count: i32, sums: usize, shrink: v128): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00;
  const stop = probabilities + (<usize>count << 4);
  while (probabilities < stop) {
    const b0 = v128.load(values);
    const b1 = v128.load(values, 16);
    const a0 = v128.load_splat<f32>(probabilities);
    c00 = madd(a0, b0, c00);
    c01 = madd(a0, b1, c01);
    const a1 = v128.load_splat<f32>(probabilities, 4);
    c10 = madd(a1, b0, c10);
    c11 = madd(a1, b1, c11);
    probabilities += 16;
    values += line;
  }
  const f0 = v128.shuffle<i32>(shrink, shrink, 0, 0, 0, 0), f1 = v128.shuffle<i32>(shrink, shrink, 1, 1, 1, 1);
  v128.store(sums, madd(f0, v128.load(sums), c00));
  v128.store(sums, madd(f0, v128.load(sums, 16), c01), 16);
  v128.store(sums, madd(f1, v128.load(sums, 32), c10), 32);
  v128.store(sums, madd(f1, v128.load(sums, 48), c11), 48);
}

// @ts-ignore: decorator
@inline
function scaleLine(from: usize, to: usize, headDim: i32, factor: f32): void {
  const f = f32x4.splat(factor);
  for (let c: usize = 0; c < <usize>headDim << 2; c += 16) v128.store(to + c, f32x4.mul(v128.load(from + c), f));
}

/** Head h of sums [D / 8][4 heads][8], times a factor, as a line. */
// @ts-ignore: decorator
@inline
function storeHead(sums: usize, h: i32, headDim: i32, factor: f32, to: usize): void {
  const f = f32x4.splat(factor);
  const from = sums + (<usize>h << 5);
  for (let c = 0; c < headDim; c += 4) {
    const v = v128.load(from + (<usize>(c >> 3) << 7) + (<usize>(c & 4) << 2));
    v128.store(to + (<usize>c << 2), f32x4.mul(v, f));
  }
}

// @ts-ignore: decorator
@inline
function decode(kind: i32, args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<AttentionArgs>(args);
  const headDim = g.headDim;
  const group = g.heads / g.kvHeads;
  const quads = (group + 3) >> 2;
  const panels = (headDim + 7) >> 3;
  const line = <usize>headDim << 2;
  const queryBytes = line << 2;
  const sumBytes = <usize>panels << 7;
  // Scratch of this worker, in the order of decodeScratchBytes (attention.launch-cpu.ts).
  const stats = g.scratch + <usize>worker * g.scratchBytes;
  const scores = stats + (<usize>quads << 5);
  const queries = scores + (<usize>quads << 10);
  const sums = queries + <usize>quads * queryBytes;
  const wide = sums + <usize>quads * sumBytes;

  for (let task = begin; task < end; task++) {
    const split = task % g.splits;
    const kvHead = (task / g.splits) % g.kvHeads;
    const token = task / (g.splits * g.kvHeads);
    const word = g.rows + (<usize>token << 4);
    const position = load<i32>(word, 4);
    const slot = load<i32>(word, 12);
    const head = token * g.heads + kvHead * group;

    for (let i = 0; i < quads; i++) {
      const column = token * (g.heads + 2 * g.kvHeads) + kvHead * group + 4 * i;
      packHeads(g.qkv + <usize>column * line, group - 4 * i, headDim, g.scale, queries + <usize>i * queryBytes);
      v128.store(stats + (<usize>i << 5), f32x4.splat(NOTHING));
      v128.store(stats + (<usize>i << 5), f32x4.splat(0), 16);
    }
    memory.fill(sums, 0, <usize>quads * sumBytes);

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
      // Keys that the token sees: the rest of the page may hold anything.
      const lo = max(firstPosition - index * PAGE_TOKENS, 0);
      const count = min(position + 1 - index * PAGE_TOKENS, PAGE_TOKENS) - lo;
      const skipped = <usize>(lo * headDim) << shiftOf(kind);
      let keys = headOfPage(kind, g, segment, offsetof<Segment>("keys"), page, kvHead) + skipped;
      let values = headOfPage(kind, g, segment, offsetof<Segment>("values"), page, kvHead) + skipped;
      if (kind != F32) {
        widenLines(kind, keys, count, headDim, wide);
        keys = wide;
      }
      for (let key = 0; key < count; key += 2) {
        const k0 = keys + <usize>key * line;
        // Behind the last key of an odd number it takes that one again; nobody looks at the result.
        const k1 = key + 1 < count ? k0 + line : k0;
        if (kind == F32) {
          touch(k0 + 2 * AHEAD_KEYS * line, 2 * line);
          touch(values + <usize>key * line, 2 * line);
        }
        for (let i = 0; i < quads; i++) {
          const q = queries + <usize>i * queryBytes;
          const to = scores + (<usize>i << 10) + (<usize>key << 4);
          if (group - 4 * i > 2) scoreTwo(q, k0, k1, headDim, to);
          else scoreTwoOfTwo(q, k0, k1, headDim, to);
        }
      }
      if (kind != F32) {
        widenLines(kind, values, count, headDim, wide);
        values = wide;
      }
      for (let i = 0; i < quads; i++) {
        const p = scores + (<usize>i << 10);
        const shrink = softmaxHeads(p, count, stats + (<usize>i << 5));
        const sum = sums + <usize>i * sumBytes;
        const isWhole = group - 4 * i > 2;
        for (let c = 0; c < panels; c++) {
          if (isWhole) addValues(p, values + (<usize>c << 5), line, count, sum + (<usize>c << 7), shrink);
          else addValuesOfTwo(p, values + (<usize>c << 5), line, count, sum + (<usize>c << 7), shrink);
        }
      }
    }

    for (let h = 0; h < group; h++) {
      const i = <usize>(h >> 2);
      const sum = sums + i * sumBytes;
      const stat = stats + (i << 5) + (<usize>(h & 3) << 2);
      const total = load<f32>(stat, 16);
      if (g.stats) {
        const part = <usize>(split * g.tokens * g.heads + head + h);
        storeHead(sum, h & 3, headDim, 1, g.out + part * line);
        store<f32>(g.stats + (part << 3), load<f32>(stat));
        store<f32>(g.stats + (part << 3), total, 4);
      } else storeHead(sum, h & 3, headDim, total > 0 ? 1 / total : 0, g.out + <usize>(head + h) * line);
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
