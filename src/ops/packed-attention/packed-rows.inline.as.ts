/**
 * Rows of codes on the CPU: four token slots of one head at a time, unpacked to floats in an order that costs no shuffles.
 *
 * Four words of a row are four lanes. Masks walk over the words, and a masked code is converted where it stands: it comes out
 * multiplied by a power of two, which whoever multiplies by it makes up for (`fieldScale`). So a vector of the panel holds the
 * codes of four channels that lie a word apart:
 *
 *   chunk k  words 4k … 4k + 3, lanes j;  F fields (codes) to a word, in two halves:  channel (4k + j)·F + half·F/2 + f
 *   panel    [chunk, field f, half, token slot 0 … 3] vectors;  a vector of q or of sums: [chunk, field f, half]
 *
 * Lanes behind the row's end hold finite numbers that belong to nobody: q is zero there, sums there are not read.
 *
 * Levels: 4 levels that are odd about zero are linear in their two bits, so a dot product of 16-bit halves turns the bits
 * into an integer multiple of 0.0008; 8 levels come from a byte table as multiples of 0.0001.
 */

/** How one side is packed: words of a kernel's arguments. */
@unmanaged
export class Side {
  /** Bits; LEVELS + bits for fixed levels. */
  kind: i32;
  rowWords: i32;
  pageWords: i32;
  /** Word offset of the parameters in a page; 0: none. */
  params: i32;
  /** Word offset of the norms or scales; 0: none. */
  scales: i32;
  /** Even steps: their scales, a half a group, are at `params`, and offsets follow from them. */
  isEven: i32;
  /** Elements of a quantisation group. */
  group: i32;
  /** Groups of tokens of a channel. */
  isChannel: i32;
  /** Derived: fields of a word, words of a row (of the two-bit plane at 3 bits) in fours. */
  fields: i32;
  chunks: i32;
}

// @ts-ignore: decorator
@inline
export const LEVELS: i32 = 16;
// @ts-ignore: decorator
@inline
export const SLOTS: i32 = 128;

// @ts-ignore: decorator
@inline
const LEVEL2_UNIT: f32 = 0.0008;
// @ts-ignore: decorator
@inline
const LEVEL2_LOWEST: f32 = -1.5104;
/** 0.0001 / 2^16: these come out in the upper halves of words. */
// @ts-ignore: decorator
@inline
const LEVEL3_UNIT: f32 = 1.52587890625e-9;

/** Levels are scale · (unit · unpacked + lowest). */
// @ts-ignore: decorator
@inline
function levelUnit(s: Side): f32 {
  return s.kind == LEVELS + 2 ? LEVEL2_UNIT : LEVEL3_UNIT;
}

// @ts-ignore: decorator
@inline
function lowestLevel(s: Side): f32 {
  return s.kind == LEVELS + 2 ? LEVEL2_LOWEST : 0;
}

/** Vectors of a row in panel order. */
// @ts-ignore: decorator
@inline
export function vectorsOf(s: Side): i32 {
  return s.chunks * s.fields;
}

/** What field f of a half is to be multiplied by. */
export function fieldScale(kind: i32, f: i32): f32 {
  if (kind == LEVELS + 3) return 1;
  const bits = kind == 3 ? 8 * (f >> 2) : kind == LEVELS + 2 ? 2 * f : kind * f;
  return reinterpret<f32>((127 - bits) << 23);
}

/** Four halves in the low parts of the lanes; finite and not subnormal. */
// @ts-ignore: decorator
@inline
export function lowHalves(words: v128): v128 {
  const moved = v128.and(i32x4.shr_s(i32x4.shl(words, 16), 3), i32x4.splat(0x8fffe000));
  return f32x4.mul(moved, f32x4.splat(5192296858534827628530496329220096.0));
}

/** Four halves in the high parts of the lanes. */
// @ts-ignore: decorator
@inline
export function highHalves(words: v128): v128 {
  const moved = v128.and(i32x4.shr_s(words, 3), i32x4.splat(0x8fffe000));
  return f32x4.mul(moved, f32x4.splat(5192296858534827628530496329220096.0));
}

