/**
 * CPU decode kernel of attention over packed pages.
 *
 * A task is (row, key/value head, split); where keys are packed before rotary, (row, split) with all heads, because a head
 * cannot be had from its own bytes. A split takes its share of the packed pages; the last one takes the side store and the
 * step's own token too.
 *
 * Dequantising is folded: codes are multiplied by q, or by probabilities, as they are. Scales and offsets of a token enter
 * once a word of the row; those of a block of tokens enter q once a block. Sums over packed values stay in panel order until
 * the split's last page (packed-rows.inline.as.ts).
 */
import { exp, expScalar, madd, maxF32, sumF32 } from "../simd.inline.as";
import { keysAfterRotary } from "./packed-keys.inline.as";
import {
  blockParams, codesOf, fieldScale, LEVELS, loadNorms, loadParams, lowHalves, paramsToPanelOrder, Side, SLOTS, toPanelOrder,
  unpackQuad, vectorsOf,
} from "./packed-rows.inline.as";
import {
  angleOf, endOf, firstSlot, floorOf, keyPage, keySide, NOTHING, PackedArgs, pageOf, segmentOfPage, sideEntry,
  slotsInUse, tokensOfPage, valuePage, valueSide,
} from "./packed-tokens.inline.as";

/** Addresses in a worker's scratch. Vectors of q or sums in panel order have V_k or V_v vectors; n heads. */
@unmanaged
class Work {
  /** [V, 4] vectors. */
  panel: usize;
  /** [chunk, 4, 2] vectors. */
  params: usize;
  /** [2, 4] vectors. */
  weights: usize;
  /** [128] i32. */
  tokens: usize;
  /** [4, D]; [G · D] vectors of four keys that were packed before rotary. */
  rows: usize;
  /** [n, 128]. */
  scores: usize;
  /** [n, 2]: maximum, sum. */
  stats: usize;
  /** [n, D], times the scale. */
  queries: usize;
  /** [n, V_k]: with the fields' scales; without them; with a block's scales too. */
  panelQueries: usize;
  plainQueries: usize;
  blockQueries: usize;
  /** [n, chunk] vectors: sums over the fields of a word. */
  wordSums: usize;
  /** [n]: q · offsets of a block. */
  bases: usize;
  /** [V_k] each: a block's parameters. */
  blockScales: usize;
  blockOffsets: usize;
  /** [n, meanPairs, 2] vectors. */
  mean: usize;
  /** [n, V_v]. */
  packedSums: usize;
  /** [n, chunk] vectors: sums of probability · offset. */
  offsetSums: usize;
  /** [n, D]. */
  sums: usize;
}

// @ts-ignore: decorator
@inline
function layOut(g: PackedArgs, args: usize, worker: i32, heads: i32): Work {
  const start = g.scratch + <usize>worker * g.scratchBytes;
  const w = changetype<Work>(start);
  const k = keySide(args), v = valueSide(args);
  const vk = <usize>vectorsOf(k) << 4, vv = <usize>vectorsOf(v) << 4;
  const n = <usize>heads;
  const line = <usize>g.headDim << 2;
  const rows = g.isRopeAtRead ? line * g.kvHeads : line;
  let at = start + ((offsetof<Work>() + 15) & ~15);
  w.panel = at;
  at += max(vk, vv) << 2;
  w.params = at;
  at += <usize>max(k.chunks, v.chunks) << 7;
  w.weights = at;
  at += 128;
  w.tokens = at;
  at += SLOTS << 2;
  w.rows = at;
  at += rows << 2;
  w.scores = at;
  at += n * (SLOTS << 2);
  w.stats = at;
  at += ((n << 3) + 15) & ~15;
  w.queries = at;
  at += n * line;
  w.panelQueries = at;
  at += n * vk;
  w.plainQueries = at;
  at += n * vk;
  w.blockQueries = at;
  at += n * vk;
  w.wordSums = at;
  at += n * <usize>k.chunks << 4;
  w.bases = at;
  at += n << 4;
  w.blockScales = at;
  at += vk;
  w.blockOffsets = at;
  at += vk;
  w.mean = at;
  at += n * <usize>g.meanPairs << 5;
  w.packedSums = at;
  at += n * vv;
  w.offsetSums = at;
  at += n * <usize>v.chunks << 4;
  w.sums = at;
  return w;
}

