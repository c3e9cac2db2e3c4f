/**
 * Causal attention and its gradient on the CPU. A task is a tile of 32 tokens of one head: of its queries (forward, queries) or of
 * the keys of a key/value head (keys); tiles of the row's other tokens go by. Scores of eight owners lie side by side, so that a
 * softmax is taken in lanes.
 */
import { dotF32, exp, logScalar, madd } from "../simd.inline.as";
import { addProducts, copyResult, dots, packMatrix, packOwner, packPassing, PANEL, TILE } from "./tile.inline.as";

/** In the order of causal-attention.launch-cpu.ts. */
@unmanaged
class CausalArgs {
  /** [T, H + 2G, D]. */
  qkv: usize;
  /** First token, count, slot, past. */
  rows: usize;
  /** [T, H, D]; not for keys. */
  out: usize;
  /** [T, H]. */
  logSums: usize;
  /** [T, H, D]. */
  dOut: usize;
  /** [T, H + 2G, D]. */
  dQkv: usize;
  /** [T, H]: Σ_j P dP. */
  pulls: usize;
  scratch: usize;
  scratchBytes: i32;
  rowCount: i32;
  heads: i32;
  kvHeads: i32;
  headDim: i32;
  window: i32;
  scale: f32;
}

// @ts-ignore: decorator
@inline
const NOTHING: f32 = -1e30;

/** Row r's tiles begin at ⌊firstToken / 32⌋ + r, which leaves room for each row's broken tile. */
// @ts-ignore: decorator
@inline
function firstTile(rows: usize, row: i32): i32 {
  return load<i32>(rows + ((<usize>row) << 4)) / TILE + row;
}

function rowOfTile(rows: usize, rowCount: i32, tile: i32): i32 {
  let low = 0;
  let high = rowCount;
  while (low + 1 < high) {
    const middle = (low + high) >> 1;
    if (firstTile(rows, middle) <= tile) low = middle;
    else high = middle;
  }
  return low;
}

/** Owners `first` … first + 7 that see position `position`, or for keys: that it sees. All bits set or none. */
// @ts-ignore: decorator
@inline
function sees(query: v128, key: v128, window: v128): v128 {
  return v128.and(i32x4.le_s(key, query), i32x4.gt_s(i32x4.add(key, window), query));
}

