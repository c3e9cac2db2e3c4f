/**
 * CPU prefill kernel of attention over packed pages.
 *
 * A task is (tile, key/value head), or a tile with all heads where keys are packed before rotary. Keys come in batches of up
 * to 64, all packed or all exact: dequantised to floats once, turned into panels, and multiplied with all queries of the tile
 * as in attention.as.ts. The mean key is put back by more columns: cosines and sines beside the key, A and B beside q.
 *
 * Keys of a batch need not follow each other: masks compare their positions with the bounds of each query.
 */
import { exp, maxF32 } from "../simd.inline.as";
import { multiplyTile, storeTransposed } from "../matmul/tile.inline.as";
import { keysAfterRotary } from "./packed-keys.inline.as";
import { dequantiseColumns, dequantiseRows, lowHalves, SLOTS, vectorsOf } from "./packed-rows.inline.as";
import {
  angleOf, endOf, firstSlot, floorOf, isSkipped, keyPage, keySide, NOTHING, PackedArgs, pageOf, segmentOfPage, sideEntry,
  slotsInUse, tokensOfPage, valuePage, valueSide,
} from "./packed-tokens.inline.as";

/** Tokens of a tile: QUERY_TILE. */
// @ts-ignore: decorator
@inline
const TILE_TOKENS: i32 = 32;
/** Keys of a batch. */
// @ts-ignore: decorator
@inline
const BATCH: i32 = 64;

/** What a query at position p with packed end E sees of a batch: positions [max(p − window + 1, from), to). */
/** from 0 to E: packed tokens, and marked ones. */
// @ts-ignore: decorator
@inline
const BELOW_END: i32 = 0;
/** from E to p + 1: tokens that are not packed. */
// @ts-ignore: decorator
@inline
const FROM_END: i32 = 1;
/** from 0 to p + 1: sinks and marked tokens of the step. */
// @ts-ignore: decorator
@inline
const ALWAYS: i32 = 2;

/** A worker's scratch; n heads, eight blocks of four queries each. */
@unmanaged
class Work {
  /** [64 / 8, depth, 8]. */
  keys: usize;
  /** [⌈D / 8⌉, 64, 8]. */
  values: usize;
  /** [64 / 4, G · D] vectors of four keys, only where keys are packed before rotary. */
  columns: usize;
  /** [64, D], of keys that are not packed. */
  keyRows: usize;
  /** [64, D]. */
  valueRows: usize;
  /** A panel of packed-rows.inline.as.ts, and parameters. */
  panel: usize;
  params: usize;
  /** [8, 4, 8] and [64, 4]. */
  scores: usize;
  probabilities: usize;
  /** [128] positions, −1: no key; [64] entries as in packed-decode.as.ts. */
  tokens: usize;
  entries: usize;
  /** [32]: packedEnd of each query. */
  ends: usize;
  /** [n, 8, 8]: four maxima, four sums. */
  stats: usize;
  /** [n, 8, depth, 4]. */
  queries: usize;
  /** [n, 8, ⌈D / 8⌉, 4, 8]. */
  sums: usize;
  /** Columns: D, and those of the mean key. */
  depth: i32;
  heads: i32;
  /** The tile: flat index and position of its first token, tokens, slot, tokens before the step, the row's first token. */
  first: i32;
  position: i32;
  count: i32;
  slot: i32;
  past: i32;
  rowFirst: i32;
  kvBegin: i32;
  own: i32;
}

// @ts-ignore: decorator
@inline
function layOut(g: PackedArgs, args: usize, worker: i32, own: i32): Work {
  const start = g.scratch + <usize>worker * g.scratchBytes;
  const w = changetype<Work>(start);
  const heads = own * (g.heads / g.kvHeads);
  const n = <usize>heads;
  const line = <usize>g.headDim << 2;
  const panels = <usize>((g.headDim + 7) >> 3);
  const depth = g.headDim + ((2 * g.meanPairs + 3) & ~3);
  let at = start + ((offsetof<Work>() + 15) & ~15);
  w.keys = at;
  at += <usize>depth << 8;
  w.values = at;
  at += panels << 11;
  w.columns = at;
  at += g.isRopeAtRead ? (line * own) << 6 : 0;
  w.keyRows = at;
  at += line << 6;
  w.valueRows = at;
  at += line << 6;
  w.panel = at;
  at += <usize>max(vectorsOf(keySide(args)), vectorsOf(valueSide(args))) << 6;
  w.params = at;
  at += <usize>max(keySide(args).chunks, valueSide(args).chunks) << 7;
  w.scores = at;
  at += 1024;
  w.probabilities = at;
  at += 1024;
  w.tokens = at;
  at += SLOTS << 2;
  w.entries = at;
  at += BATCH << 2;
  w.ends = at;
  at += TILE_TOKENS << 2;
  w.stats = at;
  at += n << 8;
  w.queries = at;
  at += n * <usize>depth << 7;
  w.sums = at;
  w.depth = depth;
  w.heads = heads;
  w.own = own;
  return w;
}