// —— keys

/**
 * Products of q with the codes of four token slots: a chunk of a row. Two heads at a time share the loads of codes; 8 sums and
 * 6 loads are what x86-64 has registers for. Scales and offsets are applied to the sums of each word.
 */
function dotChunks(q: usize, q1: usize, panel: usize, fields: i32, params: usize, words: usize, words1: usize, to: usize, to1: usize): void {
  const stop = q + (<usize>fields << 4);
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0;
  while (q < stop) {
    const x = v128.load(q), y = v128.load(q1);
    const c0 = v128.load(panel), c1 = v128.load(panel, 16), c2 = v128.load(panel, 32), c3 = v128.load(panel, 48);
    s0 = madd(x, c0, s0);
    s1 = madd(x, c1, s1);
    s2 = madd(x, c2, s2);
    s3 = madd(x, c3, s3);
    t0 = madd(y, c0, t0);
    t1 = madd(y, c1, t1);
    t2 = madd(y, c2, t2);
    t3 = madd(y, c3, t3);
    q += 16;
    q1 += 16;
    panel += 64;
  }
  addScores(s0, s1, s2, s3, params, words, to);
  addScores(t0, t1, t2, t3, params, words1, to1);
}

/** The same for one head. */
function dotChunk(q: usize, panel: usize, fields: i32, params: usize, words: usize, to: usize): void {
  const stop = q + (<usize>fields << 4);
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
  while (q < stop) {
    const x = v128.load(q);
    s0 = madd(x, v128.load(panel), s0);
    s1 = madd(x, v128.load(panel, 16), s1);
    s2 = madd(x, v128.load(panel, 32), s2);
    s3 = madd(x, v128.load(panel, 48), s3);
    q += 16;
    panel += 64;
  }
  addScores(s0, s1, s2, s3, params, words, to);
}

/** Four scores += Σ over words of scale · sum of codes + offset · sum of q; without parameters the sums of codes alone. */
// @ts-ignore: decorator
@inline
function addScores(s0: v128, s1: v128, s2: v128, s3: v128, params: usize, words: usize, to: usize): void {
  if (params) {
    const w = v128.load(words);
    s0 = madd(s0, v128.load(params), f32x4.mul(w, v128.load(params, 16)));
    s1 = madd(s1, v128.load(params, 32), f32x4.mul(w, v128.load(params, 48)));
    s2 = madd(s2, v128.load(params, 64), f32x4.mul(w, v128.load(params, 80)));
    s3 = madd(s3, v128.load(params, 96), f32x4.mul(w, v128.load(params, 112)));
  }
  v128.store(to, f32x4.add(v128.load(to), sumFour(s0, s1, s2, s3)));
}

/** The sums of the lanes of four vectors, side by side. */
// @ts-ignore: decorator
@inline
function sumFour(s0: v128, s1: v128, s2: v128, s3: v128): v128 {
  const low = f32x4.add(v128.shuffle<i32>(s0, s1, 0, 4, 1, 5), v128.shuffle<i32>(s0, s1, 2, 6, 3, 7));
  const high = f32x4.add(v128.shuffle<i32>(s2, s3, 0, 4, 1, 5), v128.shuffle<i32>(s2, s3, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<i64>(low, high, 0, 2), v128.shuffle<i64>(low, high, 1, 3));
}

/** Products of q with four rows of D floats. */
function dotRows(q: usize, rows: usize, headDim: i32): v128 {
  const line = <usize>headDim << 2;
  const stop = q + line;
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
  while (q < stop) {
    const x = v128.load(q);
    s0 = madd(x, v128.load(rows), s0);
    s1 = madd(x, v128.load(rows + line), s1);
    s2 = madd(x, v128.load(rows + 2 * line), s2);
    s3 = madd(x, v128.load(rows + 3 * line), s3);
    q += 16;
    rows += 16;
  }
  return sumFour(s0, s1, s2, s3);
}

/** Products of q with four keys, a vector of the four for each channel. */
function dotColumns(q: usize, columns: usize, headDim: i32): v128 {
  const stop = q + (<usize>headDim << 2);
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
  while (q < stop) {
    s0 = madd(v128.load32_splat(q), v128.load(columns), s0);
    s1 = madd(v128.load32_splat(q, 4), v128.load(columns, 16), s1);
    s2 = madd(v128.load32_splat(q, 8), v128.load(columns, 32), s2);
    s3 = madd(v128.load32_splat(q, 12), v128.load(columns, 48), s3);
    q += 16;
    columns += 64;
  }
  return f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3));
}