export function causalAttentionForward(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<CausalArgs>(args);
  const D = a.headDim;
  const channels = (D + 3) & ~3;
  const panels = (D + 7) >> 3;
  const ownerPanel = (<usize>channels) << 5;
  const lineBytes = (<usize>((a.heads + 2 * a.kvHeads) * D)) << 2;
  const q = a.scratch + <usize>worker * <usize>a.scratchBytes;
  const k = q + 4 * ownerPanel;
  const v = k + 4 * ownerPanel;
  const weights = v + <usize>panels * PANEL; // of one panel of queries: [key, 8]
  const state = weights + PANEL; // maxima [32], sums [32]
  const results = state + 256;
  const resultPanel = (<usize>panels) << 8;
  const window = i32x4.splat(a.window);
  const scale = f32x4.splat(a.scale);
  for (let task = begin; task < end; task++) {
    const tile = task / a.heads;
    const head = task % a.heads;
    const r = rowOfTile(a.rows, a.rowCount, tile);
    const row = a.rows + ((<usize>r) << 4);
    const rowFirst = load<i32>(row);
    const first = rowFirst + (tile - firstTile(a.rows, r)) * TILE;
    const count = min(TILE, rowFirst + load<i32>(row, 4) - first);
    if (count <= 0) continue;
    const kvHead = head / (a.heads / a.kvHeads);
    const key = a.qkv + ((<usize>((a.heads + kvHead) * D)) << 2);
    const value = key + ((<usize>(a.kvHeads * D)) << 2);
    packOwner(a.qkv + <usize>first * lineBytes + ((<usize>(head * D)) << 2), lineBytes, count, D, q);
    memory.fill(results, 0, 4 * resultPanel);
    for (let i: usize = 0; i < 128; i += 16) {
      v128.store(state + i, f32x4.splat(NOTHING));
      v128.store(state + i, f32x4.splat(0), 128);
    }
    for (let start = max(rowFirst, first - a.window + 1); start < first + count; start += TILE) {
      const passing = min(TILE, first + count - start);
      packPassing(key + <usize>start * lineBytes, lineBytes, passing, D, k);
      packMatrix(value + <usize>start * lineBytes, lineBytes, passing, D, v);
      for (let i = 0; i < count; i += 8) {
        const n = min(passing, first + i + 8 - start);
        if (n <= 0) continue;
        dots(channels, k, q + (<usize>(i >> 3)) * ownerPanel, 0, n, weights);
        for (let half = 0; half < 8; half += 4) {
          const query = i32x4.add(i32x4.splat(first + i + half), i32x4(0, 1, 2, 3));
          const column = weights + ((<usize>half) << 2);
          const mine = state + ((<usize>(i + half)) << 2);
          const before = v128.load(mine);
          let best = before;
          for (let j = 0; j < n; j++) {
            const at = column + ((<usize>j) << 5);
            const seen = sees(query, i32x4.splat(start + j), window);
            const score = v128.bitselect(f32x4.mul(scale, v128.load(at)), f32x4.splat(NOTHING), seen);
            v128.store(at, score);
            best = f32x4.pmax(best, score);
          }
          let sum = f32x4.splat(0);
          for (let j = 0; j < n; j++) {
            const at = column + ((<usize>j) << 5);
            const score = v128.load(at);
            const seen = f32x4.gt(score, f32x4.splat(NOTHING));
            const weight = v128.and(seen, exp(f32x4.sub(score, best)));
            v128.store(at, weight);
            sum = f32x4.add(sum, weight);
          }
          v128.store(mine, best);
          const shrink = exp(f32x4.sub(before, best));
          v128.store(mine, madd(shrink, v128.load(mine, 128), sum), 128);
          shrinkResults(shrink, results + (<usize>(i >> 3)) * resultPanel + (<usize>(half >> 2)) * (resultPanel >> 1), panels);
        }
        addProducts(weights, v, 0, n, panels, results + (<usize>(i >> 3)) * resultPanel);
      }
    }
    for (let i = 0; i < count; i++) {
      const total = load<f32>(state + ((<usize>i) << 2), 128);
      const line = (first + i) * a.heads + head;
      store<f32>(a.logSums + ((<usize>line) << 2), load<f32>(state + ((<usize>i) << 2)) + logScalar(total));
      copyResult(results, panels, i, D, 1 / total, a.out + ((<usize>line * <usize>D) << 2));
    }
  }
}

/** Multiplies the four lines of results [channel / 8, 4, 8] by one factor each. */
// @ts-ignore: decorator
@inline
function shrinkResults(factors: v128, results: usize, panels: i32): void {
  const f0 = v128.shuffle<i32>(factors, factors, 0, 0, 0, 0), f1 = v128.shuffle<i32>(factors, factors, 1, 1, 1, 1);
  const f2 = v128.shuffle<i32>(factors, factors, 2, 2, 2, 2), f3 = v128.shuffle<i32>(factors, factors, 3, 3, 3, 3);
  for (let c = 0; c < panels; c++) {
    v128.store(results, f32x4.mul(f0, v128.load(results)));
    v128.store(results, f32x4.mul(f0, v128.load(results, 16)), 16);
    v128.store(results, f32x4.mul(f1, v128.load(results, 32)), 32);
    v128.store(results, f32x4.mul(f1, v128.load(results, 48)), 48);
    v128.store(results, f32x4.mul(f2, v128.load(results, 64)), 64);
    v128.store(results, f32x4.mul(f2, v128.load(results, 80)), 80);
    v128.store(results, f32x4.mul(f3, v128.load(results, 96)), 96);
    v128.store(results, f32x4.mul(f3, v128.load(results, 112)), 112);
    results += 128;
  }
}