// —— codes

/** 2, 4 or 8 bits. */
// @ts-ignore: decorator
@inline
function unpackUniform(bits: i32, from: usize, line: usize, to: usize): void {
  const w0 = v128.load(from), w1 = v128.load(from + line);
  const w2 = v128.load(from + 2 * line), w3 = v128.load(from + 3 * line);
  const h0 = i32x4.shr_u(w0, 16), h1 = i32x4.shr_u(w1, 16), h2 = i32x4.shr_u(w2, 16), h3 = i32x4.shr_u(w3, 16);
  let mask = i32x4.splat((1 << bits) - 1);
  const stop = to + 128 * (16 / bits);
  while (to < stop) {
    v128.store(to, f32x4.convert_i32x4_s(v128.and(w0, mask)));
    v128.store(to, f32x4.convert_i32x4_s(v128.and(w1, mask)), 16);
    v128.store(to, f32x4.convert_i32x4_s(v128.and(w2, mask)), 32);
    v128.store(to, f32x4.convert_i32x4_s(v128.and(w3, mask)), 48);
    v128.store(to, f32x4.convert_i32x4_s(v128.and(h0, mask)), 64);
    v128.store(to, f32x4.convert_i32x4_s(v128.and(h1, mask)), 80);
    v128.store(to, f32x4.convert_i32x4_s(v128.and(h2, mask)), 96);
    v128.store(to, f32x4.convert_i32x4_s(v128.and(h3, mask)), 112);
    mask = i32x4.shl(mask, bits);
    to += 128;
  }
}

/** Bit 2f of the low half: the low bit of code f of the lower half-word; of the high half: its high bit. */
// @ts-ignore: decorator
@inline
function spread(half: v128): v128 {
  return v128.or(half, i32x4.shl(half, 15));
}

// @ts-ignore: decorator
@inline
function level2(bits: v128, mask: v128): v128 {
  // 1322 and 2454, in units of 0.0008, above the lowest level.
  return f32x4.convert_i32x4_s(i32x4.dot_i16x8_s(v128.and(bits, mask), i32x4.splat((2454 << 16) | 1322)));
}

function unpackLevels2(from: usize, line: usize, to: usize): void {
  const low = i32x4.splat(0xffff);
  let w = v128.load(from);
  const w0 = spread(v128.and(w, low)), h0 = spread(i32x4.shr_u(w, 16));
  w = v128.load(from + line);
  const w1 = spread(v128.and(w, low)), h1 = spread(i32x4.shr_u(w, 16));
  w = v128.load(from + 2 * line);
  const w2 = spread(v128.and(w, low)), h2 = spread(i32x4.shr_u(w, 16));
  w = v128.load(from + 3 * line);
  const w3 = spread(v128.and(w, low)), h3 = spread(i32x4.shr_u(w, 16));
  let mask = i32x4.splat(0x00010001);
  const stop = to + 1024;
  while (to < stop) {
    v128.store(to, level2(w0, mask));
    v128.store(to, level2(w1, mask), 16);
    v128.store(to, level2(w2, mask), 32);
    v128.store(to, level2(w3, mask), 48);
    v128.store(to, level2(h0, mask), 64);
    v128.store(to, level2(h1, mask), 80);
    v128.store(to, level2(h2, mask), 96);
    v128.store(to, level2(h3, mask), 112);
    mask = i32x4.shl(mask, 2);
    to += 128;
  }
}

/** Nibble n of eight bytes as byte n, times 4. */
// @ts-ignore: decorator
@inline
function highBits(from: usize): v128 {
  const bits = v128.load64_zero(from);
  const even = v128.and(bits, i8x16.splat(0x0f));
  const odd = v128.and(i16x8.shr_u(bits, 4), i8x16.splat(0x0f));
  return i16x8.shl(v128.shuffle<u8>(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), 2);
}