/** q in the orders and with the factors that the key side needs. */
function prepareQueries(g: PackedArgs, k: Side, w: Work, heads: i32): void {
  const line = <usize>g.headDim << 2;
  const bytes = <usize>vectorsOf(k) << 4;
  for (let h = 0; h < heads; h++) {
    const q = w.queries + <usize>h * line;
    const plain = w.plainQueries + <usize>h * bytes;
    toPanelOrder(k, g.headDim, true, q, w.panelQueries + <usize>h * bytes);
    toPanelOrder(k, g.headDim, false, q, plain);
    for (let c = 0; c < k.chunks; c++) {
      let sum = f32x4.splat(0);
      for (let i = 0; i < k.fields; i++) sum = f32x4.add(sum, v128.load(plain + (<usize>(c * k.fields + i) << 4)));
      v128.store(w.wordSums + (<usize>(h * k.chunks + c) << 4), sum);
    }
  }
}

/** q for a block of tokens of layout "channel": its channels' scales multiplied in, its offsets summed up. */
function prepareBlock(g: PackedArgs, k: Side, w: Work, params: usize, heads: i32): void {
  const bytes = <usize>vectorsOf(k) << 4;
  paramsToPanelOrder(k, params, w.blockScales, w.blockOffsets);
  for (let h = 0; h < heads; h++) {
    const q = w.panelQueries + <usize>h * bytes;
    const plain = w.plainQueries + <usize>h * bytes;
    const to = w.blockQueries + <usize>h * bytes;
    let base = f32x4.splat(0);
    for (let i: usize = 0; i < bytes; i += 16) {
      v128.store(to + i, f32x4.mul(v128.load(q + i), v128.load(w.blockScales + i)));
      base = madd(v128.load(plain + i), v128.load(w.blockOffsets + i), base);
    }
    store<f32>(w.bases + (<usize>h << 2), sumF32(base));
  }
}

/** Scores of the page's token slots begin … end − 1 (multiples of 4) for the heads of one key/value head. */
function scorePage(g: PackedArgs, k: Side, w: Work, page: usize, kvHead: i32, group: i32, begin: i32, end: i32): void {
  const bytes = <usize>vectorsOf(k) << 4;
  for (let slot = begin; slot < end; slot += 4) {
    if (k.isChannel && (slot == begin || slot % k.group == 0)) {
      prepareBlock(g, k, w, blockParams(k, page, g.headDim, kvHead, slot / k.group), group);
    }
    unpackQuad(k, g.headDim, codesOf(k, page, kvHead, slot), w.panel);
    const norms = loadNorms(k, page, kvHead, slot);
    const to = w.scores + (<usize>slot << 2);
    for (let h = 0; h < group; h++) {
      v128.store(to + (<usize>h << 9), k.isChannel ? v128.load32_splat(w.bases + (<usize>h << 2)) : f32x4.splat(0));
    }
    if (!k.isChannel) loadParams(k, page, g.headDim, kvHead, slot, w.params);
    const queries = k.isChannel ? w.blockQueries : w.panelQueries;
    for (let c = 0; c < k.chunks; c++) {
      const panel = w.panel + (<usize>(c * k.fields) << 6);
      const params = k.isChannel ? <usize>0 : w.params + (<usize>c << 7);
      for (let h = 0; h < group; h += 2) {
        const q = queries + <usize>h * bytes + (<usize>(c * k.fields) << 4);
        const words = w.wordSums + (<usize>(h * k.chunks + c) << 4);
        const at = to + (<usize>h << 9);
        if (h + 1 == group) dotChunk(q, panel, k.fields, params, words, at);
        else dotChunks(q, q + bytes, panel, k.fields, params, words, words + (<usize>k.chunks << 4), at, at + 512);
      }
    }
    if (k.scales == 0 || k.kind > LEVELS) continue;
    for (let h = 0; h < group; h++) {
      const at = to + (<usize>h << 9);
      v128.store(at, f32x4.mul(v128.load(at), norms));
    }
  }
}