/** Four queries of one head, scaled, as [depth][4]; those that do not exist are zeros. */
function packQueries(g: PackedArgs, w: Work, token: i32, count: i32, head: i32, to: usize): void {
  const headDim = g.headDim;
  const zero = f32x4.splat(0);
  const scale = f32x4.splat(g.scale);
  const line = <usize>((g.heads + 2 * g.kvHeads) * headDim) << 2;
  const from = g.qkv + <usize>token * line + (<usize>(head * headDim) << 2);
  for (let c: usize = 0; c < <usize>headDim << 2; c += 16) {
    const q0 = f32x4.mul(v128.load(from + c), scale);
    const q1 = count > 1 ? f32x4.mul(v128.load(from + line + c), scale) : zero;
    const q2 = count > 2 ? f32x4.mul(v128.load(from + 2 * line + c), scale) : zero;
    const q3 = count > 3 ? f32x4.mul(v128.load(from + 3 * line + c), scale) : zero;
    storeTransposed(q0, q1, q2, q3, to + (c << 2), 16);
  }
  const extra = w.depth - headDim;
  to += <usize>headDim << 4;
  for (let c = 0; c < extra; c++) {
    for (let i = 0; i < 4; i++) {
      const isThere = i < count && c < 2 * g.meanPairs;
      const at = g.meanTerms + (<usize>(((token + i) * g.heads + head) * 2 * g.meanPairs + c) << 2);
      store<f32>(to + (<usize>(4 * c + i) << 2), isThere ? load<f32>(at) * g.scale : 0);
    }
  }
}

// @ts-ignore: decorator
@inline
function visible(tokens: usize, key: i32, lo: i32, hi: i32): v128 {
  const at = v128.load(tokens + (<usize>key << 2));
  return v128.and(i32x4.ge_s(at, i32x4.splat(lo)), i32x4.lt_s(at, i32x4.splat(hi)));
}

// @ts-ignore: decorator
@inline
function scoresAt(scores: usize, key: i32): v128 {
  return v128.load(scores + (<usize>(key >> 3) << 7) + (<usize>(key & 4) << 2));
}

/** Largest of `best` and the visible scores of a row in panels [key / 8][4 rows][8]. */
function rowMaximum(scores: usize, tokens: usize, begin: i32, end: i32, lo: i32, hi: i32, best: f32): f32 {
  let most = f32x4.splat(best);
  for (let key = begin; key < end; key += 4) {
    most = f32x4.max(most, v128.bitselect(scoresAt(scores, key), f32x4.splat(NOTHING), visible(tokens, key, lo, hi)));
  }
  return maxF32(most);
}

// @ts-ignore: decorator
@inline
function probability(scores: usize, tokens: usize, key: i32, lo: i32, hi: i32, best: f32): v128 {
  return v128.and(exp(f32x4.sub(scoresAt(scores, key), f32x4.splat(best))), visible(tokens, key, lo, hi));
}

