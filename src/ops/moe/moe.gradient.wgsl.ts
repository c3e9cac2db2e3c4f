/**
 * The gradient of the weighted sum of experts on WebGPU (moe.gradient.ts), apart from its products, which are those of
 * ../matmul/contraction over places.
 *
 *   places    each expert's places begin at a multiple of a tile: pairs at places, places of pairs, experts of tiles
 *   gather    rows of x or dy in the order of places, zeros where no pair is; as numbers or halves
 *   inner     from gates, ups and dA of a place: gradients of gates and ups, w · a, and the gradient of the pair's weight
 *   scatter   dx[t] = Σ over the token's pairs of what their places hold
 */
import { params, type WebGpuKernel } from "../../device/index.js";
import { type HalvesEdge, packGradientQuad, packQuad } from "../matmul/gemm-subgroup-matrix.wgsl.js";
import { quadX, type XLoad } from "../matmul/matmul.wgsl.js";

export const PLACES_WORKGROUP = 64;
export const placesParams = params({ experts: "u32", unit: "u32", places: "u32" });

export const placesKernel: WebGpuKernel = {
  label: "moe gradient places",
  code: /* wgsl */ `
${placesParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> order: array<u32>;              // [T k]: pairs by expert
@group(0) @binding(2) var<storage, read> starts: array<u32>;             // [E + 1]: in that order
@group(0) @binding(3) var<storage, read_write> pairOf: array<u32>;       // [places]
@group(0) @binding(4) var<storage, read_write> placeOf: array<u32>;      // [T k]
@group(0) @binding(5) var<storage, read_write> firstPlaces: array<u32>;  // [E + 1]
@group(0) @binding(6) var<storage, read_write> tiles: array<u32>;        // [places / unit]: expert, E where there is none

@compute @workgroup_size(${PLACES_WORKGROUP})   // a thread a place, and one an expert
fn main(@builtin(global_invocation_id) at: vec3u) {
  let place = at.x;
  var first = 0u;
  var expert = p.experts;
  var pair = 0xffffffffu;
  for (var e = 0u; e < p.experts; e++) {
    if (e == place) { firstPlaces[e] = first; }
    let count = starts[e + 1u] - starts[e];
    let next = first + (count + p.unit - 1u) / p.unit * p.unit;
    if (place >= first && place < next) {
      expert = e;
      if (place - first < count) { pair = order[starts[e] + place - first]; }
    }
    first = next;
  }
  if (place == p.experts) { firstPlaces[place] = first; }
  if (place >= p.places) { return; }
  pairOf[place] = pair;
  if (pair != 0xffffffffu) { placeOf[pair] = place; }
  if (place % p.unit == 0u) { tiles[place / p.unit] = expert; }
}`,
};

export interface GatherVariant {
  readonly x: XLoad;
  readonly to: "f32" | "halves";
  readonly edge: HalvesEdge;
}

export const gatherParams = params({ inputs: "u32", outOctets: "u32", places: "u32", topK: "u32" });
export const GATHER_WORKGROUP = 64;

/** Grid: octets; places. */
export const gatherKernel = ({ x, to, edge }: GatherVariant): string => /* wgsl */ `
${gatherParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${quadX[x]}
@group(0) @binding(2) var<storage, read> pairOf: array<u32>;             // [places]
@group(0) @binding(3) var<storage, read_write> out: array<${to === "f32" ? "vec4f" : "vec4u"}>;
${to === "f32" ? "" : edge === "held" ? packQuad(false) : packGradientQuad("packQuad")}

@compute @workgroup_size(${GATHER_WORKGROUP})
fn main(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let place = at.z * groups.y + at.y;
  if (place >= p.places || at.x >= p.outOctets) { return; }
  let pair = pairOf[place];
  var low = vec4f();
  var high = vec4f();
  if (pair != 0xffffffffu && 8u * at.x < p.inputs) {
    low = quadX(pair / p.topK, 2u * at.x);
    if (8u * at.x + 4u < p.inputs) { high = quadX(pair / p.topK, 2u * at.x + 1u); }
  }
  let to = place * p.outOctets + at.x;
${
  to === "f32"
    ? `  out[2u * to] = low;
  out[2u * to + 1u] = high;`
    : "  out[to] = vec4u(packQuad(low), packQuad(high));"
}
}`;

export function gatherLabel({ x, to, edge }: GatherVariant): string {
  return `moe gradient gather ${x} to ${to}${edge === "held" ? "" : " of gradients"}`;
}

export const innerParams = params({
  I: "u32",
  places: "u32",
  /** Quads of a row of the two results, halves: filled up with zeros. */
  hiddenQuads: "u32",
  innerQuads: "u32",
});