// —— the mean key

/**
 * Adds the mean key's part to the scores of slots begin … end − 1, which hold tokens at `position` and following.
 *
 * A cos(pθ) + B sin(pθ) at p = a + b is cos(bθ)·x + sin(bθ)·y with x, y taken at a: once for four neighbours, and then a step
 * of b = 4, 8, … takes two products a pair.
 */
function addMean(g: PackedArgs, w: Work, token: i32, head: i32, kvHead: i32, group: i32, begin: i32, end: i32, position: i32): void {
  const pairs = g.meanPairs;
  const scale = f32x4.splat(g.scale * g.inverseFactor);
  for (let i = 0; i < pairs; i++) {
    const pair = load<i32>(g.pairs + (<usize>(kvHead * pairs + i) << 2));
    const a0 = angleOf(g, position, pair), a1 = angleOf(g, position + 1, pair);
    const a2 = angleOf(g, position + 2, pair), a3 = angleOf(g, position + 3, pair);
    const a01 = v128.shuffle<i32>(a0, a1, 0, 4, 1, 5), a23 = v128.shuffle<i32>(a2, a3, 0, 4, 1, 5);
    const cosine = f32x4.mul(v128.shuffle<i64>(a01, a23, 0, 2), scale);
    const sine = f32x4.mul(v128.shuffle<i64>(a01, a23, 1, 3), scale);
    for (let h = 0; h < group; h++) {
      const term = g.meanTerms + (<usize>((token * g.heads + head + h) * pairs + i) << 3);
      const a = v128.load32_splat(term), b = v128.load32_splat(term, 4);
      const to = w.mean + (<usize>(h * pairs + i) << 5);
      v128.store(to, f32x4.add(f32x4.mul(a, cosine), f32x4.mul(b, sine)));
      v128.store(to, f32x4.sub(f32x4.mul(b, cosine), f32x4.mul(a, sine)), 16);
    }
  }
  const half = <usize>(g.rotaryDim >> 1) << 2;
  const list = g.pairs + (<usize>(kvHead * pairs) << 2);
  for (let slot = begin; slot < end; slot += 4) {
    const line = g.ropeTable + (<usize>((slot - begin) * g.rotaryDim) << 2);
    for (let h = 0; h < group; h++) {
      const at = w.scores + (<usize>h << 9) + (<usize>slot << 2);
      let from = w.mean + (<usize>(h * pairs) << 5);
      let sum = v128.load(at);
      for (let i = 0; i < pairs; i++) {
        const p = line + (<usize>load<i32>(list + (<usize>i << 2)) << 2);
        sum = madd(v128.load(from), v128.load32_splat(p), sum);
        sum = madd(v128.load(from, 16), v128.load32_splat(p + half), sum);
        from += 32;
      }
      v128.store(at, sum);
    }
  }
}

/** The mean key's part for a page: in runs of tokens that follow each other. */
function addMeanToPage(
  g: PackedArgs, k: Side, w: Work, token: i32, head: i32, kvHead: i32, group: i32, begin: i32, end: i32, slot: i32, index: i32,
): void {
  if (!k.isChannel) {
    addMean(g, w, token, head, kvHead, group, begin, end, index * SLOTS + begin);
    return;
  }
  for (let at = begin; at < end; ) {
    const b = at / k.group;
    const stop = min((b + 1) * k.group, end);
    const block = index * (SLOTS / k.group) + b;
    const first = load<i32>(g.blocks + (<usize>(slot * g.blocksPerSlot + block) << 3));
    // A block that is not there yet may say anything; its scores are not read.
    const position = max(first + at - b * k.group, 0);
    addMean(g, w, token, head, kvHead, group, at, stop, position);
    at = stop;
  }
}