/** One row of 3-bit codes. Byte n of a vector of codes i is channel 4n + i: field 4·(n mod 4) + i of its word. */
function unpackThree(isLevels: bool, from: usize, high: usize, to: usize): void {
  let w = v128.load(from);
  let n = highBits(high);
  for (let i = 0; i < 4; i++) {
    const codes = v128.or(v128.and(w, i8x16.splat(3)), v128.and(n, i8x16.splat(4)));
    if (isLevels) {
      // Levels −21519, −13439, −7560, −2451 and their opposites, as low and high bytes.
      const low = i8x16.swizzle(
        i8x16(-15, -127, 120, 109, -109, -120, 127, 15, 0, 0, 0, 0, 0, 0, 0, 0), codes,
      );
      const high = i8x16.swizzle(
        i8x16(-85, -53, -30, -10, 9, 29, 52, 84, 0, 0, 0, 0, 0, 0, 0, 0), codes,
      );
      const even = v128.or(v128.and(low, i32x4.splat(0x00ff00ff)), i16x8.shl(high, 8));
      const odd = v128.or(i16x8.shr_u(low, 8), v128.and(high, i32x4.splat(0xff00ff00)));
      v128.store(to, f32x4.convert_i32x4_s(i32x4.shl(even, 16)));
      v128.store(to, f32x4.convert_i32x4_s(v128.and(even, i32x4.splat(0xffff0000))), 64);
      v128.store(to, f32x4.convert_i32x4_s(i32x4.shl(odd, 16)), 512);
      v128.store(to, f32x4.convert_i32x4_s(v128.and(odd, i32x4.splat(0xffff0000))), 576);
    } else {
      const upper = i32x4.shr_u(codes, 16);
      v128.store(to, f32x4.convert_i32x4_s(v128.and(codes, i32x4.splat(0xff))));
      v128.store(to, f32x4.convert_i32x4_s(v128.and(upper, i32x4.splat(0xff))), 64);
      v128.store(to, f32x4.convert_i32x4_s(v128.and(codes, i32x4.splat(0xff00))), 512);
      v128.store(to, f32x4.convert_i32x4_s(v128.and(upper, i32x4.splat(0xff00))), 576);
    }
    w = i16x8.shr_u(w, 2);
    n = i16x8.shr_u(n, 1);
    to += 128;
  }
}

/** The codes of four consecutive token slots, from the first one's words, into a panel. */
export function unpackQuad(s: Side, headDim: i32, from: usize, panel: usize): void {
  const line = <usize>s.rowWords << 2;
  const kind = s.kind;
  const bytes = <usize>s.fields << 6;
  for (let k = 0; k < s.chunks; k++) {
    if (kind == 2) unpackUniform(2, from, line, panel);
    else if (kind == 4) unpackUniform(4, from, line, panel);
    else if (kind == 8) unpackUniform(8, from, line, panel);
    else if (kind == LEVELS + 2) unpackLevels2(from, line, panel);
    else {
      // The plane of high bits: behind ⌈D/16⌉ words, half as many bits.
      let high = from - (<usize>k << 3) + (<usize>((headDim + 15) >> 4) << 2);
      for (let row: usize = 0; row < 4; row++) {
        unpackThree(kind > LEVELS, from + row * line, high, panel + (row << 4));
        high += line;
      }
    }
    from += 16;
    panel += bytes;
  }
}

// —— parameters

/**
 * Scales and offsets of four token slots, a lane a word of the row: [chunk, slot 0 … 3, (scale, offset)] vectors, such that
 * an element is scale · unpacked + offset. Layout "token" and levels. `slot`: the first, in its page.
 */
