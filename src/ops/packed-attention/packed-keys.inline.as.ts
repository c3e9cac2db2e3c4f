/**
 * Keys that were packed before rotary embedding, as attention sees them: dequantised, in their order, un-rotated, rotated.
 *
 * Four tokens at a time, a vector of the four for each channel: then order, Hadamard transform and rotary take whole vectors.
 */
import { dequantiseColumns, Side } from "./packed-rows.inline.as";
import { PackedArgs, tableLine } from "./packed-tokens.inline.as";

/** The Hadamard transform over blocks of `width` vectors side by side, `count` in all. */
function hadamardColumns(x: usize, count: i32, width: i32, scale: f32): void {
  const factor = f32x4.splat(scale);
  const bytes = <usize>width << 4;
  for (let stop = x + (<usize>count << 4); x < stop; x += bytes) {
    let h: usize = 16;
    for (; h << 1 < bytes; h <<= 2) {
      for (let p = x; p < x + bytes; p += h << 2) {
        for (let q = p; q < p + h; q += 16) {
          const a0 = v128.load(q), a1 = v128.load(q + h), a2 = v128.load(q + 2 * h), a3 = v128.load(q + 3 * h);
          const b0 = f32x4.add(a0, a1), b1 = f32x4.sub(a0, a1), b2 = f32x4.add(a2, a3), b3 = f32x4.sub(a2, a3);
          v128.store(q, f32x4.add(b0, b2));
          v128.store(q + h, f32x4.add(b1, b3));
          v128.store(q + 2 * h, f32x4.sub(b0, b2));
          v128.store(q + 3 * h, f32x4.sub(b1, b3));
        }
      }
    }
    if (h < bytes) {
      for (let q = x; q < x + h; q += 16) {
        const a0 = v128.load(q), a1 = v128.load(q + h);
        v128.store(q, f32x4.add(a0, a1));
        v128.store(q + h, f32x4.sub(a0, a1));
      }
    }
    for (let q = x; q < x + bytes; q += 16) v128.store(q, f32x4.mul(v128.load(q), factor));
  }
}

/** Cosines, then sines, of the pairs at four positions: a vector of the four for each pair. */
function anglesOf(g: PackedArgs, position: i32, to: usize): void {
  const half = <usize>(g.rotaryDim >> 1) << 2;
  const sines = to + (((half + 15) & ~15) << 2);
  for (let i = 0; i < 4; i++) {
    const low = tableLine(g, position + i, false), high = tableLine(g, position + i, true);
    const column = <usize>i << 2;
    let c: usize = 0;
    for (; c + 16 <= half; c += 16) {
      const lowCos = v128.load(low + c), lowSin = v128.load(low + half + c);
      const highCos = v128.load(high + c), highSin = v128.load(high + half + c);
      const cosine = f32x4.sub(f32x4.mul(lowCos, highCos), f32x4.mul(lowSin, highSin));
      const sine = f32x4.add(f32x4.mul(lowSin, highCos), f32x4.mul(lowCos, highSin));
      const at = to + (c << 2) + column, also = sines + (c << 2) + column;
      v128.store32_lane(at, cosine, 0);
      v128.store32_lane(at, cosine, 1, 16);
      v128.store32_lane(at, cosine, 2, 32);
      v128.store32_lane(at, cosine, 3, 48);
      v128.store32_lane(also, sine, 0);
      v128.store32_lane(also, sine, 1, 16);
      v128.store32_lane(also, sine, 2, 32);
      v128.store32_lane(also, sine, 3, 48);
    }
    for (; c < half; c += 4) {
      const lowCos = load<f32>(low + c), lowSin = load<f32>(low + half + c);
      const highCos = load<f32>(high + c), highSin = load<f32>(high + half + c);
      store<f32>(to + (c << 2) + column, lowCos * highCos - lowSin * highSin);
      store<f32>(sines + (c << 2) + column, lowSin * highCos + lowCos * highSin);
    }
  }
}

/**
 * [G · D] vectors of the page's token slots slot … slot + 3, which hold positions `position` and following.
 *
 * @param panel, params scratch, as for `dequantiseColumns`.
 */
export function keysAfterRotary(
  g: PackedArgs, k: Side, page: usize, slot: i32, position: i32, panel: usize, params: usize, to: usize,
): void {
  const line = <usize>g.headDim << 4;
  for (let h = 0; h < g.kvHeads; h++) {
    dequantiseColumns(k, page, g.headDim, h, slot, g.order, panel, params, g.order ? to : to + <usize>h * line, 16);
  }
  if (g.keyRotation) hadamardColumns(to, g.kvHeads * g.headDim, g.keyRotation, g.keyRotationScale);
  anglesOf(g, position, panel);
  const half = <usize>(g.rotaryDim >> 1) << 4;
  const sines = panel + ((half + 63) & ~63);
  for (let h = 0; h < g.kvHeads; h++) {
    for (let c: usize = 0; c < half; c += 16) {
      const a = v128.load(to + c), b = v128.load(to + half + c);
      const cosine = v128.load(panel + c), sine = v128.load(sines + c);
      v128.store(to + c, f32x4.sub(f32x4.mul(a, cosine), f32x4.mul(b, sine)));
      v128.store(to + half + c, f32x4.add(f32x4.mul(b, cosine), f32x4.mul(a, sine)));
    }
    to += line;
  }
}