// —— softmax and values

/** Online softmax over slots begin … end − 1 (multiples of 4), in place; those without a token become 0. Returns the factor. */
function softmaxSlots(scores: usize, tokens: usize, begin: i32, end: i32, stats: usize): f32 {
  const old = load<f32>(stats);
  const zero = i32x4.splat(0);
  let most = f32x4.splat(old);
  for (let at = <usize>begin << 2; at < <usize>end << 2; at += 16) {
    const isThere = i32x4.ge_s(v128.load(tokens + at), zero);
    most = f32x4.max(most, v128.bitselect(v128.load(scores + at), f32x4.splat(NOTHING), isThere));
  }
  const best = maxF32(most);
  const b = f32x4.splat(best);
  let sum = f32x4.splat(0);
  for (let at = <usize>begin << 2; at < <usize>end << 2; at += 16) {
    const isThere = i32x4.ge_s(v128.load(tokens + at), zero);
    const p = v128.and(exp(f32x4.sub(v128.load(scores + at), b)), isThere);
    v128.store(scores + at, p);
    sum = f32x4.add(sum, p);
  }
  const shrink = expScalar(old - best);
  store<f32>(stats, best);
  store<f32>(stats, load<f32>(stats, 4) * shrink + sumF32(sum), 4);
  return shrink;
}

// @ts-ignore: decorator
@inline
function scaleVectors(from: usize, to: usize, bytes: usize, factor: f32): void {
  const f = f32x4.splat(factor);
  for (let c: usize = 0; c < bytes; c += 16) v128.store(to + c, f32x4.mul(v128.load(from + c), f));
}

/** Four probabilities times the four slots' scales of a chunk, into `to`; and times their offsets, onto `offsets`. */
// @ts-ignore: decorator
@inline
function weigh(probabilities: v128, params: usize, offsets: usize, to: usize): void {
  const p0 = v128.shuffle<i32>(probabilities, probabilities, 0, 0, 0, 0);
  const p1 = v128.shuffle<i32>(probabilities, probabilities, 1, 1, 1, 1);
  const p2 = v128.shuffle<i32>(probabilities, probabilities, 2, 2, 2, 2);
  const p3 = v128.shuffle<i32>(probabilities, probabilities, 3, 3, 3, 3);
  let o = madd(p0, v128.load(params, 16), v128.load(offsets));
  o = madd(p1, v128.load(params, 48), o);
  o = madd(p2, v128.load(params, 80), o);
  v128.store(offsets, madd(p3, v128.load(params, 112), o));
  v128.store(to, f32x4.mul(p0, v128.load(params)));
  v128.store(to, f32x4.mul(p1, v128.load(params, 32)), 16);
  v128.store(to, f32x4.mul(p2, v128.load(params, 64)), 32);
  v128.store(to, f32x4.mul(p3, v128.load(params, 96)), 48);
}

/** sums += weights · codes of four slots: a chunk of one head. */
function addChunk(sums: usize, weights: usize, panel: usize, fields: i32): void {
  const f0 = v128.load(weights), f1 = v128.load(weights, 16), f2 = v128.load(weights, 32), f3 = v128.load(weights, 48);
  const stop = sums + (<usize>fields << 4);
  while (sums < stop) {
    let sum = madd(f0, v128.load(panel), v128.load(sums));
    sum = madd(f1, v128.load(panel, 16), sum);
    sum = madd(f2, v128.load(panel, 32), sum);
    v128.store(sums, madd(f3, v128.load(panel, 48), sum));
    sums += 16;
    panel += 64;
  }
}

