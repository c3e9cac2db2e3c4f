/**
 * CPU kernels of packKv.
 *
 * The quantiser's bits are the format's: every sum and product here rounds once, so the fused multiply-add of the relaxed
 * build must stay out of this file.
 */
import { hadamard } from "../fwht/fwht.inline.as";
import { rotateHead } from "../rope/head.inline.as";
import { sumF32, sumI32 } from "../simd.inline.as";
import { cacheHalf, cacheHalf4, cacheHalfOfF64, cacheHalfValue, cacheHalfValue4 } from "./half.inline.as";
import { firstToPack, packedEnd, PACKED_PAGE_TOKENS } from "./packed-end.inline.as";

// @ts-ignore: decorator
@inline
const SMALLEST: f32 = 0.00006103515625;

// @ts-ignore: decorator
@inline
const ZERO_POINT: i32 = 0;
// @ts-ignore: decorator
@inline
const LEVELS: i32 = 2;
// @ts-ignore: decorator
@inline
const EVEN: i32 = 3;

/** How one side becomes codes, and where they go in a page. */
@unmanaged
class Side {
  bits: i32;
  /** 1: groups of tokens of one channel. */
  isChannel: i32;
  group: i32;
  /** 0 zp, 1 min, 2 levels, 3 even steps. */
  quantiser: i32;
  /** Of levels and even steps. */
  isUnbiased: i32;
  clip: f32;
  /** fl(1 − clip) and fl(1/(2ᵇ − 1)). */
  rest: f32;
  inverse: f32;
  norm: i32;
  rowWords: i32;
  /** Word offsets. */
  params: i32;
  scales: i32;
  pageWords: i32;
}

@unmanaged
class PackArgs {
  /** f32: head h of the step's token t is at keys + t·keyStride + h·D, likewise values; strides in numbers. */
  keys: usize;
  values: usize;
  /** Kinds with rotary at every read: rows of tokens in the ring, in the place of the step's token; else 0. */
  ringKeys: usize;
  tokens: usize;
  rows: usize;
  pageTable: usize;
  cuts: usize;
  side: usize;
  table: usize;
  /** [G, D], or 0. */
  mean: usize;
  scratch: usize;
  scratchBytes: i32;
  keyStride: i32;
  valueStride: i32;
  kvHeads: i32;
  headDim: i32;
  pagesPerSlot: i32;
  sinks: i32;
  recent: i32;
  block: i32;
  ring: i32;
  entries: i32;
  rotaryDim: i32;
  highLines: i32;
  keyRotation: i32;
  keyScale: f32;
  segments: i32;
  /** The words of the keys' Side, of the values' Side, and of each segment follow. */
}

@unmanaged
class Segment {
  keys: usize;
  values: usize;
  firstPage: i32;
  pages: i32;
}