/** Online softmax of four rows over keys begin … end − 1 of a batch; row i sees positions lo_i … hi_i − 1. Returns factors. */
function softmaxFour(w: Work, begin: i32, end: i32, lo: v128, hi: v128, stats: usize): v128 {
  const scores = w.scores, tokens = w.tokens;
  const lo0 = i32x4.extract_lane(lo, 0), lo1 = i32x4.extract_lane(lo, 1);
  const lo2 = i32x4.extract_lane(lo, 2), lo3 = i32x4.extract_lane(lo, 3);
  const hi0 = i32x4.extract_lane(hi, 0), hi1 = i32x4.extract_lane(hi, 1);
  const hi2 = i32x4.extract_lane(hi, 2), hi3 = i32x4.extract_lane(hi, 3);
  const old = v128.load(stats);
  const m0 = rowMaximum(scores, tokens, begin, end, lo0, hi0, f32x4.extract_lane(old, 0));
  const m1 = rowMaximum(scores + 32, tokens, begin, end, lo1, hi1, f32x4.extract_lane(old, 1));
  const m2 = rowMaximum(scores + 64, tokens, begin, end, lo2, hi2, f32x4.extract_lane(old, 2));
  const m3 = rowMaximum(scores + 96, tokens, begin, end, lo3, hi3, f32x4.extract_lane(old, 3));
  const best = f32x4(m0, m1, m2, m3);
  const shrink = exp(f32x4.sub(old, best));
  let sum = f32x4.mul(v128.load(stats, 16), shrink);
  for (let key = begin; key < end; key += 4) {
    const to = w.probabilities + (<usize>key << 4);
    storeTransposed(
      probability(scores, tokens, key, lo0, hi0, m0),
      probability(scores + 32, tokens, key, lo1, hi1, m1),
      probability(scores + 64, tokens, key, lo2, hi2, m2),
      probability(scores + 96, tokens, key, lo3, hi3, m3),
      to, 16,
    );
    sum = f32x4.add(f32x4.add(sum, v128.load(to)), v128.load(to, 16));
    sum = f32x4.add(f32x4.add(sum, v128.load(to, 32)), v128.load(to, 48));
  }
  v128.store(stats, best);
  v128.store(stats, sum, 16);
  return shrink;
}

/** Multiplies row i of the blocks [panel][4][8] by factor i. */
function scaleFour(blocks: usize, panels: i32, factors: v128): void {
  for (let i = 0; i < panels; i++) {
    for (let row = 0; row < 4; row++) {
      const f = row == 0 ? v128.shuffle<i32>(factors, factors, 0, 0, 0, 0)
        : row == 1 ? v128.shuffle<i32>(factors, factors, 1, 1, 1, 1)
        : row == 2 ? v128.shuffle<i32>(factors, factors, 2, 2, 2, 2)
        : v128.shuffle<i32>(factors, factors, 3, 3, 3, 3);
      v128.store(blocks, f32x4.mul(v128.load(blocks), f));
      v128.store(blocks, f32x4.mul(v128.load(blocks, 16), f), 16);
      blocks += 32;
    }
  }
}

/** Positions that query i of the tile sees of a batch: the lower bound, or one past the upper. */
// @ts-ignore: decorator
@inline
function lowest(g: PackedArgs, w: Work, bounds: i32, i: i32): i32 {
  const lo = max(w.position + i - g.window + 1, 0);
  return bounds == FROM_END ? max(lo, load<i32>(w.ends + (<usize>i << 2))) : lo;
}

// @ts-ignore: decorator
@inline
function highest(w: Work, bounds: i32, i: i32): i32 {
  if (i >= w.count) return 0;
  return bounds == BELOW_END ? load<i32>(w.ends + (<usize>i << 2)) : w.position + i + 1;
}

/** Keys begin … end − 1 (multiples of 8) of the batch, in panels, against all queries of one head. */
function attendBatch(g: PackedArgs, w: Work, head: i32, bounds: i32, begin: i32, end: i32): void {
  const panels = (g.headDim + 7) >> 3;
  let least = i32.MAX_VALUE, most = -1;
  for (let key = begin; key < end; key++) {
    const position = load<i32>(w.tokens + (<usize>key << 2));
    if (position < 0) continue;
    least = min(least, position);
    most = max(most, position);
  }
  for (let b = 0; 4 * b < w.count; b++) {
    const i = 4 * b;
    const last = min(i + 3, w.count - 1);
    if (most < lowest(g, w, bounds, i) || least >= highest(w, bounds, last)) continue;
    const at = <usize>(head * 8 + b);
    const q = w.queries + (at * <usize>w.depth << 4);
    for (let key = begin; key < end; key += 8) {
      multiplyTile(w.depth, q, w.keys + (<usize>(key >> 3) * <usize>w.depth << 5), w.scores + (<usize>(key >> 3) << 7), true);
    }
    // A query that does not exist sees nothing: its upper bound is 0.
    const lo = i32x4(
      lowest(g, w, bounds, i), lowest(g, w, bounds, min(i + 1, last)),
      lowest(g, w, bounds, min(i + 2, last)), lowest(g, w, bounds, min(i + 3, last)),
    );
    const hi = i32x4(
      highest(w, bounds, i), highest(w, bounds, i + 1), highest(w, bounds, i + 2), highest(w, bounds, i + 3),
    );
    const sums = w.sums + (at * <usize>panels << 7);
    scaleFour(sums, panels, softmaxFour(w, begin, end, lo, hi, w.stats + (at << 5)));
    for (let c = 0; c < panels; c++) {
      multiplyTile(
        end - begin, w.probabilities + (<usize>begin << 4), w.values + (<usize>c << 11) + (<usize>begin << 5),
        sums + (<usize>c << 7), false,
      );
    }
  }
}