/** The same for two heads, which share the loads of codes. */
function addChunks(sums: usize, sums1: usize, weights: usize, weights1: usize, panel: usize, fields: i32): void {
  const f0 = v128.load(weights), f1 = v128.load(weights, 16), f2 = v128.load(weights, 32), f3 = v128.load(weights, 48);
  const g0 = v128.load(weights1), g1 = v128.load(weights1, 16), g2 = v128.load(weights1, 32), g3 = v128.load(weights1, 48);
  const stop = sums + (<usize>fields << 4);
  while (sums < stop) {
    let c = v128.load(panel);
    let sum = madd(f0, c, v128.load(sums)), other = madd(g0, c, v128.load(sums1));
    c = v128.load(panel, 16);
    sum = madd(f1, c, sum);
    other = madd(g1, c, other);
    c = v128.load(panel, 32);
    sum = madd(f2, c, sum);
    other = madd(g2, c, other);
    c = v128.load(panel, 48);
    v128.store(sums, madd(f3, c, sum));
    v128.store(sums1, madd(g3, c, other));
    sums += 16;
    sums1 += 16;
    panel += 64;
  }
}

/** Softmax and values of a page's slots begin … end − 1, for the heads `at` … `at + group − 1` of the work. */
function addPage(g: PackedArgs, v: Side, w: Work, page: usize, kvHead: i32, at: i32, group: i32, begin: i32, end: i32): void {
  const bytes = <usize>vectorsOf(v) << 4;
  const offsetBytes = <usize>v.chunks << 4;
  for (let h = at; h < at + group; h++) {
    const shrink = softmaxSlots(w.scores + (<usize>h << 9), w.tokens, begin, end, w.stats + (<usize>h << 3));
    if (shrink == 1) continue;
    const sums = w.packedSums + <usize>h * bytes;
    const offsets = w.offsetSums + <usize>h * offsetBytes;
    scaleVectors(sums, sums, bytes, shrink);
    scaleVectors(offsets, offsets, offsetBytes, shrink);
  }
  for (let slot = begin; slot < end; slot += 4) {
    unpackQuad(v, g.headDim, codesOf(v, page, kvHead, slot), w.panel);
    loadParams(v, page, g.headDim, kvHead, slot, w.params);
    for (let c = 0; c < v.chunks; c++) {
      const panel = w.panel + (<usize>(c * v.fields) << 6);
      const column = <usize>(c * v.fields) << 4;
      for (let h = at; h < at + group; h += 2) {
        const p = w.scores + (<usize>h << 9) + (<usize>slot << 2);
        const offsets = w.offsetSums + <usize>h * offsetBytes + (<usize>c << 4);
        const sums = w.packedSums + <usize>h * bytes + column;
        weigh(v128.load(p), w.params + (<usize>c << 7), offsets, w.weights);
        if (h + 1 == at + group) addChunk(sums, w.weights, panel, v.fields);
        else {
          weigh(v128.load(p, 512), w.params + (<usize>c << 7), offsets + offsetBytes, w.weights + 64);
          addChunks(sums, sums + bytes, w.weights, w.weights + 64, panel, v.fields);
        }
      }
    }
  }
}

/** Sums over packed values in the order of channels. */
function unpackSums(v: Side, headDim: i32, packed: usize, offsets: usize, to: usize): void {
  const half = v.fields >> 1;
  for (let c = 0; c < headDim; c++) {
    const word = c / v.fields;
    const field = c % v.fields;
    const f = field % half;
    const vector = (word >> 2) * v.fields + 2 * f + field / half;
    const lane = <usize>(word & 3) << 2;
    const sum = load<f32>(packed + (<usize>vector << 4) + lane) * fieldScale(v.kind, f);
    store<f32>(to + (<usize>c << 2), sum + load<f32>(offsets + (<usize>(word >> 2) << 4) + lane));
  }
}

// —— tokens that are not packed

/** Four rows of values, `line` bytes apart, onto sums. */
function addRows(sums: usize, probabilities: usize, rows: usize, line: usize, headDim: i32): void {
  const stop = sums + (<usize>headDim << 2);
  const p0 = v128.load32_splat(probabilities), p1 = v128.load32_splat(probabilities, 4);
  const p2 = v128.load32_splat(probabilities, 8), p3 = v128.load32_splat(probabilities, 12);
  while (sums < stop) {
    let sum = madd(p0, v128.load(rows), v128.load(sums));
    sum = madd(p1, v128.load(rows + line), sum);
    sum = madd(p2, v128.load(rows + 2 * line), sum);
    v128.store(sums, madd(p3, v128.load(rows + 3 * line), sum));
    sums += 16;
    rows += 16;
  }
}