export function causalAttentionQueries(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<CausalArgs>(args);
  const D = a.headDim;
  const channels = (D + 3) & ~3;
  const panels = (D + 7) >> 3;
  const ownerPanel = (<usize>channels) << 5;
  const lineBytes = (<usize>((a.heads + 2 * a.kvHeads) * D)) << 2;
  const upBytes = (<usize>(a.heads * D)) << 2;
  const q = a.scratch + <usize>worker * <usize>a.scratchBytes;
  const up = q + 4 * ownerPanel;
  const k = up + 4 * ownerPanel;
  const v = k + 4 * ownerPanel;
  const keys = v + 4 * ownerPanel; // [channel / 8, key, 8]
  const weights = keys + <usize>panels * PANEL;
  const pulled = weights + PANEL;
  const state = pulled + PANEL; // logarithms of sums [32], pulls [32]
  const results = state + 256;
  const resultPanel = (<usize>panels) << 8;
  const window = i32x4.splat(a.window);
  const scale = f32x4.splat(a.scale);
  for (let task = begin; task < end; task++) {
    const tile = task / a.heads;
    const head = task % a.heads;
    const r = rowOfTile(a.rows, a.rowCount, tile);
    const row = a.rows + ((<usize>r) << 4);
    const rowFirst = load<i32>(row);
    const first = rowFirst + (tile - firstTile(a.rows, r)) * TILE;
    const count = min(TILE, rowFirst + load<i32>(row, 4) - first);
    if (count <= 0) continue;
    const kvHead = head / (a.heads / a.kvHeads);
    const key = a.qkv + ((<usize>((a.heads + kvHead) * D)) << 2);
    const value = key + ((<usize>(a.kvHeads * D)) << 2);
    const headAt = (<usize>(head * D)) << 2;
    packOwner(a.qkv + <usize>first * lineBytes + headAt, lineBytes, count, D, q);
    packOwner(a.dOut + <usize>first * upBytes + headAt, upBytes, count, D, up);
    memory.fill(results, 0, 4 * resultPanel);
    memory.fill(state, 0, 256);
    for (let i = 0; i < count; i++) {
      const line = (first + i) * a.heads + head;
      const at = (<usize>line * <usize>D) << 2;
      const pull = dotF32(a.dOut + at, a.out + at, D);
      store<f32>(a.pulls + ((<usize>line) << 2), pull);
      store<f32>(state + ((<usize>i) << 2), load<f32>(a.logSums + ((<usize>line) << 2)));
      store<f32>(state + ((<usize>i) << 2), pull, 128);
    }
    for (let start = max(rowFirst, first - a.window + 1); start < first + count; start += TILE) {
      const passing = min(TILE, first + count - start);
      packPassing(key + <usize>start * lineBytes, lineBytes, passing, D, k);
      packPassing(value + <usize>start * lineBytes, lineBytes, passing, D, v);
      packMatrix(key + <usize>start * lineBytes, lineBytes, passing, D, keys);
      for (let i = 0; i < count; i += 8) {
        const n = min(passing, first + i + 8 - start);
        if (n <= 0) continue;
        const panel = (<usize>(i >> 3)) * ownerPanel;
        dots(channels, k, q + panel, 0, n, weights);
        dots(channels, v, up + panel, 0, n, pulled);
        for (let half = 0; half < 8; half += 4) {
          const query = i32x4.add(i32x4.splat(first + i + half), i32x4(0, 1, 2, 3));
          const mine = state + ((<usize>(i + half)) << 2);
          const logSum = v128.load(mine);
          const pull = v128.load(mine, 128);
          for (let j = 0; j < n; j++) {
            const offset = ((<usize>j) << 5) + ((<usize>half) << 2);
            const at = weights + offset;
            const weight = exp(f32x4.sub(f32x4.mul(scale, v128.load(at)), logSum));
            const d = f32x4.mul(f32x4.mul(scale, weight), f32x4.sub(v128.load(pulled + offset), pull));
            v128.store(at, v128.and(sees(query, i32x4.splat(start + j), window), d));
          }
        }
        addProducts(weights, keys, 0, n, panels, results + (<usize>(i >> 3)) * resultPanel);
      }
    }
    for (let i = 0; i < count; i++) {
      copyResult(results, panels, i, D, 1, a.dQkv + <usize>(first + i) * lineBytes + headAt);
    }
  }
}

