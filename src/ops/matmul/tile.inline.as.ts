/** The tile of a packed product: four tokens times eight weight rows. */
import { madd } from "../simd.inline.as";

/** Columns of a packed block: a panel of DEPTH × 8 floats (8 KiB) stays in the L1 cache. */
// @ts-ignore: decorator
@inline
export const DEPTH: i32 = 256;

/** Stores the transpose of four vectors at to, to + stride, … */
// @ts-ignore: decorator
@inline
export function storeTransposed(v0: v128, v1: v128, v2: v128, v3: v128, to: usize, stride: usize): void {
  const low01 = v128.shuffle<i32>(v0, v1, 0, 4, 1, 5);
  const high01 = v128.shuffle<i32>(v0, v1, 2, 6, 3, 7);
  const low23 = v128.shuffle<i32>(v2, v3, 0, 4, 1, 5);
  const high23 = v128.shuffle<i32>(v2, v3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(low01, low23, 0, 2));
  v128.store(to + stride, v128.shuffle<i64>(low01, low23, 1, 3));
  v128.store(to + 2 * stride, v128.shuffle<i64>(high01, high23, 0, 2));
  v128.store(to + 3 * stride, v128.shuffle<i64>(high01, high23, 1, 3));
}

/**
 * sums (4 tokens × 8 rows, contiguous) = [sums +] tokens · panel over `depth` columns.
 *
 * The loop is deliberately not unrolled. V8 11 keeps loads in program order but places the arithmetic as late as it can, so
 * that every load of a basic block is live at once: 8 sums + 6 loads fit the 15 usable vector registers of x86-64; two steps
 * would spill.
 */
export function multiplyTile(depth: i32, tokens: usize, panel: usize, sums: usize, isFirst: bool): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00;
  let c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  const stop = tokens + ((<usize>depth) << 4);
  while (tokens < stop) {
    const b0 = v128.load(panel);
    const b1 = v128.load(panel, 16);
    const a0 = v128.load_splat<f32>(tokens);
    c00 = madd(a0, b0, c00);
    c01 = madd(a0, b1, c01);
    const a1 = v128.load_splat<f32>(tokens, 4);
    c10 = madd(a1, b0, c10);
    c11 = madd(a1, b1, c11);
    const a2 = v128.load_splat<f32>(tokens, 8);
    c20 = madd(a2, b0, c20);
    c21 = madd(a2, b1, c21);
    const a3 = v128.load_splat<f32>(tokens, 12);
    c30 = madd(a3, b0, c30);
    c31 = madd(a3, b1, c31);
    tokens += 16;
    panel += 32;
  }
  if (!isFirst) {
    c00 = f32x4.add(c00, v128.load(sums));
    c01 = f32x4.add(c01, v128.load(sums, 16));
    c10 = f32x4.add(c10, v128.load(sums, 32));
    c11 = f32x4.add(c11, v128.load(sums, 48));
    c20 = f32x4.add(c20, v128.load(sums, 64));
    c21 = f32x4.add(c21, v128.load(sums, 80));
    c30 = f32x4.add(c30, v128.load(sums, 96));
    c31 = f32x4.add(c31, v128.load(sums, 112));
  }
  v128.store(sums, c00);
  v128.store(sums, c01, 16);
  v128.store(sums, c10, 32);
  v128.store(sums, c11, 48);
  v128.store(sums, c20, 64);
  v128.store(sums, c21, 80);
  v128.store(sums, c30, 96);
  v128.store(sums, c31, 112);
}
