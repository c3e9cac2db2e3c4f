/**
 * The Hadamard transform in place, for kernels that have rows at hand.
 *
 * The order of additions is part of the packed caches' format (fwht.ts): stages h = 1, 2, 4, …, each (a, b) ← (a + b, a − b),
 * one product at the end. Taking two stages at once changes no operation and no order within an element.
 */

/** Blocks of `width` (a power of two, at least 4) over `count` f32 numbers at `x`; `scale` is fl(1/√width). */
export function hadamard(x: usize, count: i32, width: i32, scale: f32): void {
  const end = x + (<usize>count << 2);
  const bytes = <usize>width << 2;
  for (let block = x; block < end; block += bytes) hadamardBlock(block, bytes, f32x4.splat(scale));
}

// @ts-ignore: decorator
@inline
function hadamardBlock(block: usize, bytes: usize, scale: v128): void {
  const end = block + bytes;
  const alternate = i32x4(0, <i32>0x80000000, 0, <i32>0x80000000);
  const halves = i32x4(0, 0, <i32>0x80000000, <i32>0x80000000);
  const isLast = bytes == 16;
  for (let p = block; p < end; p += 16) {
    // a + b and a − b = a + (−b), which rounds alike: lanes (0, 0, 2, 2) ± (1, 1, 3, 3), then (0, 1, 0, 1) ± (2, 3, 2, 3).
    let v = v128.load(p);
    v = f32x4.add(v128.shuffle<i32>(v, v, 0, 0, 2, 2), v128.xor(v128.shuffle<i32>(v, v, 1, 1, 3, 3), alternate));
    v = f32x4.add(v128.shuffle<i32>(v, v, 0, 1, 0, 1), v128.xor(v128.shuffle<i32>(v, v, 2, 3, 2, 3), halves));
    v128.store(p, isLast ? f32x4.mul(v, scale) : v);
  }
  let h: usize = 16;
  while (h << 1 < bytes) {
    const isEnd = h << 2 == bytes;
    for (let p = block; p < end; p += h << 2) {
      for (let q = p; q < p + h; q += 16) {
        const a0 = v128.load(q), a1 = v128.load(q + h), a2 = v128.load(q + 2 * h), a3 = v128.load(q + 3 * h);
        const b0 = f32x4.add(a0, a1), b1 = f32x4.sub(a0, a1), b2 = f32x4.add(a2, a3), b3 = f32x4.sub(a2, a3);
        let c0 = f32x4.add(b0, b2), c1 = f32x4.add(b1, b3), c2 = f32x4.sub(b0, b2), c3 = f32x4.sub(b1, b3);
        if (isEnd) {
          c0 = f32x4.mul(c0, scale);
          c1 = f32x4.mul(c1, scale);
          c2 = f32x4.mul(c2, scale);
          c3 = f32x4.mul(c3, scale);
        }
        v128.store(q, c0);
        v128.store(q + h, c1);
        v128.store(q + 2 * h, c2);
        v128.store(q + 3 * h, c3);
      }
    }
    h <<= 2;
  }
  if (h < bytes) {
    for (let q = block; q < block + h; q += 16) {
      const a0 = v128.load(q), a1 = v128.load(q + h);
      v128.store(q, f32x4.mul(f32x4.add(a0, a1), scale));
      v128.store(q + h, f32x4.mul(f32x4.sub(a0, a1), scale));
    }
  }
}
