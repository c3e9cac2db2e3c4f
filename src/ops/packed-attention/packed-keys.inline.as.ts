/** Keys that were packed before rotary embedding, as attention sees them: dequantised, in their order, un-rotated, rotated. */
import { hadamard } from "./hadamard.inline.as";
import { dequantiseQuad, Side } from "./packed-rows.inline.as";
import { angleOf, PackedArgs } from "./packed-tokens.inline.as";

/** Rotates channel pairs (i, i + r/2) of every head of a row. */
function rotateRow(g: PackedArgs, x: usize, position: i32, angles: usize): void {
  const half = g.rotaryDim >> 1;
  const bytes = <usize>half << 2;
  for (let i = 0; i < half; i++) {
    const angle = angleOf(g, position, i);
    v128.store32_lane(angles + (<usize>i << 2), angle, 0);
    v128.store32_lane(angles + bytes + (<usize>i << 2), angle, 1);
  }
  for (let h = 0; h < g.kvHeads; h++) {
    let c: usize = 0;
    for (; c + 16 <= bytes; c += 16) {
      const a = v128.load(x + c), b = v128.load(x + bytes + c);
      const cosine = v128.load(angles + c), sine = v128.load(angles + bytes + c);
      v128.store(x + c, f32x4.sub(f32x4.mul(a, cosine), f32x4.mul(b, sine)));
      v128.store(x + bytes + c, f32x4.add(f32x4.mul(b, cosine), f32x4.mul(a, sine)));
    }
    for (; c < bytes; c += 4) {
      const a = load<f32>(x + c), b = load<f32>(x + bytes + c);
      const cosine = load<f32>(angles + c), sine = load<f32>(angles + bytes + c);
      store<f32>(x + c, a * cosine - b * sine);
      store<f32>(x + bytes + c, b * cosine + a * sine);
    }
    x += <usize>g.headDim << 2;
  }
}

/**
 * Four rows [G · D] from the page's token slots slot … slot + 3, which hold positions `position` and following.
 *
 * @param spare four rows as well. @param panel scratch of a panel (four rows of a head at least).
 */
export function keysAfterRotary(
  g: PackedArgs, k: Side, page: usize, slot: i32, position: i32, rows: usize, spare: usize, panel: usize,
): void {
  const width = g.kvHeads * g.headDim;
  const line = <usize>width << 2;
  const stored = g.order ? spare : rows;
  for (let h = 0; h < g.kvHeads; h++) {
    dequantiseQuad(k, page, g.headDim, h, slot, panel, stored + (<usize>(h * g.headDim) << 2), line);
  }
  if (g.order) {
    for (let j = 0; j < width; j++) {
      const from = spare + (<usize>j << 2);
      const to = rows + (<usize>load<i32>(g.order + (<usize>j << 2)) << 2);
      store<f32>(to, load<f32>(from));
      store<f32>(to + line, load<f32>(from + line));
      store<f32>(to + 2 * line, load<f32>(from + 2 * line));
      store<f32>(to + 3 * line, load<f32>(from + 3 * line));
    }
  }
  if (g.keyRotation) hadamard(rows, 4 * width, g.keyRotation);
  for (let i = 0; i < 4; i++) rotateRow(g, rows + <usize>i * line, position + i, panel);
}