/** Buffers: hidden [places, 2 I], dA [places, I], weights, pairOf, dHidden, inner (w · a), dWeights. A workgroup a place. */
export const innerKernel = (to: "f32" | "halves"): string => {
  const halves = to === "halves";
  return /* wgsl */ `
${innerParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> hidden: array<f32>;
@group(0) @binding(2) var<storage, read> dA: array<f32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;              // [T k]
@group(0) @binding(4) var<storage, read> pairOf: array<u32>;
@group(0) @binding(5) var<storage, read_write> dHidden: array<${halves ? "vec2u" : "f32"}>;
@group(0) @binding(6) var<storage, read_write> inner: array<${halves ? "vec2u" : "f32"}>;
@group(0) @binding(7) var<storage, read_write> dWeights: array<f32>;       // [T k]
const WORKGROUP = 64u;
var<workgroup> partial: array<f32, WORKGROUP>;
${halves ? packQuad(false) + packGradientQuad("packGradient") : ""}
fn four(at: u32) -> vec4f { return vec4f(hidden[at], hidden[at + 1u], hidden[at + 2u], hidden[at + 3u]); }

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let place = group.y * groups.x + group.x;
  if (place >= p.places) { return; }
  let pair = pairOf[place];
  let isEmpty = pair == 0xffffffffu;
  var weight = 0.0;
  if (!isEmpty) { weight = weights[pair]; }
  var mine = 0.0;
${halves ? innerQuads : innerNumbers}
  if (isEmpty) { return; }
  partial[lane] = mine;
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] += partial[lane + half]; }
  }
  if (lane == 0u) { dWeights[pair] = partial[0]; }
}`;
};

const innerNumbers = /* wgsl */ `
  for (var i = lane; i < p.I; i += WORKGROUP) {
    let at = place * 2u * p.I + i;
    var dGate = 0.0;
    var dUp = 0.0;
    var a = 0.0;
    if (!isEmpty) {
      let gate = hidden[at];
      let up = hidden[at + p.I];
      let slope = dA[place * p.I + i];
      let s = 1.0 / (1.0 + exp(min(-gate, 88.0)));
      a = gate * s * up;
      mine += a * slope;
      dGate = weight * slope * up * s * (1.0 + gate * (1.0 - s));
      dUp = weight * slope * gate * s;
    }
    dHidden[at] = dGate;
    dHidden[at + p.I] = dUp;
    inner[place * p.I + i] = weight * a;
  }`;

// Only where I is a multiple of 8.
const innerQuads = /* wgsl */ `
  let quads = p.I / 4u;
  for (var i = lane; i < quads; i += WORKGROUP) {
    var dGate = vec4f();
    var dUp = vec4f();
    var a = vec4f();
    if (!isEmpty) {
      let gate = four(place * 2u * p.I + 4u * i);
      let up = four(place * 2u * p.I + p.I + 4u * i);
      let at = place * p.I + 4u * i;
      let slope = vec4f(dA[at], dA[at + 1u], dA[at + 2u], dA[at + 3u]);
      let s = 1.0 / (1.0 + exp(min(-gate, vec4f(88.0))));
      a = gate * s * up;
      mine += dot(a, slope);
      dGate = weight * slope * up * s * (1.0 + gate * (1.0 - s));
      dUp = weight * slope * gate * s;
    }
    dHidden[place * p.hiddenQuads + i] = packGradient(dGate);
    dHidden[place * p.hiddenQuads + quads + i] = packGradient(dUp);
    inner[place * p.innerQuads + i] = packQuad(weight * a);
  }
  for (var i = 2u * quads + lane; i < p.hiddenQuads; i += WORKGROUP) { dHidden[place * p.hiddenQuads + i] = vec2u(); }
  for (var i = quads + lane; i < p.innerQuads; i += WORKGROUP) { inner[place * p.innerQuads + i] = vec2u(); }`;

export const innerLabel = (to: "f32" | "halves"): string => `moe gradient inner ${to}`;

export const scatterParams = params({ tokens: "u32", channels: "u32", topK: "u32" });
export const SCATTER_WORKGROUP = 64;

/** `quads`: channels are a multiple of four, and counted by four. */
export const scatterKernel = (quads: boolean): string => /* wgsl */ `
${scatterParams.wgsl}
alias Store = ${quads ? "vec4f" : "f32"};
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> atPlaces: array<Store>;         // [places, channels]
@group(0) @binding(2) var<storage, read> placeOf: array<u32>;            // [T k]
@group(0) @binding(3) var<storage, read_write> dx: array<Store>;         // [T, channels]

@compute @workgroup_size(${SCATTER_WORKGROUP})   // x: channels; y: token; z: tokens beyond the grid's limit
fn main(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let token = at.z * groups.y + at.y;
  if (token >= p.tokens || at.x >= p.channels) { return; }
  var sum = Store();
  for (var pair = token * p.topK; pair < (token + 1u) * p.topK; pair++) {
    sum += atPlaces[placeOf[pair] * p.channels + at.x];
  }
  dx[token * p.channels + at.x] = sum;
}`;

export const scatterLabel = (quads: boolean): string => `moe gradient scatter${quads ? "" : " scalars"}`;

export function moeGradientVariants(): WebGpuKernel[] {
  const found = [placesKernel];
  for (const quads of [true, false]) found.push({ label: scatterLabel(quads), code: scatterKernel(quads) });
  for (const x of ["whole", "quads", "scalars"] as const) {
    for (const [to, edge] of [
      ["f32", "held"],
      ["halves", "held"],
      ["halves", "not finite"],
    ] as const) {
      found.push({ label: gatherLabel({ x, to, edge }), code: gatherKernel({ x, to, edge }) });
    }
  }
  for (const to of ["f32", "halves"] as const) found.push({ label: innerLabel(to), code: innerKernel(to) });
  return found;
}
