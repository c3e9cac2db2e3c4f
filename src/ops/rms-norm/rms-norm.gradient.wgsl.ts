/**
 * The gradient of RMS normalisation on WebGPU: a workgroup takes a block of tokens, several at a time. x and dy are read once and
 * stay in registers; so do the sums of the weight's gradient, a row of which the workgroup leaves.
 */
import { params, type WebGpuKernel } from "../../device/index.js";
import { lines } from "../lightning-attention/lightning-attention.wgsl.js";

export const rmsNormGradientParams = params({ tokens: "u32", eps: "f32" });

const THREADS = 256;

/** Lanes of a token: at most eight quads each, as long as the workgroup is wide enough. */
const lanesOf = (channels: number): number => {
  const quads = Math.ceil(channels / 4);
  return [16, 32, 64, 128].find((lanes) => quads <= 8 * lanes) ?? THREADS;
};

/** Buffers: x, weight, dy, dx, sums [blocks, C]. Grid: blocks of `blockTokens`, folded over x and y. */
export function rmsNormGradientKernel(channels: number, blockTokens: number): WebGpuKernel {
  const lanes = lanesOf(channels);
  const quads = Array.from({ length: Math.ceil(channels / 4 / lanes) }, (_, i) => i);
  const each = (text: (i: number, c: string) => string) => quads.map((i) => text(i, `lane + ${i * lanes}u`)).join("\n");
  // Where the last quads of some lanes lie behind the row.
  const guard = (i: number, statement: string) =>
    (i + 1) * lanes * 4 <= channels ? statement : `if (lane + ${i * lanes}u < D4) { ${statement} }`;
  return {
    label: `rms-norm gradient C=${channels}`,
    code: /* wgsl */ `
${rmsNormGradientParams.wgsl}
const D = ${channels}u;
const D4 = ${Math.ceil(channels / 4)}u;
const LANES = ${lanes}u;
const AT_ONCE = ${THREADS / lanes}u;      // tokens
const BLOCK = ${blockTokens}u;
@group(0) @binding(0) var<uniform> p: Params;
${lines("x", 1, channels, "read")}                // [T, C]
${lines("weight", 2, channels, "read")}           // [C]
${lines("dy", 3, channels, "read")}               // [T, C]
${lines("dx", 4, channels, "read_write")}         // [T, C]
${lines("sums", 5, channels, "read_write")}       // [blocks, C]
var<workgroup> partial: array<vec2f, ${THREADS}>;
var<workgroup> terms: array<vec4f, ${THREADS}>;

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
  let block = group.y * groups.x + group.x;
  if (block * BLOCK >= p.tokens) { return; }
  let lane = thread % LANES;
  let place = thread / LANES;
${each((i, c) => `  var w${i} = vec4f(); var sum${i} = vec4f(); ${guard(i, `w${i} = loadWeight(0u, ${c});`)}`)}
  for (var n = 0u; n < BLOCK; n += AT_ONCE) {
    let token = block * BLOCK + n + place;
    let isThere = n + place < BLOCK && token < p.tokens;
    var mine = vec2f();
${each((i) => `    var x${i} = vec4f(); var dy${i} = vec4f();`)}
    if (isThere) {
${each((i, c) => `      ${guard(i, `x${i} = loadX(token, ${c}); dy${i} = loadDy(token, ${c});`)}`)}
    }
${each((i) => `    mine += vec2f(dot(x${i}, x${i}), dot(x${i} * dy${i}, w${i}));`)}
    partial[thread] = mine;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
      workgroupBarrier();
      if (lane < half) { partial[thread] += partial[thread + half]; }
    }
    workgroupBarrier();
    let both = partial[place * LANES];
    workgroupBarrier();
    let q = inverseSqrt(both.x / f32(D) + p.eps);
    let pull = q * q * q * both.y / f32(D);
    if (isThere) {
${each((i, c) => `      sum${i} += q * x${i} * dy${i}; ${guard(i, `storeDx(token, ${c}, q * dy${i} * w${i} - pull * x${i});`)}`)}
    }
  }
${each(
  (i, c) => `
  workgroupBarrier();
  terms[thread] = sum${i};
  workgroupBarrier();
  if (place == 0u) {
    for (var n = 1u; n < AT_ONCE; n++) { sum${i} += terms[n * LANES + lane]; }
    ${guard(i, `storeSums(block, ${c}, sum${i});`)}
  }`,
)}
}`,
  };
}

export const rmsNormGradientVariants = (): WebGpuKernel[] =>
  [1, 37, 384, 1027, 1032, 8192].map((channels) => rmsNormGradientKernel(channels, 32));
