/** `advance`. One task. */
import {
  ACTIVE, CLOSE_ID, CONTROL_BYTES, FINISH, FINISH_CONTEXT, FINISH_LENGTH, FINISH_REPETITION, FINISH_STOP, FORCED, FORCED_AT,
  FORCED_COUNT, GENERATED, LOG_PROB, MAX_FORCED, MAX_POSITION, MAX_STOPS, MAX_TOKENS, OPEN_ID, OUTPUT_BYTES, OUTPUT_FINISH,
  OUTPUT_LOG_PROB, OUTPUT_SLOT, OUTPUT_TOKEN, POSITION, REPEAT_COUNT, REPEAT_LIMIT, REPEAT_THRESHOLD, ROW_BYTES,
  ROW_FIRST_TOKEN, ROW_PAST, ROW_SLOT, ROW_TOKEN_COUNT, SAMPLED, STOP, STOP_COUNT, THINK_BUDGET, THINK_COUNT, THINK_STATE,
  TOKEN_BYTES, TOKEN_ID, TOKEN_POSITION, TOKEN_ROW, TOKEN_SLOT,
} from "./layout.inline.as";

@unmanaged
class AdvanceArgs {
  tokens: usize;
  rows: usize;
  controls: usize;
  seen: usize;
  ring: usize;
  ringHead: usize;
  rowCount: i32;
  ringSteps: i32;
  ringRows: i32;
  seenWords: i32;
  isDecode: i32;
}

export function advanceRows(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<AdvanceArgs>(args);
  const head = load<u32>(g.ringHead);
  let output = g.ring + <usize>(head % <u32>g.ringSteps) * <usize>g.ringRows * OUTPUT_BYTES;
  for (let r = 0; r < g.ringRows; r++) {
    if (r < g.rowCount) advanceRow(g, r, output);
    else putOutput(output, 0, 0, 0, -1);
    output += OUTPUT_BYTES;
  }
  store<u32>(g.ringHead, head + 1);
}

function advanceRow(g: AdvanceArgs, r: i32, output: usize): void {
  const row = g.rows + <usize>r * ROW_BYTES;
  const slot = load<i32>(row, ROW_SLOT);
  const c = g.controls + <usize>max(slot, 0) * CONTROL_BYTES;
  const next = g.tokens + <usize>r * TOKEN_BYTES;
  let goesOn = false;
  if (slot >= 0 && load<i32>(c, ACTIVE) != 0) {
    const position = load<i32>(c, POSITION);
    advanceSequence(c, g.seen + ((<usize>slot * <usize>g.seenWords) << 2), g.seenWords);
    const token = load<i32>(c, SAMPLED);
    putOutput(output, token, load<i32>(c, LOG_PROB), load<i32>(c, FINISH), slot);
    goesOn = load<i32>(c, ACTIVE) != 0;
    if (goesOn && g.isDecode != 0) {
      store<i32>(next, token, TOKEN_ID);
      store<i32>(next, position, TOKEN_POSITION);
      store<i32>(next, r, TOKEN_ROW);
      store<i32>(row, r, ROW_FIRST_TOKEN);
      store<i32>(row, 1, ROW_TOKEN_COUNT);
      store<i32>(row, position, ROW_PAST);
    }
  } else {
    putOutput(output, 0, 0, 0, -1);
  }
  if (g.isDecode != 0) {
    store<i32>(next, goesOn ? slot : -1, TOKEN_SLOT);
    store<i32>(row, goesOn ? slot : -1, ROW_SLOT);
  }
}

function putOutput(output: usize, token: i32, logProb: i32, finish: i32, slot: i32): void {
  store<i32>(output, token, OUTPUT_TOKEN);
  store<i32>(output, logProb, OUTPUT_LOG_PROB);
  store<i32>(output, finish, OUTPUT_FINISH);
  store<i32>(output, slot, OUTPUT_SLOT);
}

/** The steps are those of the contract's header. */
function advanceSequence(c: usize, seen: usize, seenWords: i32): void {
  const forcedAt = load<i32>(c, FORCED_AT);
  const isForced = forcedAt >= 0;
  let listEnded = false;
  if (isForced) {
    store<i32>(c, load<i32>(c + FORCED + ((<usize>min(forcedAt, MAX_FORCED - 1)) << 2)), SAMPLED);
    store<f32>(c, 0, LOG_PROB);
    listEnded = forcedAt + 1 >= load<i32>(c, FORCED_COUNT);
    store<i32>(c, listEnded ? -1 : forcedAt + 1, FORCED_AT);
  }
  const token = load<i32>(c, SAMPLED);
  // A negative token is beyond every word.
  if (<u32>token >> 5 < <u32>seenWords) {
    const word = seen + ((<usize>(<u32>token >> 5)) << 2);
    store<u32>(word, load<u32>(word) | (1 << (token & 31)));
  }
  const generated = load<i32>(c, GENERATED) + 1;
  store<i32>(c, generated, GENERATED);

  let state = load<i32>(c, THINK_STATE);
  const closeId = load<i32>(c, CLOSE_ID);
  if (token == closeId && token >= 0) state = 2;
  else if (state == 0 && token == load<i32>(c, OPEN_ID) && token >= 0) state = 1;
  else if (state == 1 && !isForced) store<i32>(c, load<i32>(c, THINK_COUNT) + 1, THINK_COUNT);
  if (listEnded && closeId < 0 && state == 1) state = 2;
  store<i32>(c, state, THINK_STATE);
  const budget = load<i32>(c, THINK_BUDGET);
  const isSpent = state == 1 && budget >= 0 && load<i32>(c, THINK_COUNT) >= budget;
  if (isSpent && load<i32>(c, FORCED_AT) < 0 && load<i32>(c, FORCED_COUNT) > 0) store<i32>(c, 0, FORCED_AT);

  if (!isForced) {
    const isSure = load<f32>(c, LOG_PROB) > load<f32>(c, REPEAT_THRESHOLD);
    store<i32>(c, isSure ? load<i32>(c, REPEAT_COUNT) + 1 : 0, REPEAT_COUNT);
  }

  const repeatLimit = load<i32>(c, REPEAT_LIMIT);
  const position = load<i32>(c, POSITION);
  let finish = 0;
  if (!isForced && isStop(c, token)) finish = FINISH_STOP;
  else if (generated >= load<i32>(c, MAX_TOKENS)) finish = FINISH_LENGTH;
  else if (repeatLimit > 0 && load<i32>(c, REPEAT_COUNT) >= repeatLimit) finish = FINISH_REPETITION;
  else if (position >= load<i32>(c, MAX_POSITION)) finish = FINISH_CONTEXT;
  store<i32>(c, finish, FINISH);
  if (finish != 0) store<i32>(c, 0, ACTIVE);
  else store<i32>(c, position + 1, POSITION);
}

function isStop(c: usize, token: i32): bool {
  const count = min(load<i32>(c, STOP_COUNT), MAX_STOPS);
  for (let i = 0; i < count; i++) {
    if (load<i32>(c + STOP + ((<usize>i) << 2)) == token) return true;
  }
  return false;
}
