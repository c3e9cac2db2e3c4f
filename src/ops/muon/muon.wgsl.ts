/** Muon's own kernels on WebGPU; the products are `matmul`'s. */
import { params, type WebGpuKernel } from "../../device/index.js";

export const muonParams = params({ size: "u32", first: "u32", keep: "f32", rate: "f32", loss: "f32" });

/** Numbers of a workgroup. */
const BLOCK = 4096;
const LANES = 128;

const names = ["momentum", "normalise", "apply"] as const;
export type MuonKernelName = (typeof names)[number];

const bindings: Readonly<Record<MuonKernelName, readonly string[]>> = {
  momentum: [
    "var<storage, read> g: array<f32>",
    "var<storage, read> record: array<f32>",
    "var<storage, read_write> kept: array<f32>",
    "var<storage, read_write> direction: array<f32>",
  ],
  normalise: ["var<storage, read> direction: array<f32>", "var<storage, read_write> x: array<f32>"],
  apply: [
    "var<storage, read> x: array<f32>",
    "var<storage, read> record: array<f32>",
    "var<storage, read_write> w: array<f32>",
  ],
};

/** What a number of a block is made into. */
const bodies = {
  momentum: `
    if (isGood) {
      let d = record[1] * g[i];
      let m = p.keep * kept[i] + d;
      kept[i] = m;
      direction[i] = d + p.keep * m;
    } else { direction[i] = 0.0; }`,
  apply: `
    if (isGood) {
      let before = w[p.first + i];
      w[p.first + i] = before - (p.rate * x[i] + p.loss * before);
    }`,
} as const;

const elementwise = (name: "momentum" | "apply") => /* wgsl */ `
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let isGood = record[2] != 0.0;
  let first = (group.y * groups.x + group.x) * ${BLOCK}u;
  for (var i = first + lane; i < min(first + ${BLOCK}u, p.size); i += ${LANES}u) {${bodies[name]}
  }
}`;

// One workgroup: the matrix is read twice, and no other launch has to wait for a norm.
const normalise = /* wgsl */ `
var<workgroup> sums: array<f32, 256>;
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  var most = 0.0;
  for (var i = lane; i < p.size; i += 256u) { most = max(most, abs(direction[p.first + i])); }
  sums[lane] = most;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half /= 2u) {
    if (lane < half) { sums[lane] = max(sums[lane], sums[lane + half]); }
    workgroupBarrier();
  }
  // Relative to the largest: squares of small gradients would vanish.
  let unit = select(sums[0], 1.0, sums[0] == 0.0);
  workgroupBarrier();
  var sum = 0.0;
  for (var i = lane; i < p.size; i += 256u) {
    let u = direction[p.first + i] / unit;
    sum += u * u;
  }
  sums[lane] = sum;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half /= 2u) {
    if (lane < half) { sums[lane] += sums[lane + half]; }
    workgroupBarrier();
  }
  let norm = max(1e-7, sqrt(sums[0]));  // at least 1, or all are zero
  for (var i = lane; i < p.size; i += 256u) { x[i] = direction[p.first + i] / unit / norm; }
}`;

const kernels = Object.fromEntries(
  names.map((name): [string, WebGpuKernel] => [
    name,
    {
      label: `muon ${name}`,
      code: /* wgsl */ `
${muonParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${bindings[name].map((text, i) => `@group(0) @binding(${i + 1}) ${text};`).join("\n")}
${name === "normalise" ? normalise : elementwise(name)}`,
    },
  ]),
);

export function muonKernel(name: MuonKernelName): WebGpuKernel {
  return kernels[name] as WebGpuKernel; // made above for every name
}

export const muonVariants = (): WebGpuKernel[] => names.map(muonKernel);
