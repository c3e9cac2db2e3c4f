/** The roof of arithmetic on a GPU: float32 multiply-adds on registers alone, eight chains of four lanes an invocation. */

export interface PeakVariant {
  readonly steps: number;
}

/** Invocations of a workgroup. */
export const PEAK_WORKGROUP = 256;
/** Multiply-adds of an invocation in one step. */
export const PEAK_MULTIPLY_ADDS = 32;

export const peakKernel = (v: PeakVariant): string => /* wgsl */ `
@group(0) @binding(1) var<storage, read> factors: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec4f>;   // one a workgroup

@compute @workgroup_size(${PEAK_WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let x = factors[0];
  let y = factors[1];
  var a = vec4f(f32(lane));
  var b = a + x;
  var c = b + x;
  var d = c + x;
  var e = d + x;
  var f = e + x;
  var g = f + x;
  var h = g + x;
  for (var step = 0u; step < ${v.steps}u; step++) {
    a = fma(a, x, y);
    b = fma(b, x, y);
    c = fma(c, x, y);
    d = fma(d, x, y);
    e = fma(e, x, y);
    f = fma(f, x, y);
    g = fma(g, x, y);
    h = fma(h, x, y);
  }
  let sum = a + b + c + d + e + f + g + h;
  // The first half is hardly ever true, which the compiler cannot know: every lane must compute.
  if (sum.x == 12345.0 || lane == 0u) { sums[group.x] = sum; }
}`;