/** D halves as floats. */
// @ts-ignore: decorator
@inline
function widen(from: usize, to: usize, headDim: i32): void {
  for (let c: usize = 0; c < <usize>headDim; c += 4) {
    v128.store(to + (c << 2), lowHalves(v128.load_ext<u16>(from + (c << 1))));
  }
}

/** No token: what `entryOf` returns then. */
// @ts-ignore: decorator
@inline
const NO_ENTRY: i32 = i32.MIN_VALUE;

/**
 * Exact token number i of a row, of sinks + (past − end) + marked + 1: an entry of the side store, or −1 − token for the
 * step's own. Packed are the tokens before `end`; those before `first` are out of the window.
 */
function entryOf(g: PackedArgs, slot: i32, i: i32, past: i32, end: i32, first: i32, token: i32): i32 {
  if (i < g.sinks) return i < past && i >= first ? i : NO_ENTRY;
  i -= g.sinks;
  const begin = max(end, min(g.sinks, past));
  if (i < past - begin) {
    const j = begin + i;
    return j >= first ? g.sinks + j % g.ring : NO_ENTRY;
  }
  i -= past - begin;
  if (i == 0) return -1 - token;
  i -= 1;
  if (i >= g.marked) return NO_ENTRY;
  const j = load<i32>(g.markedTokens + (<usize>(slot * g.marked + i) << 2));
  // One that is not packed yet is still among the newest, or the step's own.
  return j >= max(first, g.sinks) && j < end ? g.sinks + g.ring + i : NO_ENTRY;
}

/** Adds four exact tokens, given by their entries (four words at `tokens`), for the heads of one key/value head. */
function addExact(g: PackedArgs, w: Work, slot: i32, kvHead: i32, at: i32, group: i32): void {
  const headDim = g.headDim;
  const line = <usize>headDim << 2;
  const half = <usize>(g.kvHeads * headDim) << 1;
  const columns = g.heads + 2 * g.kvHeads;
  const entries = w.tokens;
  for (let which = 0; which < 2; which++) {
    for (let i = 0; i < 4; i++) {
      const entry = load<i32>(entries + (<usize>i << 2));
      const to = w.rows + <usize>i * line;
      if (entry == NO_ENTRY) memory.fill(to, 0, line);
      else if (entry < 0) {
        const column = (-1 - entry) * columns + g.heads + which * g.kvHeads + kvHead;
        memory.copy(to, g.qkv + <usize>column * line, line);
      } else widen(sideEntry(g, slot, entry) + <usize>which * half + (<usize>(kvHead * headDim) << 1), to, headDim);
    }
    for (let h = at; h < at + group; h++) {
      const scores = w.scores + (<usize>h << 9);
      const sums = w.sums + <usize>h * line;
      if (which == 0) {
        v128.store(scores, dotRows(w.queries + <usize>h * line, w.rows, headDim));
        const isThere = i32x4.ne(v128.load(entries), i32x4.splat(NO_ENTRY));
        // softmaxSlots takes what is not negative.
        v128.store(entries, v128.not(isThere), 16);
        const shrink = softmaxSlots(scores, entries + 16, 0, 4, w.stats + (<usize>h << 3));
        scaleVectors(sums, sums, line, shrink);
      } else addRows(sums, scores, w.rows, line, headDim);
    }
  }
}

// —— the kernel

