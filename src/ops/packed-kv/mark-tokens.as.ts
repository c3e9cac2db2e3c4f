/** CPU kernels of markTokens and dropMarks: a task is a token (maxima) or a row. */
import { ROW_BYTES, ROW_FIRST_TOKEN, ROW_PAST, ROW_SLOT, ROW_TOKEN_COUNT } from "../step/layout.inline.as";

// @ts-ignore: decorator
@inline
const MOST: i32 = 64;

/** Bits of |x|, ordered as the values; NaN counts as 0. */
// @ts-ignore: decorator
@inline
function sizeBits(at: usize): u32 {
  const bits = load<u32>(at) & 0x7fffffff;
  return bits > 0x7f800000 ? 0 : bits;
}

// @ts-ignore: decorator
@inline
function sizeLanes(at: usize): v128 {
  const bits = v128.and(v128.load(at), i32x4.splat(0x7fffffff));
  return v128.andnot(bits, i32x4.gt_s(bits, i32x4.splat(0x7f800000)));
}

function rowMaximum(x: usize, channels: i32): u32 {
  let top = i32x4.splat(0);
  let c = 0;
  for (; c + 4 <= channels; c += 4) top = i32x4.max_s(top, sizeLanes(x + (<usize>c << 2)));
  let m = max(
    max(<u32>i32x4.extract_lane(top, 0), <u32>i32x4.extract_lane(top, 1)),
    max(<u32>i32x4.extract_lane(top, 2), <u32>i32x4.extract_lane(top, 3)),
  );
  for (; c < channels; c++) m = max(m, sizeBits(x + (<usize>c << 2)));
  return m;
}

function putMark(
  markedTokens: usize,
  skips: usize,
  scores: usize,
  slot: i32,
  marked: i32,
  skipWords: i32,
  token: i32,
  size: u32,
): void {
  if (token >> 5 >= skipWords) return;
  for (let i = 0; i < marked; i++) {
    const at = markedTokens + (<usize>(slot * marked + i) << 2);
    if (load<i32>(at) >= 0) continue;
    store<i32>(at, token);
    store<u32>(scores + (<usize>(slot * (marked + 1) + i) << 2), size);
    const word = skips + (<usize>(slot * skipWords + (token >> 5)) << 2);
    store<u32>(word, load<u32>(word) | (1 << (token & 31)));
    return;
  }
}

@unmanaged
class TokenMaximaArgs {
  hidden: usize;
  maxima: usize;
  channels: i32;
}

export function packedTokenMaxima(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<TokenMaximaArgs>(args);
  for (let t = begin; t < end; t++) {
    const x = g.hidden + (<usize>t * <usize>g.channels << 2);
    store<u32>(g.maxima + (<usize>t << 2), rowMaximum(x, g.channels));
  }
}

@unmanaged
class MarkRowsArgs {
  hidden: usize;
  maxima: usize;
  /** [R, 2·MOST]: tokens of the candidates, what stands before them. */
  work: usize;
  rows: usize;
  markedTokens: usize;
  skips: usize;
  scores: usize;
  channels: i32;
  marked: i32;
  skipWords: i32;
  sinks: i32;
  count: i32;
  byEntries: i32;
}

/** The value with `rank` values of the row not above it, found by halving the range of bits. */
function medianBits(maxima: usize, count: i32): u32 {
  const rank = (count - 1) >> 1;
  let low: u32 = 0, high: u32 = 0x7f800000;
  while (low < high) {
    const middle = (low + high) >> 1;
    let below = 0;
    for (let t = 0; t < count; t++) if (load<u32>(maxima + (<usize>t << 2)) <= middle) below += 1;
    if (below > rank) high = middle;
    else low = middle + 1;
  }
  return high;
}