export function loadParams(s: Side, page: usize, headDim: i32, head: i32, slot: i32, to: usize): void {
  if (s.kind > LEVELS) {
    const a = lowHalves(v128.load_ext<u16>(page + (<usize>s.scales << 2) + (<usize>(head * SLOTS + slot) << 1)));
    const scales = f32x4.mul(a, f32x4.splat(levelUnit(s)));
    const offsets = f32x4.mul(a, f32x4.splat(lowestLevel(s)));
    for (let k = 0; k < s.chunks; k++) {
      storeSplats(scales, to);
      storeSplats(offsets, to + 16);
      to += 128;
    }
    return;
  }
  if (s.isEven) {
    loadEvenScales(s, page, headDim, head, slot, to);
    return;
  }
  const groups = headDim / s.group;
  let from = page + (<usize>(s.params + (head * SLOTS + slot) * groups) << 2);
  if (groups == 1) {
    const words = v128.load(from);
    const scales = lowHalves(words);
    const offsets = highHalves(words);
    for (let k = 0; k < s.chunks; k++) {
      storeSplats(scales, to);
      storeSplats(offsets, to + 16);
      to += 128;
    }
    return;
  }
  // Words of a group.
  const lanes = s.group / s.fields;
  for (let row = 0; row < 4; row++) {
    for (let k = 0; k < s.chunks; k++) {
      let words: v128;
      const at = from + (<usize>(4 * k / lanes) << 2);
      if (lanes == 1) words = v128.load(at);
      else if (lanes == 2) {
        words = v128.load64_zero(at);
        words = v128.shuffle<i32>(words, words, 0, 0, 1, 1);
      } else if (lanes % 4 == 0) words = v128.load32_splat(at);
      else {
        words = v128.load32_zero(at);
        words = v128.load32_lane(from + (<usize>((4 * k + 1) / lanes) << 2), words, 1);
        words = v128.load32_lane(from + (<usize>((4 * k + 2) / lanes) << 2), words, 2);
        words = v128.load32_lane(from + (<usize>((4 * k + 3) / lanes) << 2), words, 3);
      }
      const line = to + (<usize>(k * 4 + row) << 5);
      v128.store(line, lowHalves(words));
      v128.store(line, highHalves(words), 16);
    }
    from += <usize>groups << 2;
  }
}

/** The same of even steps. */
function loadEvenScales(s: Side, page: usize, headDim: i32, head: i32, slot: i32, to: usize): void {
  const groups = headDim / s.group;
  const lowest = f32x4.splat(lowestStep(s));
  let from = evenScales(s, page, head, slot, groups);
  if (groups == 1) {
    const scales = lowHalves(v128.load_ext<u16>(from));
    const offsets = f32x4.mul(scales, lowest);
    for (let k = 0; k < s.chunks; k++) {
      storeSplats(scales, to);
      storeSplats(offsets, to + 16);
      to += 128;
    }
    return;
  }
  // Words of a group; those behind the row's end take the last group's.
  const lanes = s.group / s.fields;
  const last = groups - 1;
  for (let row = 0; row < 4; row++) {
    for (let k = 0; k < s.chunks; k++) {
      let halves = v128.load16_splat(from + (<usize>min(4 * k / lanes, last) << 1));
      halves = v128.load16_lane(from + (<usize>min((4 * k + 1) / lanes, last) << 1), halves, 2);
      halves = v128.load16_lane(from + (<usize>min((4 * k + 2) / lanes, last) << 1), halves, 4);
      halves = v128.load16_lane(from + (<usize>min((4 * k + 3) / lanes, last) << 1), halves, 6);
      const scales = lowHalves(halves);
      const line = to + (<usize>(k * 4 + row) << 5);
      v128.store(line, scales);
      v128.store(line, f32x4.mul(scales, lowest), 16);
    }
    from += <usize>groups << 1;
  }
}

/** Even steps: the offset of a scale of one. */
// @ts-ignore: decorator
@inline
function lowestStep(s: Side): f32 {
  return <f32>((1 << s.kind) - 1) * -0.5;
}

/** The address of the scales of a token slot. */
// @ts-ignore: decorator
@inline
function evenScales(s: Side, page: usize, head: i32, slot: i32, groups: i32): usize {
  return page + (<usize>s.params << 2) + (<usize>((head * SLOTS + slot) * groups) << 1);
}

/** The four lanes as four vectors, 32 bytes apart. */
// @ts-ignore: decorator
@inline
function storeSplats(v: v128, to: usize): void {
  v128.store(to, v128.shuffle<i32>(v, v, 0, 0, 0, 0));
  v128.store(to, v128.shuffle<i32>(v, v, 1, 1, 1, 1), 32);
  v128.store(to, v128.shuffle<i32>(v, v, 2, 2, 2, 2), 64);
  v128.store(to, v128.shuffle<i32>(v, v, 3, 3, 3, 3), 96);
}

