/** Kernels that only simd.test.ts launches: the inlined helpers, made callable. */
import {
  bf16High,
  bf16Low,
  bf16ToF32,
  dotBf16,
  dotF16,
  dotF32,
  exp,
  expScalar,
  f16High,
  f16Low,
  f16ToF32,
  f32ToBf16,
  f32ToBf16x4,
  f32ToF16,
  f32ToF16x4,
  load4,
  maxF32,
  pack16,
  sigmoid,
  silu,
  store16x4,
  store4,
  sumF32,
  sumI32,
} from "./simd.inline.as";

@unmanaged
class MapArgs {
  src: usize;
  dst: usize;
  /** 0 exp, 1 sigmoid, 2 silu, 3 expScalar. */
  how: i32;
}

/** dst = f(src), four f32 numbers a task. */
export function checkMap(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<MapArgs>(args);
  for (let task = begin; task < end; task++) {
    const at = <usize>task * 16;
    const x = v128.load(g.src + at);
    if (g.how == 0) v128.store(g.dst + at, exp(x));
    else if (g.how == 1) v128.store(g.dst + at, sigmoid(x));
    else if (g.how == 2) v128.store(g.dst + at, silu(x));
    else for (let i: usize = 0; i < 16; i += 4) store<f32>(g.dst + at + i, expScalar(load<f32>(g.src + at + i)));
  }
}

/** 16-bit to f32, eight numbers a task; how: 0 f16, 1 f16 one by one, 2 bf16, 3 bf16 one by one. */
export function checkWiden(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<MapArgs>(args);
  for (let task = begin; task < end; task++) {
    const src = g.src + <usize>task * 16;
    const dst = g.dst + <usize>task * 32;
    const v = v128.load(src);
    if (g.how == 0) {
      v128.store(dst, f16Low(v));
      v128.store(dst, f16High(v), 16);
    } else if (g.how == 2) {
      v128.store(dst, bf16Low(v));
      v128.store(dst, bf16High(v), 16);
    } else {
      for (let i: usize = 0; i < 8; i++) {
        const h: u32 = load<u16>(src + i * 2);
        store<f32>(dst + i * 4, g.how == 1 ? f16ToF32(h) : bf16ToF32(h));
      }
    }
  }
}

/** f32 to 16-bit, eight numbers a task; how: as checkWiden. */
export function checkNarrow(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<MapArgs>(args);
  for (let task = begin; task < end; task++) {
    const src = g.src + <usize>task * 32;
    const dst = g.dst + <usize>task * 16;
    if (g.how == 0) {
      v128.store(dst, pack16(f32ToF16x4(v128.load(src)), f32ToF16x4(v128.load(src, 16))));
    } else if (g.how == 2) {
      store16x4(dst, f32ToBf16x4(v128.load(src)));
      store16x4(dst + 8, f32ToBf16x4(v128.load(src, 16)));
    } else {
      for (let i: usize = 0; i < 8; i++) {
        const x = load<f32>(src + i * 4);
        store<u16>(dst + i * 2, <u16>(g.how == 1 ? f32ToF16(x) : f32ToBf16(x)));
      }
    }
  }
}

@unmanaged
class DotArgs {
  a: usize;
  x: usize;
  out: usize;
  count: i32;
  /** 0 f32, 1 bf16, 2 f16. */
  how: i32;
}

export function checkDot(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<DotArgs>(args);
  if (g.how == 0) store<f32>(g.out, dotF32(g.a, g.x, g.count));
  else if (g.how == 1) store<f32>(g.out, dotBf16(g.a, g.x, g.count));
  else store<f32>(g.out, dotF16(g.a, g.x, g.count));
}

@unmanaged
class LanesArgs {
  src: usize;
  dst: usize;
  count: i32;
}

/** dst = the first `count` numbers of src behind load4 and store4; then [4]: their sum, [5]: i32 sum, [6]: maximum. */
export function checkLanes(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<LanesArgs>(args);
  const v = load4(g.src, g.count);
  store4(g.dst, v, g.count);
  store<f32>(g.dst + 16, sumF32(v));
  store<i32>(g.dst + 20, sumI32(v));
  store<f32>(g.dst + 24, maxF32(v));
}
