/** Orthonormal Hadamard transform of blocks of n floats, side by side, in place; n a power of two, count a multiple of n and of 4. */
export function hadamard(x: usize, count: i32, n: i32): void {
  if (n < 2) return;
  const bytes = <usize>max(n, 4) << 2;
  const factor = f32x4.splat(<f32>(1.0 / sqrt<f64>(<f64>n)));
  const plusMinus = f32x4(1, -1, 1, -1), plusPlus = f32x4(1, 1, -1, -1);
  for (let stop = x + (<usize>count << 2); x < stop; x += bytes) {
    for (let c: usize = 0; c < bytes; c += 16) {
      let v = v128.load(x + c);
      v = f32x4.add(f32x4.mul(v, plusMinus), v128.shuffle<i32>(v, v, 1, 0, 3, 2));
      if (n > 2) v = f32x4.add(f32x4.mul(v, plusPlus), v128.shuffle<i32>(v, v, 2, 3, 0, 1));
      v128.store(x + c, v);
    }
    for (let half: usize = 16; half < bytes; half <<= 1) {
      for (let block: usize = 0; block < bytes; block += half << 1) {
        for (let c = block; c < block + half; c += 16) {
          const a = v128.load(x + c), b = v128.load(x + c + half);
          v128.store(x + c, f32x4.add(a, b));
          v128.store(x + c + half, f32x4.sub(a, b));
        }
      }
    }
    for (let c: usize = 0; c < bytes; c += 16) v128.store(x + c, f32x4.mul(v128.load(x + c), factor));
  }
}