/** Where the vector of keys key … key + 3 of channel 0 lies in its panel; those of the next channels follow 32 bytes apart. */
// @ts-ignore: decorator
@inline
function keyColumn(w: Work, key: i32): usize {
  return w.keys + (<usize>(key >> 3) * <usize>w.depth << 5) + (<usize>(key & 4) << 2);
}

/** The columns of the mean key for keys key … key + 3: cosines and sines of their positions, or zeros. */
function packMean(g: PackedArgs, w: Work, kvHead: i32, key: i32, isPacked: bool): void {
  const start = keyColumn(w, key) + (<usize>g.headDim << 5);
  for (let i = 0; i < 4; i++) {
    const position = load<i32>(w.tokens + (<usize>(key + i) << 2));
    let at = start + (<usize>i << 2);
    for (let m = 0; 2 * m < w.depth - g.headDim; m++) {
      let angle = f32x4.splat(0);
      if (isPacked && position >= 0 && m < g.meanPairs) {
        angle = angleOf(g, position, load<i32>(g.pairs + (<usize>(kvHead * g.meanPairs + m) << 2)));
      }
      v128.store32_lane(at, angle, 0);
      v128.store32_lane(at, angle, 1, 32);
      at += 64;
    }
  }
}

/** Rows of values begin … end − 1 into panels. */
function packValues(g: PackedArgs, w: Work, begin: i32, end: i32): void {
  for (let key = begin; key < end; key++) {
    const v = w.valueRows + (<usize>(key * g.headDim) << 2);
    const to = w.values + (<usize>key << 5);
    for (let c = 0; c < g.headDim; c += 4) {
      v128.store(to + (<usize>(c >> 3) << 11) + (<usize>(c & 4) << 2), v128.load(v + (<usize>c << 2)));
    }
  }
}

/** Slots base + begin … base + end − 1 (multiples of 8) of a page; `w.tokens` has the positions from slot `base` on. */
function addPacked(g: PackedArgs, args: usize, w: Work, keys: usize, values: usize, index: i32, base: i32, begin: i32, end: i32): void {
  const group = g.heads / g.kvHeads;
  const k = keySide(args);
  const line = <usize>g.headDim << 2;
  const columnLine = line * w.own << 2;
  if (g.isRopeAtRead) {
    for (let at = begin; at < end; at += 4) {
      const position = index * SLOTS + base + at;
      keysAfterRotary(g, k, keys, base + at, position, w.panel, w.params, w.columns + <usize>(at >> 2) * columnLine);
    }
  }
  for (let i = 0; i < w.own; i++) {
    const kvHead = w.kvBegin + i;
    for (let at = begin; at < end; at += 4) {
      const to = keyColumn(w, at);
      if (g.isRopeAtRead) {
        const from = w.columns + <usize>(at >> 2) * columnLine + (<usize>i * line << 2);
        for (let c: usize = 0; c < line << 2; c += 16) v128.store(to + 2 * c, v128.load(from + c));
      } else {
        dequantiseColumns(k, keys, g.headDim, kvHead, base + at, 0, w.panel, w.params, to, 32);
        packMean(g, w, kvHead, at, true);
      }
      dequantiseRows(valueSide(args), values, g.headDim, kvHead, base + at, w.panel, w.valueRows + <usize>at * line, line);
    }
    packValues(g, w, begin, end);
    for (let h = 0; h < group; h++) attendBatch(g, w, i * group + h, BELOW_END, begin, end);
  }
}

