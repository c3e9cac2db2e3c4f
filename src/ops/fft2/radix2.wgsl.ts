/** Fourier transforms of lines on WebGPU: a workgroup a line, in its memory, radix 2. */
import { params } from "../../device/index.js";

export const radix2Params = params({
  lines: "u32",
  inner: "u32",
  outer: "u32",
  step: "u32",
  centred: "u32",
  scale: "f32",
  /** 1 forward, −1 inverse. */
  direction: "f32",
});

export const radix2Kernel = (length: number): string => /* wgsl */ `
${radix2Params.wgsl}
const N = ${length}u;
const LOG = ${Math.log2(length)}u;
const WORKGROUP = ${Math.min(256, Math.max(32, length / 2))}u;
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec2f>;
@group(0) @binding(2) var<storage, read> twiddles: array<vec2f>;    // [N / 2]: exp(−2πi j / N)
@group(0) @binding(3) var<storage, read_write> y: array<vec2f>;
var<workgroup> line: array<vec2f, N>;

fn turned(value: vec2f, n: u32) -> vec2f { return select(value, -value, (n & p.centred) == 1u); }

@compute @workgroup_size(WORKGROUP)   // lines are folded over the grid's x and y
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let l = group.y * groups.x + group.x;
  if (l >= p.lines) { return; }
  let first = l / p.inner * p.outer + l % p.inner;
  for (var i = lane; i < N; i += WORKGROUP) {
    let n = reverseBits(i) >> (32u - LOG);
    line[i] = turned(x[first + n * p.step], n);
  }
  for (var stage = 0u; stage < LOG; stage++) {
    workgroupBarrier();
    let half = 1u << stage;
    for (var t = lane; t < N / 2u; t += WORKGROUP) {
      let j = t & (half - 1u);
      let i = ((t >> stage) << (stage + 1u)) + j;
      let w = twiddles[j << (LOG - 1u - stage)] * vec2f(1.0, p.direction);
      let a = line[i];
      let b = line[i + half];
      let c = vec2f(w.x * b.x - w.y * b.y, w.x * b.y + w.y * b.x);
      line[i] = a + c;
      line[i + half] = a - c;
    }
  }
  workgroupBarrier();
  for (var k = lane; k < N; k += WORKGROUP) { y[first + k * p.step] = p.scale * turned(line[k], k); }
}`;
