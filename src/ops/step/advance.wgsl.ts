/** `advance` on WebGPU: one workgroup, its lanes take rows in turns. Sequences do not share words. */
import { params, type WebGpuKernel } from "../../device/index.js";
import { MAX_FORCED, MAX_STOPS } from "./layout.js";
import { controlWgsl, outputWgsl, rowWgsl, tokenWgsl } from "./layout.wgsl.js";

export const advanceParams = params({
  rows: "u32",
  ringSteps: "u32",
  ringRows: "u32",
  /** Words of a slot in `seen`. */
  seenWords: "u32",
  isDecode: "u32",
});

export const advanceKernel: WebGpuKernel = {
  label: "advance",
  code: /* wgsl */ `
${advanceParams.wgsl}
${tokenWgsl}
${rowWgsl}
${controlWgsl}
${outputWgsl}
const LANES = 64u;
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> tokens: array<i32>;     // [T, TOKEN_WORDS]
@group(0) @binding(2) var<storage, read_write> rows: array<i32>;       // [R, ROW_WORDS]
@group(0) @binding(3) var<storage, read_write> controls: array<i32>;   // [slots, CONTROL_WORDS]
@group(0) @binding(4) var<storage, read_write> seen: array<u32>;       // [slots, seenWords]
@group(0) @binding(5) var<storage, read_write> ring: array<i32>;       // [ringSteps, ringRows, OUTPUT_WORDS]
@group(0) @binding(6) var<storage, read_write> ringHead: array<i32>;   // [1]

fn isStop(c: u32, token: i32) -> bool {
  let count = min(controls[c + CONTROL_stopCount], ${MAX_STOPS});
  for (var i = 0; i < count; i++) {
    if (controls[c + CONTROL_stop + u32(i)] == token) { return true; }
  }
  return false;
}

// The sequence whose control begins at word c; the steps are those of the contract's header.
fn advanceSequence(c: u32, slot: u32) {
  let forcedAt = controls[c + CONTROL_forcedAt];
  let isForced = forcedAt >= 0;
  var listEnded = false;
  if (isForced) {
    controls[c + CONTROL_token] = controls[c + CONTROL_forced + u32(min(forcedAt, ${MAX_FORCED - 1}))];
    controls[c + CONTROL_logProb] = 0;
    listEnded = forcedAt + 1 >= controls[c + CONTROL_forcedCount];
    controls[c + CONTROL_forcedAt] = select(forcedAt + 1, -1, listEnded);
  }
  let token = controls[c + CONTROL_token];
  let word = u32(token) / 32u;        // a negative token is beyond every word
  if (word < p.seenWords) { seen[slot * p.seenWords + word] |= 1u << (u32(token) % 32u); }
  controls[c + CONTROL_generated] += 1;

  var state = controls[c + CONTROL_thinkState];
  let closeId = controls[c + CONTROL_closeId];
  if (token == closeId && token >= 0) { state = 2; }
  else if (state == 0 && token == controls[c + CONTROL_openId] && token >= 0) { state = 1; }
  else if (state == 1 && !isForced) { controls[c + CONTROL_thinkCount] += 1; }
  if (listEnded && closeId < 0 && state == 1) { state = 2; }
  controls[c + CONTROL_thinkState] = state;
  let budget = controls[c + CONTROL_thinkBudget];
  let isSpent = state == 1 && budget >= 0 && controls[c + CONTROL_thinkCount] >= budget;
  if (isSpent && controls[c + CONTROL_forcedAt] < 0 && controls[c + CONTROL_forcedCount] > 0) { controls[c + CONTROL_forcedAt] = 0; }

  if (!isForced) {
    let isSure = bitcast<f32>(controls[c + CONTROL_logProb]) > bitcast<f32>(controls[c + CONTROL_repeatThreshold]);
    controls[c + CONTROL_repeatCount] = select(0, controls[c + CONTROL_repeatCount] + 1, isSure);
  }

  let repeatLimit = controls[c + CONTROL_repeatLimit];
  let position = controls[c + CONTROL_position];
  var finish = FINISH_none;
  if (!isForced && isStop(c, token)) { finish = FINISH_stop; }
  else if (controls[c + CONTROL_generated] >= controls[c + CONTROL_maxTokens]) { finish = FINISH_length; }
  else if (repeatLimit > 0 && controls[c + CONTROL_repeatCount] >= repeatLimit) { finish = FINISH_repetition; }
  else if (position >= controls[c + CONTROL_maxPosition]) { finish = FINISH_context; }
  controls[c + CONTROL_finish] = i32(finish);
  if (finish != FINISH_none) { controls[c + CONTROL_active] = 0; }
  else { controls[c + CONTROL_position] = position + 1; }
}

fn putOutput(r: u32, token: i32, logProb: i32, finish: i32, slot: i32) {
  let at = (u32(ringHead[0]) % p.ringSteps * p.ringRows + r) * OUTPUT_WORDS;
  ring[at + OUTPUT_token] = token;
  ring[at + OUTPUT_logProb] = logProb;
  ring[at + OUTPUT_finish] = finish;
  ring[at + OUTPUT_slot] = slot;
}

fn advanceRow(r: u32) {
  let slot = rows[r * ROW_WORDS + ROW_slot];
  let c = u32(max(slot, 0)) * CONTROL_WORDS;
  var goesOn = false;
  if (slot >= 0 && controls[c + CONTROL_active] != 0) {
    let position = controls[c + CONTROL_position];
    advanceSequence(c, u32(slot));
    let token = controls[c + CONTROL_token];
    putOutput(r, token, controls[c + CONTROL_logProb], controls[c + CONTROL_finish], slot);
    goesOn = controls[c + CONTROL_active] != 0;
    if (goesOn && p.isDecode == 1u) {
      tokens[r * TOKEN_WORDS + TOKEN_id] = token;
      tokens[r * TOKEN_WORDS + TOKEN_position] = position;
      tokens[r * TOKEN_WORDS + TOKEN_row] = i32(r);
      rows[r * ROW_WORDS + ROW_firstToken] = i32(r);
      rows[r * ROW_WORDS + ROW_tokenCount] = 1;
      rows[r * ROW_WORDS + ROW_past] = position;
    }
  } else {
    putOutput(r, 0, 0, 0, -1);
  }
  if (p.isDecode == 1u) {
    let next = select(-1, slot, goesOn);
    tokens[r * TOKEN_WORDS + TOKEN_slot] = next;
    rows[r * ROW_WORDS + ROW_slot] = next;
  }
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
  for (var r = lane; r < p.ringRows; r += LANES) {
    if (r < p.rows) { advanceRow(r); } else { putOutput(r, 0, 0, 0, -1); }
  }
  storageBarrier();   // all lanes have read the head
  if (lane == 0u) { ringHead[0] += 1; }
}`,
};
