/**
 * What stands before the experts, in one launch: the norm of a token's row, the router's product, the choice of experts.
 *
 * A workgroup takes one token. Its row is short enough to stay in workgroup memory; subgroups compute the logits of one
 * expert after the other; then the routing of ../route-experts/route-experts.wgsl.ts.
 *
 * Small routers are walked by every workgroup that needs the choice, instead of waiting for a launch: `normRouteGateKernel`
 * goes on to the first product of the chosen experts, h[pair, i] = SiLU(W1 n) · (W3 n), a few outputs of each choice a
 * workgroup. The first workgroup of a token stores what others read later.
 */
import { params } from "../../device/index.js";
import { activationWgsl } from "../matmul/epilogue.wgsl.js";
import type { WeightKind } from "../matmul/weight-matrix.js";
import { hasScales, weightAccess, weightDecoding, weightParams } from "../matmul/weights/load.wgsl.js";
import { routeTokenWgsl, storeRouteWgsl } from "../route-experts/route-experts.wgsl.js";

/** Channels of a row, a multiple of 32. */
export const MAX_ROUTED_CHANNELS = 2048;
export const MAX_ROUTED_EXPERTS = 64;
export const NORM_ROUTE_WORKGROUP = 256;

export const normRouteParams = params({
  ...weightParams,
  inputs: "u32",
  experts: "u32",
  topK: "u32",
  normalise: "u32",
  eps: "f32",
  /** In which the workgroup's subgroups take the experts. */
  rounds: "u32",
});

/** Buffers: x, the norm's weight, codes and scales of the router, normed rows, experts, weights. Grid: tokens. */
export const normRouteKernel = (kind: WeightKind): string => {
  const results = hasScales(kind) ? 5 : 4;
  return /* wgsl */ `
enable subgroups;
${normRouteParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;                                  // [T, H]
@group(0) @binding(2) var<storage, read> gain: array<vec4f>;                               // [H]
${weightDecoding(kind)}
${weightAccess({ kind, name: "W", codes: 3, scales: 4 })}
@group(0) @binding(${results}) var<storage, read_write> normed: array<vec4f>;              // [T, H]
@group(0) @binding(${results + 1}) var<storage, read_write> experts: array<u32>;           // [T, k]
@group(0) @binding(${results + 2}) var<storage, read_write> weights: array<f32>;           // [T, k]
const WORKGROUP = ${NORM_ROUTE_WORKGROUP}u;
var<workgroup> row: array<vec4f, ${MAX_ROUTED_CHANNELS / 4}>;
var<workgroup> partial: array<f32, WORKGROUP / 4u>;   // subgroups have at least 4 lanes
var<workgroup> logits: array<f32, ${MAX_ROUTED_EXPERTS}>;
var<workgroup> chosen: array<u32, ${MAX_ROUTED_EXPERTS}>;
${storeRouteWgsl}
${routeTokenWgsl}
fn putNormed(at: u32, value: vec4f) { normed[at] = value; }

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_size) size: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let token = group.x;
${normRow}
${routerLogits("dot(loadW4(expert, quad), row[quad])")}
  routeToken(token, thread);
}`;
};

/** The row of `token` normed, in workgroup memory and through `putNormed`. */
const normRow = /* wgsl */ `
  let quads = p.inputs / 4u;
  var squares = 0.0;
  for (var quad = thread; quad < quads; quad += WORKGROUP) {
    let value = x[token * quads + quad];
    row[quad] = value;
    squares += dot(value, value);
  }
  let ours = subgroupAdd(squares);
  if (lane == 0u) { partial[subgroup] = ours; }
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < WORKGROUP / size; i++) { sum += partial[i]; }
  let scale = inverseSqrt(sum / f32(p.inputs) + p.eps);
  for (var quad = thread; quad < quads; quad += WORKGROUP) {
    let value = row[quad] * scale * gain[quad];
    row[quad] = value;
    putNormed(token * quads + quad, value);
  }
  workgroupBarrier();`;

