/**
 * Matrix units for devices that have none, so that kernels for them can be checked where no GPU is: their text is rewritten to plain
 * WGSL. Subgroups of 32 become parts of the workgroup; fragments are arrays, whose numbers the lanes of a part share. Slow, and right only for
 * kernels over src/ops/causal-attention/tile-matrices.wgsl.ts, whose names it knows.
 */
import type { WebGpuDevice, WebGpuKernel, WebGpuLaunch } from "../src/device/index.js";
import { empty } from "../src/tensor/index.js";

/** The same device, as one with 16 × 16 × 16 units for halves. */
export function withEmulatedMatrices(device: WebGpuDevice): WebGpuDevice {
  const kernels = new Map<string, WebGpuKernel>();
  const run = (kernel: WebGpuKernel, launch: WebGpuLaunch): void => {
    if (!kernel.code.includes("chromium_experimental_subgroup_matrix")) {
      device.run(kernel, launch);
      return;
    }
    let emulated = kernels.get(kernel.label);
    if (!emulated) {
      emulated = { label: `${kernel.label} emulated`, code: emulate(kernel.code) };
      kernels.set(kernel.label, emulated);
    }
    const groups = launch.grid.reduce<number>((product, n) => product * (n ?? 1), 1);
    using strips = empty(device, [groups * 16 * stripVectors(kernel.code)]);
    device.run(emulated, { ...launch, buffers: [...launch.buffers, strips] });
  };
  return new Proxy(device, {
    get(target, name) {
      if (name === "run") return run;
      if (name === "limits") return { ...target.limits, maxWorkgroupStorageBytes: 49_152 };
      if (name === "features") {
        const subgroupMatrix = [{ component: "f16", result: "f32", M: 16, N: 16, K: 16 }];
        return { ...target.features, f16: true, subgroups: true, subgroupSize: { min: 32, max: 32 }, subgroupMatrix };
      }
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

function stripVectors(code: string): number {
  return Number(/strips: array<array<vec4u, (\d+)>/.exec(code)?.[1]);
}

function emulate(code: string): string {
  const bindings = [...code.matchAll(/@binding\((\d+)\)/g)].map((match) => Number(match[1]));
  const replaced = code
    .replace(/^[\s\S]*?diagnostic\([^)]*\);/, "")
    .replace(/alias Left.*\n/, "alias Left = array<f32, 16>;   // of the lane's row\n")
    .replace(/alias Right.*\n/, "struct Right { block: u32, first: u32, stride: u32, isColumn: bool }\n")
    .replace(/alias Sums.*\n/, "alias Sums = array<f32, 8>;    // half of the lane's row\n")
    // Workgroup memory is too small for both lines and strips.
    .replace(
      /var<workgroup> strips:.*\n/,
      `@group(0) @binding(${Math.max(...bindings) + 1}) var<storage, read_write> strips: array<vec4u>;
var<private> firstOfStrip: u32;
var<private> lane_: u32;
var<private> thread_: u32;
var<workgroup> exchange: array<f32, 128>;\n`,
    )
    .replaceAll("strips[subgroup][", "strips[firstOfStrip + ")
    .replace(/@builtin\(subgroup_id\) subgroup: u32, @builtin\(subgroup_invocation_id\) lane: u32,/, "")
    .replace(
      /(fn main\([\s\S]*?\)\s*\{)/,
      `$1
  let subgroup = thread / 32u;
  let lane = thread % 32u;
  lane_ = lane;
  thread_ = thread;
  firstOfStrip = (((group.z * groups.y + group.y) * groups.x + group.x) * 4u + subgroup) * ${stripVectors(code)}u;`,
    )
    .replace(/subgroupMatrixLoad<Left, row_major>\(&lines\[(\d)u\],/g, "leftOfLines($1u,")
    .replace(/subgroupMatrixLoad<Left, row_major>\(&strips\[subgroup\],/g, "leftOfStrip(")
    .replace(/subgroupMatrixLoad<Right, col_major>\(&lines\[(\d)u\],([^,]+), STRIDE\)/g, "Right($1u,$2, STRIDE, true)")
    .replace(/subgroupMatrixLoad<Right, row_major>\(&lines\[(\d)u\],([^,]+), STRIDE\)/g, "Right($1u,$2, STRIDE, false)")
    .replaceAll("subgroupMatrixMultiplyAccumulate", "multiplied")
    .replace(/subgroupMatrixStore<row_major>\(&strips\[subgroup\],/g, "storeSums(")
    .replaceAll("subgroupMatrixScalarMultiply", "timesScalar")
    .replace(/subgroupShuffleXor\(([^,]+), 1u\)/g, "ofNeighbour($1)")
    .replaceAll("subgroupMax(", "largestOf(")
    .replaceAll("workgroupBarrier();", "storageBarrier(); workgroupBarrier();");
  return `${replaced}
fn half_(octet: vec4u, i: u32) -> f32 {
  let two = unpack2x16float(octet[i / 2u]);
  return select(two.x, two.y, i % 2u == 1u);
}
fn ofLines(block: u32, i: u32) -> f32 { return half_(lines[block][i / 8u], i % 8u); }
fn leftOfLines(block: u32, first: u32, stride: u32) -> Left {
  var a: Left;
  for (var k = 0u; k < 16u; k++) { a[k] = ofLines(block, (first + lane_ / 2u * stride) * 8u + k); }
  return a;
}
fn leftOfStrip(first: u32, stride: u32) -> Left {
  var a: Left;
  for (var k = 0u; k < 16u; k++) { a[k] = half_(strips[firstOfStrip + first + lane_ / 2u * stride + k / 8u], k % 8u); }
  return a;
}
fn multiplied(a: Left, b: Right, sums: Sums) -> Sums {
  var result = sums;
  for (var c = 0u; c < 8u; c++) {
    let column = lane_ % 2u * 8u + c;
    for (var k = 0u; k < 16u; k++) {
      let at = select(k * b.stride * 8u + column, column * b.stride * 8u + k, b.isColumn);
      result[c] += a[k] * ofLines(b.block, b.first * 8u + at);
    }
  }
  return result;
}
fn storeSums(first: u32, s: Sums, stride: u32) {
  let at = firstOfStrip + first + lane_ / 2u * stride + lane_ % 2u * 2u;
  strips[at] = bitcast<vec4u>(vec4f(s[0], s[1], s[2], s[3]));
  strips[at + 1u] = bitcast<vec4u>(vec4f(s[4], s[5], s[6], s[7]));
}
fn timesScalar(s: Sums, factor: f32) -> Sums {
  var result = s;
  for (var c = 0u; c < 8u; c++) { result[c] *= factor; }
  return result;
}
fn ofNeighbour(x: f32) -> f32 {
  exchange[thread_] = x;
  workgroupBarrier();
  let y = exchange[thread_ ^ 1u];
  workgroupBarrier();
  return y;
}
fn largestOf(x: f32) -> f32 {
  exchange[thread_] = x;
  workgroupBarrier();
  var y = x;
  for (var i = 0u; i < 32u; i++) { y = max(y, exchange[thread_ / 32u * 32u + i]); }
  workgroupBarrier();
  return y;
}`;
}