export function causalAttentionKeys(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<CausalArgs>(args);
  const D = a.headDim;
  const channels = (D + 3) & ~3;
  const panels = (D + 7) >> 3;
  const ownerPanel = (<usize>channels) << 5;
  const lineBytes = (<usize>((a.heads + 2 * a.kvHeads) * D)) << 2;
  const upBytes = (<usize>(a.heads * D)) << 2;
  const k = a.scratch + <usize>worker * <usize>a.scratchBytes;
  const v = k + 4 * ownerPanel;
  const q = v + 4 * ownerPanel;
  const up = q + 4 * ownerPanel;
  const queries = up + 4 * ownerPanel; // [channel / 8, query, 8]
  const ups = queries + <usize>panels * PANEL;
  const weights = ups + <usize>panels * PANEL;
  const pulled = weights + PANEL;
  const resultPanel = (<usize>panels) << 8;
  const dKeys = pulled + PANEL;
  const dValues = dKeys + 4 * resultPanel;
  const window = i32x4.splat(a.window);
  const scale = f32x4.splat(a.scale);
  const perGroup = a.heads / a.kvHeads;
  for (let task = begin; task < end; task++) {
    const tile = task / a.kvHeads;
    const kvHead = task % a.kvHeads;
    const r = rowOfTile(a.rows, a.rowCount, tile);
    const row = a.rows + ((<usize>r) << 4);
    const rowFirst = load<i32>(row);
    const rowEnd = rowFirst + load<i32>(row, 4);
    const first = rowFirst + (tile - firstTile(a.rows, r)) * TILE;
    const count = min(TILE, rowEnd - first);
    if (count <= 0) continue;
    const keyAt = <usize>first * lineBytes + ((<usize>((a.heads + kvHead) * D)) << 2);
    const valueAt = keyAt + ((<usize>(a.kvHeads * D)) << 2);
    packOwner(a.qkv + keyAt, lineBytes, count, D, k);
    packOwner(a.qkv + valueAt, lineBytes, count, D, v);
    memory.fill(dKeys, 0, 8 * resultPanel);
    const last = min(rowEnd, first + count - 1 + a.window);
    for (let head = kvHead * perGroup; head < (kvHead + 1) * perGroup; head++) {
      const headAt = (<usize>(head * D)) << 2;
      for (let start = first; start < last; start += TILE) {
        const passing = min(TILE, last - start);
        const query = a.qkv + <usize>start * lineBytes + headAt;
        const dOut = a.dOut + <usize>start * upBytes + headAt;
        packPassing(query, lineBytes, passing, D, q);
        packPassing(dOut, upBytes, passing, D, up);
        packMatrix(query, lineBytes, passing, D, queries);
        packMatrix(dOut, upBytes, passing, D, ups);
        for (let i = 0; i < count; i += 8) {
          // Queries before the panel's first key do not see it.
          const from = max(0, first + i - start);
          if (from >= passing) continue;
          const panel = (<usize>(i >> 3)) * ownerPanel;
          dots(channels, q, k + panel, from, passing, weights);
          dots(channels, up, v + panel, from, passing, pulled);
          const keys0 = i32x4.add(i32x4.splat(first + i), i32x4(0, 1, 2, 3));
          const keys1 = i32x4.add(keys0, i32x4.splat(4));
          for (let j = from; j < passing; j++) {
            const offset = (<usize>j) << 5;
            const line = (<usize>((start + j) * a.heads + head)) << 2;
            const logSum = v128.load32_splat(a.logSums + line);
            const pull = v128.load32_splat(a.pulls + line);
            const position = i32x4.splat(start + j);
            const seen0 = sees(position, keys0, window);
            const seen1 = sees(position, keys1, window);
            const at = weights + offset;
            const w0 = v128.and(seen0, exp(f32x4.sub(f32x4.mul(scale, v128.load(at)), logSum)));
            const w1 = v128.and(seen1, exp(f32x4.sub(f32x4.mul(scale, v128.load(at, 16)), logSum)));
            v128.store(at, w0);
            v128.store(at, w1, 16);
            const d = pulled + offset;
            v128.store(d, f32x4.mul(f32x4.mul(scale, w0), f32x4.sub(v128.load(d), pull)));
            v128.store(d, f32x4.mul(f32x4.mul(scale, w1), f32x4.sub(v128.load(d, 16), pull)), 16);
          }
          const results = (<usize>(i >> 3)) * resultPanel;
          addProducts(weights, ups, from, passing, panels, dValues + results);
          addProducts(pulled, queries, from, passing, panels, dKeys + results);
        }
      }
    }
    for (let i = 0; i < count; i++) {
      const line = a.dQkv + <usize>i * lineBytes;
      copyResult(dKeys, panels, i, D, 1, line + keyAt);
      copyResult(dValues, panels, i, D, 1, line + valueAt);
    }
  }
}