/** The logits of all experts; `product`: of expert and quad with the row. */
const routerLogits = (product: string): string => /* wgsl */ `
  for (var round = 0u; round < p.rounds; round++) {
    let expert = round * (WORKGROUP / size) + subgroup;
    // A subgroup without an expert keeps the others company, with nothing to walk.
    let length = select(0u, quads, expert < p.experts);
    var product = 0.0;
    for (var quad = lane; quad < length; quad += size) { product += ${product}; }
    let logit = subgroupAdd(product);
    if (lane == 0u && expert < p.experts) {
      logits[expert] = logit;
      chosen[expert] = expert;
    }
  }`;

export const normRouteGateParams = params({
  ...normRouteParams.fields,
  /** I; outputs of a workgroup for each choice; rounds in which its subgroups take them. */
  outputs: "u32",
  groupOutputs: "u32",
  gateRounds: "u32",
});

/** Storage buffers of a launch of `normRouteGateKernel`. */
export function normRouteGateBindings(kind: WeightKind): number {
  return hasScales(kind) ? 9 : 8;
}

/**
 * Buffers: x, the norm's weight, the router (f32), codes and scales of W1 and W3, normed rows, experts, weights, h [T k, I].
 * Grid: blocks of outputs; tokens. `kind`: of the experts.
 */
export const normRouteGateKernel = (kind: WeightKind): string => {
  const results = hasScales(kind) ? 6 : 5;
  return /* wgsl */ `
enable subgroups;
${normRouteGateParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;                                  // [T, H]
@group(0) @binding(2) var<storage, read> gain: array<vec4f>;                               // [H]
@group(0) @binding(3) var<storage, read> router: array<vec4f>;                             // [E, H]
${weightDecoding(kind)}
${weightAccess({ kind, name: "W", codes: 4, scales: 5 })}
@group(0) @binding(${results}) var<storage, read_write> normed: array<vec4f>;              // [T, H]
@group(0) @binding(${results + 1}) var<storage, read_write> experts: array<u32>;           // [T, k]
@group(0) @binding(${results + 2}) var<storage, read_write> weights: array<f32>;           // [T, k]
@group(0) @binding(${results + 3}) var<storage, read_write> inner: array<f32>;             // [T k, I]
const WORKGROUP = ${NORM_ROUTE_WORKGROUP}u;
var<workgroup> row: array<vec4f, ${MAX_ROUTED_CHANNELS / 4}>;
var<workgroup> partial: array<f32, WORKGROUP / 4u>;   // subgroups have at least 4 lanes
var<workgroup> logits: array<f32, ${MAX_ROUTED_EXPERTS}>;
var<workgroup> chosen: array<u32, ${MAX_ROUTED_EXPERTS}>;
var<private> isFirst: bool;
${activationWgsl.silu}
${routeTokenWgsl}
fn putRoute(at: u32, expert: u32, weight: f32) {
  if (isFirst) {
    experts[at] = expert;
    weights[at] = weight;
  }
}
fn putNormed(at: u32, value: vec4f) {
  if (isFirst) { normed[at] = value; }
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_size) size: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let token = group.y;
  isFirst = group.x == 0u;
${normRow}
${routerLogits("dot(router[expert * quads + quad], row[quad])")}
  routeToken(token, thread);
  for (var round = 0u; round < p.gateRounds; round++) {
    let item = round * (WORKGROUP / size) + subgroup;
    let choice = item % p.topK;
    let output = group.x * p.groupOutputs + item / p.topK;
    let works = item < p.groupOutputs * p.topK && output < p.outputs;
    let length = select(0u, quads, works);
    let gateRow = chosen[choice] * 2u * p.outputs + min(output, p.outputs - 1u);
    var z = 0.0;
    var up = 0.0;
    for (var quad = lane; quad < length; quad += size) {
      let x4 = row[quad];
      z += dot(loadW4(gateRow, quad), x4);
      up += dot(loadW4(gateRow + p.outputs, quad), x4);
    }
    let gateSum = subgroupAdd(z);
    let upSum = subgroupAdd(up);
    if (lane == 0u && works) { inner[(token * p.topK + choice) * p.outputs + output] = activate(gateSum) * upSum; }
  }
}`;
};
