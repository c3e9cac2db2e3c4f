/** WebGPU kernel of fwht, and the transform as a snippet for kernels that have rows in workgroup memory. */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";

export interface HadamardSnippet {
  /** Of the function: `fn NAME(base: u32, lane: u32, channels: u32)`, for `channels` numbers (0: none) from `base` on. */
  readonly name: string;
  /** A workgroup array of f32. */
  readonly array: string;
  /** Of a block: a power of two that divides the channels. */
  readonly width: number;
  /** Lanes 0 … lanes − 1 work on one row together. */
  readonly lanes: number;
}

/**
 * The transform in place, up to three stages between two barriers. All lanes of the workgroup must call it, after what is in
 * the array has been made visible; it ends with a barrier. The order of additions is the format's: see fwht.ts.
 */
export function hadamardSnippet(o: HadamardSnippet): string {
  const passes: string[] = [];
  for (let h = 1; h < o.width; ) {
    const radix = Math.min(o.width / h, 8);
    passes.push(pass(o, h, radix, h * radix === o.width));
    h *= radix;
  }
  return /* wgsl */ `
fn ${o.name}(base: u32, lane: u32, channels: u32) {
${passes.join("\n")}
}`;
}

function pass(o: HadamardSnippet, h: number, radix: number, isLast: boolean): string {
  const names = Array.from({ length: radix }, (_, i) => `a${i}`);
  let lines = names.map((name, i) => `var ${name} = ${o.array}[at + ${i * h}u];`);
  for (let step = 1; step < radix; step *= 2) {
    for (let i = 0; i < radix; i += 1) {
      if (i & step) continue;
      lines.push(
        `let s${step}_${i} = a${i} + a${i + step}; a${i + step} = a${i} - a${i + step}; a${i} = s${step}_${i};`,
      );
    }
  }
  const scale = isLast ? ` * ${Math.fround(1 / Math.sqrt(o.width))}f` : "";
  lines = [...lines, ...names.map((name, i) => `${o.array}[at + ${i * h}u] = ${name}${scale};`)];
  return /* wgsl */ `
  for (var u = lane; u < channels / ${radix}u; u += ${o.lanes}u) {
    let at = base + u / ${h}u * ${h * radix}u + u % ${h}u;
    ${lines.join("\n    ")}
  }
  workgroupBarrier();`;
}

export const fwhtParams = params({ rows: "u32" });

export interface FwhtVariant {
  readonly channels: number;
  readonly width: number;
}

/** Buffers: x, y. A workgroup takes one row. */
export function fwhtKernel(v: FwhtVariant): WebGpuKernel {
  return {
    label: `fwht ${v.channels} in blocks of ${v.width}`,
    code: /* wgsl */ `
${fwhtParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;        // [rows, channels]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
var<workgroup> row: array<f32, ${v.channels}>;
${hadamardSnippet({ name: "hadamard", array: "row", width: v.width, lanes: 64 })}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32,
) {
  let index = group.x + group.y * groups.x;
  if (index >= p.rows) { return; }
  let start = index * ${v.channels}u;
  for (var c = lane; c < ${v.channels}u; c += 64u) { row[c] = x[start + c]; }
  workgroupBarrier();
  hadamard(0u, lane, ${v.channels}u);
  for (var c = lane; c < ${v.channels}u; c += 64u) { y[start + c] = row[c]; }
}`,
  };
}

/** One block, several, fewer channels than lanes, each number of stages in the last pass. */
export function fwhtVariants(): WebGpuKernel[] {
  return [
    { channels: 4, width: 4 },
    { channels: 6, width: 2 },
    { channels: 64, width: 64 },
    { channels: 80, width: 16 },
    { channels: 4096, width: 512 },
  ].map(fwhtKernel);
}
