/** Weights of any kind widened to float32, or rounded to halves: for gradients, whose products want them by columns. */
import { params } from "../../../device/index.js";
import type { WeightKind } from "../weight-matrix.js";
import { hasScales, weightAccess, weightDecoding, weightParams } from "./load.wgsl.js";

export const widenParams = params({
  ...weightParams,
  rows: "u32",
  /** Of eight stored columns, and of eight columns of the result, which is filled up with zeros. */
  octets: "u32",
  outOctets: "u32",
});

export const WIDEN_WORKGROUP = 64;

export interface WidenVariant {
  readonly kind: WeightKind;
  readonly to: "f32" | "halves";
}

/** Buffers: codes, scales (int8, int4), result. Grid: octets; rows. */
export const widenKernel = ({ kind, to }: WidenVariant): string => /* wgsl */ `
${widenParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${weightDecoding(kind)}
${weightAccess({ kind, name: "W", codes: 1, scales: 2 })}
@group(0) @binding(${hasScales(kind) ? 3 : 2}) var<storage, read_write> out: array<${to === "f32" ? "vec4f" : "vec4u"}>;

@compute @workgroup_size(${WIDEN_WORKGROUP})
fn main(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = at.z * groups.y + at.y;
  if (row >= p.rows || at.x >= p.outOctets) { return; }
  var octet = mat2x4f();
  if (at.x < p.octets) { octet = loadW8(row, at.x); }
  let to = row * p.outOctets + at.x;
${
  to === "f32"
    ? `  out[2u * to] = octet[0];
  out[2u * to + 1u] = octet[1];`
    : `  out[to] = vec4u(pack2x16float(octet[0].xy), pack2x16float(octet[0].zw), pack2x16float(octet[1].xy), pack2x16float(octet[1].zw));`
}
}`;

export function widenLabel({ kind, to }: WidenVariant): string {
  return `matmul widen ${kind} to ${to}`;
}