export function packedAttentionDecode(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<PackedArgs>(args);
  const k = keySide(args), v = valueSide(args);
  const headDim = g.headDim;
  const group = g.heads / g.kvHeads;
  // Key/value heads of a task, and tasks of a split.
  const own = g.isRopeAtRead ? g.kvHeads : 1;
  const shares = g.kvHeads / own;
  const heads = own * group;
  const w = layOut(g, args, worker, heads);
  const line = <usize>headDim << 2;
  const valueBytes = <usize>vectorsOf(v) << 4;

  for (let task = begin; task < end; task++) {
    const split = task % g.splits;
    const kvBegin = (task / g.splits) % shares * own;
    const token = task / (g.splits * shares);
    const word = g.tokens + (<usize>token << 4);
    const past = load<i32>(word, 4);
    const slot = load<i32>(word, 12);
    const head = kvBegin * group;
    const columns = token * (g.heads + 2 * g.kvHeads) + head;
    const isDead = slot < 0 || past < 0;

    for (let h = 0; h < heads; h++) {
      store<f32>(w.stats + (<usize>h << 3), NOTHING);
      store<f32>(w.stats + (<usize>h << 3), 0, 4);
    }
    memory.fill(w.packedSums, 0, <usize>heads * valueBytes);
    memory.fill(w.offsetSums, 0, <usize>(heads * v.chunks) << 4);
    if (!isDead) {
      scaleVectors(g.qkv + <usize>columns * line, w.queries, <usize>heads * line, g.scale);
      if (!g.isRopeAtRead) prepareQueries(g, k, w, heads);
    }

    // This split's share of the pages, from the true length.
    const first = max(past - g.window + 1, 0);
    const floor = floorOf(g, slot);
    const packed = endOf(g, past, floor);
    const firstPage = firstSlot(g, args, slot, first, floor) / SLOTS;
    const pages = max((slotsInUse(g, args, slot, packed, floor) + SLOTS - 1) / SLOTS - firstPage, 0);
    const share = (pages + g.splits - 1) / g.splits;
    const from = firstPage + split * share;
    const stop = isDead ? from : min(from + share, firstPage + pages);
    for (let index = from; index < stop; index++) {
      const page = pageOf(g, slot, index);
      const segment = segmentOfPage(args, page);
      if (segment == 0) continue;
      const range = tokensOfPage(g, args, slot, index, first, packed, w.tokens);
      if (range == 0) continue;
      const lo = range & 0xffff, hi = range >> 16;
      const keys = keyPage(args, segment, page), values = valuePage(args, segment, page);
      if (g.isRopeAtRead) {
        for (let at = lo; at < hi; at += 4) {
          keysAfterRotary(g, k, keys, at, index * SLOTS + at, w.panel, w.params, w.rows);
          for (let h = 0; h < heads; h++) {
            const columns = w.rows + (<usize>(h / group * headDim) << 4);
            v128.store(w.scores + (<usize>h << 9) + (<usize>at << 2), dotColumns(w.queries + <usize>h * line, columns, headDim));
          }
        }
      } else {
        scorePage(g, k, w, keys, kvBegin, group, lo, hi);
        if (g.meanPairs) addMeanToPage(g, k, w, token, head, kvBegin, group, lo, hi, slot, index);
      }
      for (let i = 0; i < own; i++) addPage(g, v, w, values, kvBegin + i, i * group, group, lo, hi);
    }

    for (let h = 0; h < heads; h++) {
      unpackSums(
        v, headDim, w.packedSums + <usize>h * valueBytes, w.offsetSums + (<usize>(h * v.chunks) << 4), w.sums + <usize>h * line,
      );
    }
    if (g.hasRest && split == g.splits - 1 && !isDead) {
      const count = g.sinks + past - max(packed, min(g.sinks, past)) + 1 + g.marked;
      for (let i = 0; i < own; i++) {
        let n = 0;
        for (let e = 0; e < count; e++) {
          const entry = entryOf(g, slot, e, past, packed, first, token);
          if (entry != NO_ENTRY) {
            store<i32>(w.tokens + (<usize>n << 2), entry);
            n += 1;
          }
          if (n == 0 || (n < 4 && e < count - 1)) continue;
          for (; n < 4; n++) store<i32>(w.tokens + (<usize>n << 2), NO_ENTRY);
          addExact(g, w, slot, kvBegin + i, i * group, group);
          n = 0;
        }
      }
    }

    for (let h = 0; h < heads; h++) {
      const part = <usize>((split * g.tokenCount + token) * g.heads + head + h);
      memory.copy(g.parts + part * line, w.sums + <usize>h * line, line);
      store<u64>(g.stats + (part << 3), load<u64>(w.stats + (<usize>h << 3)));
    }
  }
}