/** A task is one side of one head: of what the step's token t stands for, a token or (every block-th token) a block of them. */
export function packKvPages(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<PackArgs>(args);
  const keySide = changetype<Side>(args + offsetof<PackArgs>());
  const valueSide = changetype<Side>(args + offsetof<PackArgs>() + offsetof<Side>());
  const isChannel = keySide.isChannel != 0;
  const rowsAt = g.scratch + <usize>worker * g.scratchBytes;
  const bytes = <usize>g.headDim << 2;
  const spare = rowsAt + <usize>g.block * bytes;
  for (let task = begin; task < end; task++) {
    const column = task % (2 * g.kvHeads);
    const t = task / (2 * g.kvHeads);
    const token = g.tokens + (<usize>t << 4);
    const slot = load<i32>(token, 12);
    if (slot < 0) continue;
    const row = g.rows + (<usize>load<i32>(token, 8) << 4);
    const i = t - load<i32>(row);
    if (i % g.block != 0) continue;
    const past = load<i32>(row, 12);
    const floor = load<i32>(g.cuts + (<usize>slot << 3));
    const before = packedEnd(g.sinks, g.recent, g.block, past, floor);
    const after = packedEnd(g.sinks, g.recent, g.block, past + load<i32>(row, 4), floor);
    const first = firstToPack(isChannel, g.sinks, floor, before) + i;
    if (first >= after) continue;
    const target = first + (isChannel ? load<i32>(g.cuts + (<usize>slot << 3), 4) : 0);
    const index = target / PACKED_PAGE_TOKENS;
    if (target < 0 || index >= g.pagesPerSlot) continue;
    const isValue = column >= g.kvHeads;
    const head = column - (isValue ? g.kvHeads : 0);
    const side = isValue ? valueSide : keySide;
    const page = pageOf(args, g, load<i32>(g.pageTable + (<usize>(slot * g.pagesPerSlot + index) << 2)), isValue, side);
    if (page == 0) continue;
    const line = head * PACKED_PAGE_TOKENS + target % PACKED_PAGE_TOKENS;

    for (let b = 0; b < g.block; b++) {
      const x = rowsAt + <usize>b * bytes;
      fetch(g, isValue, slot, first + b, past, load<i32>(row), t, head, x);
      if (!isValue && g.mean) subtractMean(g, head, first + b, x, spare);
      sanitise(x, bytes);
      if (!isValue && side.norm) divideByNorm(x, g.headDim, page + (<usize>side.scales << 2) + (<usize>(line + b) << 1));
    }
    const codes = page + (<usize>(line * side.rowWords) << 2);
    if (!side.isChannel) {
      const groups = g.headDim / side.group;
      for (let b = 0; b < g.block; b++) {
        const x = rowsAt + <usize>b * bytes;
        const to = codes + (<usize>(b * side.rowWords) << 2);
        if (side.quantiser >= LEVELS) {
          const scales = page + (<usize>side.scales << 2) + (<usize>((line + b) * groups) << 1);
          packLevels(x, g.headDim, side, to, scales);
        } else {
          packGroups(x, g.headDim, side, to, page + (<usize>(side.params + (line + b) * groups) << 2));
        }
      }
    } else {
      const blocks = PACKED_PAGE_TOKENS / side.group;
      const block = (target % PACKED_PAGE_TOKENS) / side.group;
      const to = page + (<usize>(side.params + (head * blocks + block) * g.headDim) << 2);
      packBlock(rowsAt, g.headDim, side, codes, to, spare);
    }
  }
}

/** The page's first byte, or 0 where no segment holds it. */
function pageOf(args: usize, g: PackArgs, page: i32, isValue: bool, side: Side): usize {
  let list = args + offsetof<PackArgs>() + 2 * offsetof<Side>();
  for (let i = 0; i < g.segments; i++) {
    const s = changetype<Segment>(list);
    if (page >= s.firstPage && page < s.firstPage + s.pages) {
      return (isValue ? s.values : s.keys) + <usize>(page - s.firstPage) * (<usize>side.pageWords << 2);
    }
    list += offsetof<Segment>();
  }
  return 0;
}

/** Token j's row of a head: from the ring where it came before the step (kinds with rotary at read: from its remade rows). */
function fetch(
  g: PackArgs,
  isValue: bool,
  slot: i32,
  j: i32,
  past: i32,
  firstToken: i32,
  t: i32,
  head: i32,
  to: usize,
): void {
  const bytes = <usize>g.headDim << 2;
  const channels = g.kvHeads * g.headDim;
  if (j >= past) {
    const line = firstToken + j - past;
    const from = isValue ? g.values + (<usize>(line * g.valueStride) << 2) : g.keys + (<usize>(line * g.keyStride) << 2);
    memory.copy(to, from + <usize>head * bytes, bytes);
  } else if (!isValue && g.ringKeys) {
    memory.copy(to, g.ringKeys + (<usize>(t * channels) << 2) + <usize>head * bytes, bytes);
  } else {
    const entry = g.side + (<usize>((slot * g.entries + g.sinks + j % g.ring) * channels) << 2);
    const channel: i32 = (isValue ? channels : 0) + head * g.headDim;
    const from = entry + (<usize>channel << 1);
    for (let c: usize = 0; c < bytes; c += 16) v128.store(to + c, cacheHalfValue4(v128.load_ext<u16>(from + (c >> 1))));
  }
}

/** x ← x − H R_p μ. */
function subtractMean(g: PackArgs, head: i32, position: i32, x: usize, spare: usize): void {
  const bytes = <usize>g.headDim << 2;
  memory.copy(spare, g.mean + <usize>head * bytes, bytes);
  if (g.table) rotateHead(spare, g.table, g.rotaryDim, g.highLines, position);
  if (g.keyRotation) hadamard(spare, g.headDim, g.keyRotation, g.keyScale);
  for (let c: usize = 0; c < bytes; c += 16) {
    v128.store(x + c, f32x4.sub(v128.load(x + c), v128.load(spare + c)));
  }
}