/** `count` exact tokens: entries, and positions in `w.tokens`. */
function addExact(g: PackedArgs, w: Work, count: i32, bounds: i32): void {
  if (count == 0) return;
  const group = g.heads / g.kvHeads;
  const headDim = g.headDim;
  const line = <usize>headDim << 2;
  const columns = g.heads + 2 * g.kvHeads;
  const end = (count + 7) & ~7;
  for (let at = count; at < end; at++) store<i32>(w.tokens + (<usize>at << 2), -1);
  for (let i = 0; i < w.own; i++) {
    const kvHead = w.kvBegin + i;
    for (let at = 0; at < end; at++) {
      const k = w.keyRows + <usize>at * line;
      const v = w.valueRows + <usize>at * line;
      const entry = load<i32>(w.entries + (<usize>at << 2));
      if (at >= count) {
        memory.fill(k, 0, line);
        memory.fill(v, 0, line);
      } else if (entry < 0) {
        const column = <usize>((-1 - entry) * columns + g.heads + kvHead);
        memory.copy(k, g.qkv + column * line, line);
        memory.copy(v, g.qkv + (column + g.kvHeads) * line, line);
      } else {
        const from = sideEntry(g, w.slot, entry) + (<usize>(kvHead * headDim) << 1);
        const half = <usize>(g.kvHeads * headDim) << 1;
        for (let c: usize = 0; c < <usize>headDim; c += 4) {
          v128.store(k + (c << 2), lowHalves(v128.load_ext<u16>(from + (c << 1))));
          v128.store(v + (c << 2), lowHalves(v128.load_ext<u16>(from + half + (c << 1))));
        }
      }
    }
    for (let at = 0; at < end; at += 4) {
      let k = w.keyRows + <usize>at * line;
      let to = keyColumn(w, at);
      for (let c = 0; c < headDim; c += 4) {
        storeTransposed(v128.load(k), v128.load(k + line), v128.load(k + 2 * line), v128.load(k + 3 * line), to, 32);
        k += 16;
        to += 128;
      }
      packMean(g, w, kvHead, at, false);
    }
    packValues(g, w, 0, end);
    for (let h = 0; h < group; h++) attendBatch(g, w, i * group + h, bounds, 0, end);
  }
}

/** Appends an exact token to the batch; a full batch is worked off. Returns the batch's new count. */
function push(g: PackedArgs, w: Work, count: i32, bounds: i32, position: i32, entry: i32): i32 {
  store<i32>(w.tokens + (<usize>count << 2), position);
  store<i32>(w.entries + (<usize>count << 2), entry);
  if (count + 1 < BATCH) return count + 1;
  addExact(g, w, BATCH, bounds);
  return 0;
}

/** Everything that is not packed: see packed-attention.ts. */
function addRest(g: PackedArgs, w: Work): void {
  const first = max(w.position - g.window + 1, 0);
  const floor = floorOf(g, w.slot);
  const end = endOf(g, w.past, floor);
  const last = w.position + w.count - 1;
  let n = 0;
  if (g.side) {
    for (let j = first; j < min(g.sinks, w.past); j++) n = push(g, w, n, ALWAYS, j, j);
    addExact(g, w, n, ALWAYS);
    n = 0;
    for (let j = max(max(end, g.sinks), first); j < w.past; j++) n = push(g, w, n, FROM_END, j, g.sinks + j % g.ring);
    addExact(g, w, n, FROM_END);
    n = 0;
    for (let i = 0; i < g.marked; i++) {
      const j = load<i32>(g.markedTokens + (<usize>(w.slot * g.marked + i) << 2));
      if (j < max(first, g.sinks) || j >= w.past) continue;
      n = push(g, w, n, BELOW_END, j, g.sinks + g.ring + i);
    }
    addExact(g, w, n, BELOW_END);
    n = 0;
  }
  // The step's own. Those that are kept whatever is packed matter only where the step's own tokens are packed already.
  for (let which = FROM_END; which <= ALWAYS; which++) {
    if (which == ALWAYS && !g.isStrict) break;
    for (let j = max(w.past, first); j <= last; j++) {
      const isKept = g.isStrict && (j < g.sinks || isSkipped(g, w.slot, j));
      if (isKept == (which == ALWAYS)) n = push(g, w, n, which, j, -1 - (w.rowFirst + j - w.past));
    }
    addExact(g, w, n, which);
    n = 0;
  }
}