/** Norms of four token slots; ones where the side has none. */
// @ts-ignore: decorator
@inline
export function loadNorms(s: Side, page: usize, head: i32, slot: i32): v128 {
  if (s.scales == 0 || s.kind > LEVELS) return f32x4.splat(1);
  return lowHalves(v128.load_ext<u16>(page + (<usize>s.scales << 2) + (<usize>(head * SLOTS + slot) << 1)));
}

/** The address of the parameters of a block of tokens in layout "channel": a word a channel. */
// @ts-ignore: decorator
@inline
export function blockParams(s: Side, page: usize, headDim: i32, head: i32, block: i32): usize {
  return page + (<usize>(s.params + (head * (SLOTS / s.group) + block) * headDim) << 2);
}

/** The address of the codes of a token slot. */
// @ts-ignore: decorator
@inline
export function codesOf(s: Side, page: usize, head: i32, slot: i32): usize {
  return page + (<usize>((head * SLOTS + slot) * s.rowWords) << 2);
}

// —— orders of channels

/** A row of D numbers in panel order, times the fields' scales where `isScaled`; zeros where there is no channel. */
export function toPanelOrder(s: Side, headDim: i32, isScaled: bool, from: usize, to: usize): void {
  const half = s.fields >> 1;
  for (let k = 0; k < s.chunks; k++) {
    for (let f = 0; f < half; f++) {
      const factor: f32 = isScaled ? fieldScale(s.kind, f) : 1;
      for (let side = 0; side < 2; side++) {
        let channel = 4 * k * s.fields + side * half + f;
        for (let lane: usize = 0; lane < 16; lane += 4) {
          store<f32>(to + lane, channel < headDim ? load<f32>(from + (<usize>channel << 2)) * factor : 0);
          channel += s.fields;
        }
        to += 16;
      }
    }
  }
}

/** The parameters of a block (a word a channel) in panel order: scales, and offsets, [chunk, field, half] vectors each. */
export function paramsToPanelOrder(s: Side, from: usize, scales: usize, offsets: usize): void {
  const fields = s.fields;
  const half = fields >> 1;
  const line = <usize>fields << 2;
  for (let k = 0; k < s.chunks; k++) {
    for (let c = 0; c < fields; c += 4) {
      const p = from + (<usize>(4 * k * fields + c) << 2);
      const v0 = v128.load(p), v1 = v128.load(p + line), v2 = v128.load(p + 2 * line), v3 = v128.load(p + 3 * line);
      // Fields c … c + 3 lie in one half, or two in each where a word has four.
      const at = (<usize>(k * fields) << 4) + (half >= 4 ? (<usize>(2 * (c % half) + c / half) << 4) : 0);
      const n1: usize = half >= 4 ? 32 : 32, n2: usize = half >= 4 ? 64 : 16, n3: usize = half >= 4 ? 96 : 48;
      const low01 = v128.shuffle<i32>(v0, v1, 0, 4, 1, 5);
      const high01 = v128.shuffle<i32>(v0, v1, 2, 6, 3, 7);
      const low23 = v128.shuffle<i32>(v2, v3, 0, 4, 1, 5);
      const high23 = v128.shuffle<i32>(v2, v3, 2, 6, 3, 7);
      const f0 = v128.shuffle<i64>(low01, low23, 0, 2), f1 = v128.shuffle<i64>(low01, low23, 1, 3);
      const f2 = v128.shuffle<i64>(high01, high23, 0, 2), f3 = v128.shuffle<i64>(high01, high23, 1, 3);
      v128.store(scales + at, lowHalves(f0));
      v128.store(offsets + at, highHalves(f0));
      v128.store(scales + at + n1, lowHalves(f1));
      v128.store(offsets + at + n1, highHalves(f1));
      v128.store(scales + at + n2, lowHalves(f2));
      v128.store(offsets + at + n2, highHalves(f2));
      v128.store(scales + at + n3, lowHalves(f3));
      v128.store(offsets + at + n3, highHalves(f3));
    }
  }
}