function sanitise(x: usize, bytes: usize): void {
  for (let c: usize = 0; c < bytes; c += 16) {
    const v = v128.load(x + c);
    const number = v128.and(v, f32x4.eq(v, v));
    v128.store(x + c, f32x4.min(f32x4.max(number, f32x4.splat(-65504)), f32x4.splat(65504)));
  }
}

/** Σ of sixteen partial sums by c mod 16, as quantiser.reference.ts: s0 … s3 are those of four channels each. */
// @ts-ignore: decorator
@inline
function sumRow(s0: v128, s1: v128, s2: v128, s3: v128): f32 {
  return sumF32(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
}

// @ts-ignore: decorator
@inline
function square(p: usize): v128 {
  const v = v128.load(p);
  return f32x4.mul(v, v);
}

/** f16 bits of the root mean square of `count` numbers. */
function rootMeanSquare(x: usize, count: i32): u32 {
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
  let p = x;
  let left = count;
  for (; left >= 16; left -= 16, p += 64) {
    s0 = f32x4.add(s0, square(p));
    s1 = f32x4.add(s1, square(p + 16));
    s2 = f32x4.add(s2, square(p + 32));
    s3 = f32x4.add(s3, square(p + 48));
  }
  if (left > 0) s0 = f32x4.add(s0, square(p));
  if (left > 4) s1 = f32x4.add(s1, square(p + 16));
  if (left > 8) s2 = f32x4.add(s2, square(p + 32));
  const mean: f32 = sumRow(s0, s1, s2, s3) * (<f32>1 / <f32>count);
  return cacheHalfOfF64(sqrt<f64>(<f64>mean));
}

function divideByNorm(x: usize, headDim: i32, to: usize): void {
  const norm = rootMeanSquare(x, headDim);
  store<u16>(to, <u16>norm);
  const divisor = f32x4.splat(max(cacheHalfValue(norm), SMALLEST));
  for (let p = x; p < x + (<usize>headDim << 2); p += 16) v128.store(p, f32x4.div(v128.load(p), divisor));
}

// —— parameters of a group

function scaleOf(lo: f32, hi: f32, side: Side): u32 {
  let range: f32;
  if (side.quantiser == ZERO_POINT) range = hi * side.clip - lo * side.clip;
  else range = (hi - lo) * side.clip;
  return max(cacheHalf(range * side.inverse), 0x0400);
}

function offsetOf(lo: f32, hi: f32, side: Side, scale: u32): u32 {
  if (side.quantiser != ZERO_POINT) return cacheHalf(lo + (hi - lo) * 0.5 * side.rest);
  const s = cacheHalfValue(scale);
  const zero = nearest<f64>(-<f64>(lo * side.clip) / <f64>s);
  return cacheHalf(-<f32>min<f64>(max<f64>(zero, -65536), 65536) * s);
}

// —— codes

/** Codes of four numbers, δ = x − o against multiples of s: how many k of 1 … 2ᵇ − 1 have δ ≥ (k − ½)·s. */
// @ts-ignore: decorator
@inline
function codesOf(delta: v128, s: v128, bits: i32): v128 {
  if (bits <= 3) {
    let codes = i32x4.splat(0);
    const steps = (1 << bits) - 1;
    let edge: f32 = 0.5;
    for (let k = 0; k < steps; k++) {
      codes = i32x4.sub(codes, f32x4.ge(delta, f32x4.mul(f32x4.splat(edge), s)));
      edge += 1;
    }
    return codes;
  }
  // The quotient is off by one at most: put right by the exact products.
  const most = f32x4.splat(<f32>((1 << bits) - 1));
  let q = f32x4.nearest(f32x4.div(delta, s));
  q = f32x4.min(f32x4.max(q, f32x4.splat(0)), most);
  const up = v128.and(f32x4.ge(delta, f32x4.mul(f32x4.add(q, f32x4.splat(0.5)), s)), f32x4.lt(q, most));
  const down = v128.and(f32x4.lt(delta, f32x4.mul(f32x4.sub(q, f32x4.splat(0.5)), s)), f32x4.gt(q, f32x4.splat(0)));
  return i32x4.add(i32x4.sub(i32x4.trunc_sat_f32x4_s(q), up), down);
}

/** Stores the codes of channels c … c + 3 of a row. Word parts are written in rising order: the first of a byte clears it. */
// @ts-ignore: decorator
@inline
function storeCodes(row: usize, codes: v128, c: i32, headDim: i32, bits: i32): void {
  if (bits == 2) {
    store<u8>(row + (c >> 2), <u8>sumI32(i32x4.mul(codes, i32x4(1, 4, 16, 64))));
  } else if (bits == 3) {
    const low = v128.and(codes, i32x4.splat(3));
    store<u8>(row + (c >> 2), <u8>sumI32(i32x4.mul(low, i32x4(1, 4, 16, 64))));
    const high = <u32>sumI32(i32x4.mul(i32x4.shr_u(codes, 2), i32x4(1, 2, 4, 8)));
    const to = row + (<usize>((headDim + 15) >> 4) << 2) + (c >> 3);
    if (c & 4) store<u8>(to, <u8>(load<u8>(to) | (high << 4)));
    else store<u8>(to, <u8>high);
  } else if (bits == 4) {
    store<u16>(row + (c >> 1), <u16>sumI32(i32x4.mul(codes, i32x4(1, 16, 256, 4096))));
  } else {
    store<u32>(row + c, <u32>sumI32(i32x4.mul(codes, i32x4(1, 256, 65536, 16777216))));
  }
}

/** The words' padding is zero. */
// @ts-ignore: decorator
@inline
function clearRow(row: usize, side: Side): void {
  memory.fill(row, 0, <usize>side.rowWords << 2);
}

function packGroups(x: usize, headDim: i32, side: Side, to: usize, params: usize): void {
  clearRow(to, side);
  const group = side.group;
  const bits = side.bits;
  for (let start = 0; start < headDim; start += group) {
    const from = x + (<usize>start << 2);
    let low = v128.load(from), high = low;
    for (let c = 4; c < group; c += 4) {
      const v = v128.load(from + (<usize>c << 2));
      low = f32x4.min(low, v);
      high = f32x4.max(high, v);
    }
    const lo = -maxOf(f32x4.neg(low)), hi = maxOf(high);
    const scale = scaleOf(lo, hi, side);
    const offset = offsetOf(lo, hi, side, scale);
    store<u32>(params, scale | (offset << 16));
    params += 4;
    const s = f32x4.splat(cacheHalfValue(scale)), o = f32x4.splat(cacheHalfValue(offset));
    for (let c = 0; c < group; c += 4) {
      const delta = f32x4.sub(v128.load(from + (<usize>c << 2)), o);
      storeCodes(to, codesOf(delta, s, bits), start + c, headDim, bits);
    }
  }
}

// @ts-ignore: decorator
@inline
function maxOf(v: v128): f32 {
  const pairs = f32x4.max(v, v128.shuffle<i32>(v, v, 2, 3, 2, 3));
  return max<f32>(f32x4.extract_lane(pairs, 0), f32x4.extract_lane(pairs, 1));
}

/** A block of g rows: the range of each channel over them. `spare`: two rows for scales and offsets. */
function packBlock(rows: usize, headDim: i32, side: Side, codes: usize, params: usize, spare: usize): void {
  const bytes = <usize>headDim << 2;
  const offsets = spare + bytes;
  for (let c: usize = 0; c < bytes; c += 16) {
    let low = v128.load(rows + c), high = low;
    for (let b = 1; b < side.group; b++) {
      const v = v128.load(rows + c + <usize>b * bytes);
      low = f32x4.min(low, v);
      high = f32x4.max(high, v);
    }
    v128.store(spare + c, low);
    v128.store(offsets + c, high);
  }
  for (let c: usize = 0; c < bytes; c += 4) {
    const lo = load<f32>(spare + c), hi = load<f32>(offsets + c);
    const scale = scaleOf(lo, hi, side);
    const offset = offsetOf(lo, hi, side, scale);
    store<u32>(params + c, scale | (offset << 16));
    store<f32>(spare + c, cacheHalfValue(scale));
    store<f32>(offsets + c, cacheHalfValue(offset));
  }
  for (let b = 0; b < side.group; b++) {
    const x = rows + <usize>b * bytes;
    const to = codes + (<usize>(b * side.rowWords) << 2);
    clearRow(to, side);
    for (let c = 0; c < headDim; c += 4) {
      const at = <usize>c << 2;
      const delta = f32x4.sub(v128.load(x + at), v128.load(offsets + at));
      storeCodes(to, codesOf(delta, v128.load(spare + at), side.bits), c, headDim, side.bits);
    }
  }
}

// —— levels around zero: see quantiser.reference.ts, and levels.ts for the numbers

/** Level of each of four codes; those that are not even by a look-up of their bytes. */
// @ts-ignore: decorator
@inline
function levelsOf(codes: v128, bits: i32, isEven: bool): v128 {
  if (isEven) return f32x4.sub(f32x4.convert_i32x4_s(codes), f32x4.splat(bits == 2 ? 1.5 : 3.5));
  const index = i32x4.add(i32x4.mul(codes, i32x4.splat(0x04040404)), i32x4.splat(0x03020100));
  if (bits == 2) return i8x16.swizzle(f32x4(-1.5104, -0.4528, 0.4528, 1.5104), index);
  // Bytes from 16 on give zero in the first table, and so do those below in the second.
  const low = i8x16.swizzle(f32x4(-2.1519, -1.3439, -0.756, -0.2451), index);
  return v128.or(low, i8x16.swizzle(f32x4(0.2451, 0.756, 1.3439, 2.1519), i8x16.sub(index, i8x16.splat(16))));
}

// @ts-ignore: decorator
@inline
function levelCodes(x: v128, rms: f32, bits: i32, isEven: bool): v128 {
  let codes = i32x4.splat(0);
  if (bits == 2) {
    const outer: f32 = (isEven ? <f32>0.9957 : <f32>(<f32>1.5104 + <f32>0.4528) * <f32>0.5) * rms;
    codes = i32x4.sub(codes, f32x4.ge(x, f32x4.splat(-outer)));
    codes = i32x4.sub(codes, f32x4.ge(x, f32x4.splat(0)));
    return i32x4.sub(codes, f32x4.ge(x, f32x4.splat(outer)));
  }
  const t1: f32 = (isEven ? <f32>0.586 : <f32>(<f32>0.756 + <f32>0.2451) * <f32>0.5) * rms;
  const t2: f32 = (isEven ? <f32>1.172 : <f32>(<f32>1.3439 + <f32>0.756) * <f32>0.5) * rms;
  const t3: f32 = (isEven ? <f32>1.758 : <f32>(<f32>2.1519 + <f32>1.3439) * <f32>0.5) * rms;
  codes = i32x4.sub(codes, f32x4.ge(x, f32x4.splat(-t3)));
  codes = i32x4.sub(codes, f32x4.ge(x, f32x4.splat(-t2)));
  codes = i32x4.sub(codes, f32x4.ge(x, f32x4.splat(-t1)));
  codes = i32x4.sub(codes, f32x4.ge(x, f32x4.splat(0)));
  codes = i32x4.sub(codes, f32x4.ge(x, f32x4.splat(t1)));
  codes = i32x4.sub(codes, f32x4.ge(x, f32x4.splat(t2)));
  return i32x4.sub(codes, f32x4.ge(x, f32x4.splat(t3)));
}

function packLevels(x: usize, headDim: i32, side: Side, to: usize, scales: usize): void {
  clearRow(to, side);
  for (let start = 0; start < headDim; start += side.group) {
    store<u16>(scales, packGroup(x + (<usize>start << 2), start, headDim, side, to));
    scales += 2;
  }
}

/** Codes of the group of numbers at x, channels `start` and following of a row; returns the f16 bits of its scale. */
function packGroup(x: usize, start: i32, headDim: i32, side: Side, to: usize): u16 {
  const bits = side.bits;
  const isEven = side.quantiser == EVEN;
  const isUnbiased = side.isUnbiased != 0;
  const rms = cacheHalfValue(rootMeanSquare(x, side.group));
  let p0 = f32x4.splat(0), p1 = p0, p2 = p0, p3 = p0;
  let q0 = p0, q1 = p0, q2 = p0, q3 = p0;
  for (let c = 0; c < side.group; c += 4) {
    const v = v128.load(x + (<usize>c << 2));
    const codes = levelCodes(v, rms, bits, isEven);
    storeCodes(to, codes, start + c, headDim, bits);
    const level = levelsOf(codes, bits, isEven);
    const squaredOf = isUnbiased ? v : level;
    const product = f32x4.mul(v, level), squared = f32x4.mul(squaredOf, squaredOf);
    // The partial sums take turns: channels c mod 16.
    const p = f32x4.add(p0, product), q = f32x4.add(q0, squared);
    p0 = p1;
    p1 = p2;
    p2 = p3;
    p3 = p;
    q0 = q1;
    q1 = q2;
    q2 = q3;
    q3 = q;
  }
  // After 4·n channels the sum that is next is that of part n mod 4. Parts 0 and 1 are added first, then 2 and 3.
  const turn = (side.group >> 2) & 3;
  let products: f32, squares: f32;
  if (turn & 1) {
    products = sumRow(p3, p0, p1, p2);
    squares = sumRow(q3, q0, q1, q2);
  } else {
    products = sumRow(p0, p1, p2, p3);
    squares = sumRow(q0, q1, q2, q3);
  }
  if (!isUnbiased) return <u16>cacheHalfOfF64(<f64>products / <f64>squares);
  // A group of zeros has no direction: a scale of 0, not 0/0.
  return squares > 0 ? <u16>cacheHalfOfF64(<f64>squares / <f64>products) : 0;
}

// —— the side store

@unmanaged
class SideArgs {
  qkv: usize;
  tokens: usize;
  rows: usize;
  cuts: usize;
  side: usize;
  /** i32 [slots, marked], or 0. */
  markedTokens: usize;
  heads: i32;
  kvHeads: i32;
  headDim: i32;
  sinks: i32;
  recent: i32;
  block: i32;
  ring: i32;
  marked: i32;
  entries: i32;
}

/** A task is one token: its entries as a sink, in the ring, as a marked token. */
export function packKvSide(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<SideArgs>(args);
  const columns = g.heads + 2 * g.kvHeads;
  const channels = g.kvHeads * g.headDim;
  for (let t = begin; t < end; t++) {
    const token = g.tokens + (<usize>t << 4);
    const slot = load<i32>(token, 12);
    if (slot < 0) continue;
    const row = g.rows + (<usize>load<i32>(token, 8) << 4);
    const past = load<i32>(row, 12);
    const j = past + t - load<i32>(row);
    const from = g.qkv + (<usize>((t * columns + g.heads) * g.headDim) << 2);
    const entries = g.side + (<usize>(slot * g.entries * channels) << 2);
    if (j < g.sinks) storeEntry(from, entries + (<usize>(j * channels) << 2), channels);
    const floor = load<i32>(g.cuts + (<usize>slot << 3));
    if (g.ring > 0 && j >= packedEnd(g.sinks, g.recent, g.block, past + load<i32>(row, 4), floor)) {
      storeEntry(from, entries + (<usize>((g.sinks + j % g.ring) * channels) << 2), channels);
    }
    for (let i = 0; i < g.marked; i++) {
      if (load<i32>(g.markedTokens + (<usize>(slot * g.marked + i) << 2)) != j) continue;
      storeEntry(from, entries + (<usize>((g.sinks + g.ring + i) * channels) << 2), channels);
    }
  }
}

/** Keys and values lie side by side in qkv, as in an entry. */
function storeEntry(from: usize, to: usize, channels: i32): void {
  const bytes = <usize>channels << 3;
  for (let c: usize = 0; c < bytes; c += 16) {
    const v = v128.load(from + c);
    const halves = cacheHalf4(v128.and(v, f32x4.eq(v, v)));
    v128.store64_lane(to + (c >> 1), v128.shuffle<i16>(halves, halves, 0, 2, 4, 6, 8, 10, 12, 14), 0);
  }
}

/** A task is one marked entry of one row of the step: a token in the ring that has been marked since moves to its own entry. */
export function packKvMarked(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<SideArgs>(args);
  const bytes = <usize>(g.kvHeads * g.headDim) << 2;
  for (let task = begin; task < end; task++) {
    const row = g.rows + (<usize>(task / g.marked) << 4);
    const slot = load<i32>(row, 8);
    if (slot < 0) continue;
    const past = load<i32>(row, 12);
    const i = task % g.marked;
    const j = load<i32>(g.markedTokens + (<usize>(slot * g.marked + i) << 2));
    const floor = load<i32>(g.cuts + (<usize>slot << 3));
    if (j >= past || j < max(g.sinks, packedEnd(g.sinks, g.recent, g.block, past, floor))) continue;
    const entries = g.side + <usize>(slot * g.entries) * bytes;
    memory.copy(entries + <usize>(g.sinks + g.ring + i) * bytes, entries + <usize>(g.sinks + j % g.ring) * bytes, bytes);
  }
}
