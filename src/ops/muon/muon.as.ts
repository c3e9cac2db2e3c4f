/** Muon's own kernels on the CPU. A task is a block of 4,096 numbers; the norm of a matrix is one task. */

const BLOCK: i32 = 4096;

@unmanaged
class MuonArgs {
  /** momentum: gradient, record, momentum, direction. normalise: direction, x. apply: x, record, weights. */
  a: usize;
  b: usize;
  c: usize;
  d: usize;
  size: i32;
  /** First number of the part. */
  first: i32;
  keep: f32;
  rate: f32;
  loss: f32;
}

// Sizes are multiples of 32: rows are padded.

export function muonMomentum(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<MuonArgs>(args);
  const isGood = load<f32>(a.b, 8) != 0;
  const factor = f32x4.splat(load<f32>(a.b, 4));
  const keep = f32x4.splat(a.keep);
  const last = min(end * BLOCK, a.size);
  for (let i = begin * BLOCK; i < last; i += 4) {
    const at = (<usize>i) << 2;
    if (isGood) {
      const d = f32x4.mul(factor, v128.load(a.a + at));
      const m = f32x4.add(f32x4.mul(keep, v128.load(a.c + at)), d);
      v128.store(a.c + at, m);
      v128.store(a.d + at, f32x4.add(d, f32x4.mul(keep, m)));
    } else v128.store(a.d + at, f32x4.splat(0));
  }
}

export function muonNormalise(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<MuonArgs>(args);
  const from = a.a + ((<usize>a.first) << 2);
  let sum: f64 = 0;
  for (let i = 0; i < a.size; i++) {
    const u = <f64>load<f32>(from + ((<usize>i) << 2));
    sum += u * u;
  }
  const norm = Math.sqrt(sum);
  const scale = <f32>(norm > 0 ? 1 / norm : 0);
  for (let i = 0; i < a.size; i += 4) {
    const at = (<usize>i) << 2;
    v128.store(a.b + at, f32x4.mul(f32x4.splat(scale), v128.load(from + at)));
  }
}

export function muonApply(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<MuonArgs>(args);
  if (load<f32>(a.b, 8) == 0) return;
  const w = a.c + ((<usize>a.first) << 2);
  const last = min(end * BLOCK, a.size);
  for (let i = begin * BLOCK; i < last; i += 4) {
    const at = (<usize>i) << 2;
    const before = v128.load(w + at);
    const way = f32x4.add(
      f32x4.mul(f32x4.splat(a.rate), v128.load(a.a + at)),
      f32x4.mul(f32x4.splat(a.loss), before),
    );
    v128.store(w + at, f32x4.sub(before, way));
  }
}