function markRow(g: MarkRowsArgs, r: i32): void {
  const row = g.rows + <usize>r * ROW_BYTES;
  const slot = load<i32>(row, ROW_SLOT);
  const count = load<i32>(row, ROW_TOKEN_COUNT);
  if (slot < 0 || count <= 0) return;
  const first = load<i32>(row, ROW_FIRST_TOKEN);
  const past = load<i32>(row, ROW_PAST);
  const maxima = g.maxima + (<usize>first << 2);
  const tokens = g.work + (<usize>(r * 2 * MOST) << 2);
  const ahead = tokens + (<usize>MOST << 2);
  const candidates = min(min(g.count, MOST), count);

  let lastSize: u32 = 0, last = -1;
  for (let k = 0; k < candidates; k++) {
    let size: u32 = 0, token = -1;
    for (let t = 0; t < count; t++) {
      const s = load<u32>(maxima + (<usize>t << 2));
      if (last >= 0 && !(lastSize > s || (lastSize == s && last < t))) continue;
      if (token < 0 || s > size) {
        size = s;
        token = t;
      }
    }
    store<i32>(tokens + (<usize>k << 2), token);
    store<i32>(ahead + (<usize>k << 2), g.byEntries ? 0 : k);
    lastSize = size;
    last = token;
  }

  if (g.byEntries) {
    for (let j = 0; j < candidates; j++) {
      const owner = load<i32>(tokens + (<usize>j << 2));
      const x = g.hidden + (<usize>(first + owner) * <usize>g.channels << 2);
      for (let c = 0; c < g.channels; c++) {
        const s = sizeBits(x + (<usize>c << 2));
        if (s < lastSize) continue; // below the last candidate, below all
        for (let k = 0; k < candidates; k++) {
          const token = load<i32>(tokens + (<usize>k << 2));
          const size = load<u32>(maxima + (<usize>token << 2));
          if (s > size || (s == size && owner < token)) {
            const at = ahead + (<usize>k << 2);
            store<i32>(at, load<i32>(at) + 1);
          }
        }
      }
    }
  }

  const scoreBase = g.scores + (<usize>(slot * (g.marked + 1)) << 2);
  const markedBase = g.markedTokens + (<usize>(slot * g.marked) << 2);
  // Counted before any is put: the row's own marks must not count against it.
  for (let k = 0; k < candidates; k++) {
    const size = load<u32>(maxima + (<usize>load<i32>(tokens + (<usize>k << 2)) << 2));
    let more = 0;
    for (let i: usize = 0; i < <usize>g.marked; i++) {
      if (load<i32>(markedBase + (i << 2)) >= 0 && load<u32>(scoreBase + (i << 2)) >= size) more += 1;
    }
    const at = ahead + (<usize>k << 2);
    store<i32>(at, load<i32>(at) + more);
  }
  for (let k = 0; k < candidates; k++) {
    if (load<i32>(ahead + (<usize>k << 2)) >= g.count) continue;
    const t = load<i32>(tokens + (<usize>k << 2));
    if (past + t < g.sinks) continue;
    const size = load<u32>(maxima + (<usize>t << 2));
    putMark(g.markedTokens, g.skips, g.scores, slot, g.marked, g.skipWords, past + t, size);
  }
  store<u32>(scoreBase + (<usize>g.marked << 2), medianBits(maxima, count));
}

export function markPackedRows(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<MarkRowsArgs>(args);
  for (let r = begin; r < end; r++) markRow(g, r);
}

@unmanaged
class MarkDecodeArgs {
  hidden: usize;
  rows: usize;
  markedTokens: usize;
  skips: usize;
  scores: usize;
  channels: i32;
  marked: i32;
  skipWords: i32;
  ratio: f32;
  outlier: f32;
}

export function markPackedDecode(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<MarkDecodeArgs>(args);
  for (let r = begin; r < end; r++) {
    const row = g.rows + <usize>r * ROW_BYTES;
    const slot = load<i32>(row, ROW_SLOT);
    if (slot < 0) continue;
    const token = load<i32>(row, ROW_FIRST_TOKEN);
    const size = rowMaximum(g.hidden + (<usize>token * <usize>g.channels << 2), g.channels);
    const m = reinterpret<f32>(size);
    let least: f32 = -1;
    for (let i = 0; i < g.marked; i++) {
      if (load<i32>(g.markedTokens + (<usize>(slot * g.marked + i) << 2)) < 0) continue;
      const score = load<f32>(g.scores + (<usize>(slot * (g.marked + 1) + i) << 2));
      least = least < 0 ? score : min(least, score);
    }
    const median = load<f32>(g.scores + (<usize>(slot * (g.marked + 1) + g.marked) << 2));
    if (least < 0 || !(m > g.ratio * least) || !(m > g.outlier * median)) continue;
    putMark(g.markedTokens, g.skips, g.scores, slot, g.marked, g.skipWords, load<i32>(row, ROW_PAST), size);
  }
}

@unmanaged
class DropMarksArgs {
  markedTokens: usize;
  skips: usize;
  scores: usize;
  slot: i32;
  length: i32;
  marked: i32;
  skipWords: i32;
}

export function dropPackedMarks(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<DropMarksArgs>(args);
  for (let i = 0; i < g.marked; i++) {
    const at = g.markedTokens + (<usize>(g.slot * g.marked + i) << 2);
    if (load<i32>(at) >= g.length) store<i32>(at, -1);
  }
  for (let w = g.length >> 5; w < g.skipWords; w++) {
    const at = g.skips + (<usize>(g.slot * g.skipWords + w) << 2);
    const kept: u32 = w == g.length >> 5 ? (1 << (g.length & 31)) - 1 : 0;
    store<u32>(at, load<u32>(at) & kept);
  }
  if (g.length == 0) {
    const base = g.scores + (<usize>(g.slot * (g.marked + 1)) << 2);
    memory.fill(base, 0, <usize>(g.marked + 1) << 2);
  }
}