/** Vectors of four slots in panel order to four rows of D numbers, `line` bytes apart, fields scaled. */
function toRows(s: Side, headDim: i32, panel: usize, to: usize, line: usize): void {
  const fields = s.fields;
  const half = fields >> 1;
  for (let k = 0; k < s.chunks; k++) {
    for (let c = 0; c < fields; c += 4) {
      for (let row: usize = 0; row < 4; row++) {
        const at = panel + (<usize>(k * fields) << 6) + (row << 4);
        const f0 = panelVector(s.kind, half, at, c), f1 = panelVector(s.kind, half, at, c + 1);
        const f2 = panelVector(s.kind, half, at, c + 2), f3 = panelVector(s.kind, half, at, c + 3);
        const low01 = v128.shuffle<i32>(f0, f1, 0, 4, 1, 5);
        const high01 = v128.shuffle<i32>(f0, f1, 2, 6, 3, 7);
        const low23 = v128.shuffle<i32>(f2, f3, 0, 4, 1, 5);
        const high23 = v128.shuffle<i32>(f2, f3, 2, 6, 3, 7);
        const channel = 4 * k * fields + c;
        const out = to + row * line + (<usize>channel << 2);
        const word = <usize>fields << 2;
        if (channel < headDim) v128.store(out, v128.shuffle<i64>(low01, low23, 0, 2));
        if (channel + fields < headDim) v128.store(out + word, v128.shuffle<i64>(low01, low23, 1, 3));
        if (channel + 2 * fields < headDim) v128.store(out + 2 * word, v128.shuffle<i64>(high01, high23, 0, 2));
        if (channel + 3 * fields < headDim) v128.store(out + 3 * word, v128.shuffle<i64>(high01, high23, 1, 3));
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function panelVector(kind: i32, half: i32, panel: usize, field: i32): v128 {
  const f = field % half;
  return f32x4.mul(v128.load(panel + (<usize>(2 * f + field / half) << 6)), f32x4.splat(fieldScale(kind, f)));
}

/** Values of four token slots, dequantised, as rows of D floats, `line` bytes apart. */
export function dequantiseRows(
  s: Side, page: usize, headDim: i32, head: i32, slot: i32, panel: usize, to: usize, line: usize,
): void {
  unpackQuad(s, headDim, codesOf(s, page, head, slot), panel);
  toRows(s, headDim, panel, to, line);
  const groups = headDim / s.group;
  for (let row = 0; row < 4; row++) {
    const x = to + <usize>row * line;
    if (s.kind > LEVELS) {
      const at = page + (<usize>s.scales << 2) + (<usize>(head * SLOTS + slot + row) << 1);
      const a = lowHalves(i32x4.splat(load<u16>(at)));
      const scale = f32x4.mul(a, f32x4.splat(levelUnit(s)));
      const offset = f32x4.mul(a, f32x4.splat(lowestLevel(s)));
      for (let c: usize = 0; c < <usize>headDim << 2; c += 16) {
        v128.store(x + c, f32x4.add(f32x4.mul(v128.load(x + c), scale), offset));
      }
      continue;
    }
    if (s.isEven) {
      const scales = evenScales(s, page, head, slot + row, groups);
      for (let c = 0; c < headDim; c += 4) {
        const scale = lowHalves(v128.load16_splat(scales + (<usize>(c / s.group) << 1)));
        const at = x + (<usize>c << 2);
        v128.store(at, f32x4.mul(f32x4.add(v128.load(at), f32x4.splat(lowestStep(s))), scale));
      }
      continue;
    }
    const params = page + (<usize>(s.params + (head * SLOTS + slot + row) * groups) << 2);
    for (let c = 0; c < headDim; c += 4) {
      const words = v128.load32_splat(params + (<usize>(c / s.group) << 2));
      const at = x + (<usize>c << 2);
      v128.store(at, f32x4.add(f32x4.mul(v128.load(at), lowHalves(words)), highHalves(words)));
    }
  }
}

/**
 * Keys of four token slots, dequantised, in the domain they were packed in: a vector of the four for each channel, channel c
 * at to + c · stride. With an order, channel c of head h goes where order[h · D + c] says.
 *
 * @param params scratch of 32 bytes a group and of `loadParams`.
 */
export function dequantiseColumns(
  s: Side, page: usize, headDim: i32, head: i32, slot: i32, order: usize, panel: usize, params: usize, to: usize, stride: usize,
): void {
  unpackQuad(s, headDim, codesOf(s, page, head, slot), panel);
  const norms = loadNorms(s, page, head, slot);
  const groups = headDim / s.group;
  if (!s.isChannel) {
    // Scale and offset of each group, a vector of the four.
    for (let i = 0; i < groups; i++) {
      let scale: v128, offset: v128;
      if (s.kind > LEVELS) {
        const a = lowHalves(v128.load_ext<u16>(page + (<usize>s.scales << 2) + (<usize>(head * SLOTS + slot) << 1)));
        scale = f32x4.mul(a, f32x4.splat(levelUnit(s)));
        offset = f32x4.mul(a, f32x4.splat(lowestLevel(s)));
      } else if (s.isEven) {
        const from = evenScales(s, page, head, slot, groups) + (<usize>i << 1);
        const line = <usize>groups << 1;
        let halves = v128.load16_splat(from);
        halves = v128.load16_lane(from + line, halves, 2);
        halves = v128.load16_lane(from + 2 * line, halves, 4);
        halves = v128.load16_lane(from + 3 * line, halves, 6);
        scale = lowHalves(halves);
        offset = f32x4.mul(scale, f32x4.splat(lowestStep(s)));
      } else {
        const from = page + (<usize>(s.params + (head * SLOTS + slot) * groups + i) << 2);
        const line = <usize>groups << 2;
        let words = v128.load32_zero(from);
        words = v128.load32_lane(from + line, words, 1);
        words = v128.load32_lane(from + 2 * line, words, 2);
        words = v128.load32_lane(from + 3 * line, words, 3);
        scale = f32x4.mul(lowHalves(words), norms);
        offset = f32x4.mul(highHalves(words), norms);
      }
      v128.store(params + (<usize>i << 5), scale);
      v128.store(params + (<usize>i << 5), offset, 16);
    }
  }
  const block = s.isChannel ? blockParams(s, page, headDim, head, slot / s.group) : 0;
  const half = s.fields >> 1;
  for (let k = 0; k < s.chunks; k++) {
    for (let i = 0; i < s.fields; i++) {
      const r0 = v128.load(panel), r1 = v128.load(panel, 16), r2 = v128.load(panel, 32), r3 = v128.load(panel, 48);
      panel += 64;
      const low01 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5), high01 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
      const low23 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5), high23 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
      const factor = f32x4.splat(fieldScale(s.kind, i >> 1));
      for (let lane = 0; lane < 4; lane++) {
        const channel = (4 * k + lane) * s.fields + (i & 1) * half + (i >> 1);
        if (channel >= headDim) break;
        let x = lane == 0 ? v128.shuffle<i64>(low01, low23, 0, 2)
          : lane == 1 ? v128.shuffle<i64>(low01, low23, 1, 3)
          : lane == 2 ? v128.shuffle<i64>(high01, high23, 0, 2)
          : v128.shuffle<i64>(high01, high23, 1, 3);
        x = f32x4.mul(x, factor);
        if (s.isChannel) {
          const words = v128.load32_splat(block + (<usize>channel << 2));
          x = f32x4.mul(f32x4.add(f32x4.mul(x, lowHalves(words)), highHalves(words)), norms);
        } else {
          const p = params + (<usize>(groups == 1 ? 0 : channel / s.group) << 5);
          x = f32x4.add(f32x4.mul(x, v128.load(p)), v128.load(p, 16));
        }
        const place = order ? load<i32>(order + (<usize>(head * headDim + channel) << 2)) : channel;
        v128.store(to + <usize>place * stride, x);
      }
    }
  }
}