export function packedAttentionPrefill(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<PackedArgs>(args);
  const own = g.isRopeAtRead ? g.kvHeads : 1;
  const shares = g.kvHeads / own;
  const w = layOut(g, args, worker, own);
  const headDim = g.headDim;
  const panels = (headDim + 7) >> 3;
  const group = g.heads / g.kvHeads;
  // Columns of the last panel past D are never stored, but must be numbers.
  memory.fill(w.values, 0, <usize>panels << 11);

  for (let task = begin; task < end; task++) {
    const tile = g.tiles + (<usize>(task / shares) << 3);
    const row = g.rows + (<usize>load<i32>(tile) << 4);
    w.kvBegin = (task % shares) * own;
    w.first = load<i32>(tile, 4);
    w.rowFirst = load<i32>(row);
    w.count = min(TILE_TOKENS, w.rowFirst + load<i32>(row, 4) - w.first);
    w.slot = load<i32>(row, 8);
    w.past = load<i32>(row, 12);
    w.position = w.past + w.first - w.rowFirst;
    const blocks = (w.count + 3) >> 2;
    const head = w.kvBegin * group;
    for (let h = 0; h < w.heads; h++) {
      for (let b = 0; b < blocks; b++) {
        const at = <usize>(h * 8 + b);
        packQueries(g, w, w.first + 4 * b, min(4, w.count - 4 * b), head + h, w.queries + (at * <usize>w.depth << 4));
        v128.store(w.stats + (at << 5), f32x4.splat(NOTHING));
        v128.store(w.stats + (at << 5), f32x4.splat(0), 16);
        memory.fill(w.sums + (at * <usize>panels << 7), 0, <usize>panels << 7);
      }
    }
    if (w.slot >= 0) {
      const floor = floorOf(g, w.slot);
      for (let i = 0; i < w.count; i++) {
        store<i32>(w.ends + (<usize>i << 2), endOf(g, g.isStrict ? w.position + i : w.past, floor));
      }
      const packed = load<i32>(w.ends + (<usize>(w.count - 1) << 2));
      const first = max(w.position - g.window + 1, 0);
      const stop = (slotsInUse(g, args, w.slot, packed, floor) + SLOTS - 1) / SLOTS;
      for (let index = firstSlot(g, args, w.slot, first, floor) / SLOTS; index < stop; index++) {
        const page = pageOf(g, w.slot, index);
        const segment = segmentOfPage(args, page);
        if (segment == 0) continue;
        const range = tokensOfPage(g, args, w.slot, index, first, packed, w.tokens);
        if (range == 0) continue;
        const lo = range & 0xffff, hi = range >> 16;
        const keys = keyPage(args, segment, page), values = valuePage(args, segment, page);
        for (let base = 0; base < SLOTS; base += BATCH) {
          const from = max(lo - base, 0) & ~7;
          const to = min((hi - base + 7) & ~7, BATCH);
          if (base > 0) memory.copy(w.tokens, w.tokens + (BATCH << 2), BATCH << 2);
          if (from < to) addPacked(g, args, w, keys, values, index, base, from, to);
        }
      }
      if (g.hasRest) addRest(g, w);
    }

    for (let h = 0; h < w.heads; h++) {
      for (let t = 0; t < w.count; t++) {
        const at = <usize>(h * 8 + (t >> 2));
        const result = <usize>((w.first + t) * g.heads + head + h);
        const stats = w.stats + (at << 5) + (<usize>(t & 3) << 2);
        store<f32>(g.stats + (result << 3), load<f32>(stats));
        store<f32>(g.stats + (result << 3), load<f32>(stats, 16), 4);
        const out = g.parts + (result * <usize>headDim << 2);
        const from = w.sums + (at * <usize>panels << 7) + (<usize>(t & 3) << 5);
        for (let c = 0; c < headDim; c += 4) {
          v128.store(out + (<usize>c << 2), v128.load(from + (<usize>(c >> 3) << 7) + (<usize>(c & 4) << 2)));
        }
      }
    }
  }
}
