/** markSeen on WebGPU: a thread a token; tokens of one sequence may share words, hence atomics. */
import { params, type WebGpuKernel } from "../../device/index.js";
import { tokenWgsl } from "../step/layout.wgsl.js";

export const MARK_SEEN_LANES = 64;

export const markSeenParams = params({ tokens: "u32", words: "u32" });

export const markSeenKernel: WebGpuKernel = {
  label: "mark-seen",
  code: /* wgsl */ `
${markSeenParams.wgsl}
${tokenWgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> tokens: array<i32>;                 // [T, TOKEN_WORDS]
@group(0) @binding(2) var<storage, read_write> seen: array<atomic<u32>>;     // [slots, words]

@compute @workgroup_size(${MARK_SEEN_LANES})
fn main(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let t = at.y * groups.x * ${MARK_SEEN_LANES}u + at.x;
  if (t >= p.tokens) { return; }
  let id = u32(tokens[t * TOKEN_WORDS + TOKEN_id]);
  let slot = tokens[t * TOKEN_WORDS + TOKEN_slot];
  // A negative id is beyond every word.
  if (slot < 0 || id / 32u >= p.words) { return; }
  atomicOr(&seen[u32(slot) * p.words + id / 32u], 1u << (id % 32u));
}`,
};
