/** `advance` on arrays of words: the definition that the kernels must meet word for word. */
import { CONTROL, CONTROL_WORDS, FINISH, OUTPUT_WORDS, ROW, ROW_WORDS, TOKEN, TOKEN_WORDS } from "./layout.js";

/** All of it is changed in place. */
export interface AdvanceState {
  /** [T, TOKEN_WORDS]. */
  readonly tokens: Int32Array;
  /** [R, ROW_WORDS]. */
  readonly rows: Int32Array;
  readonly isDecode: boolean;
  /** [slots, CONTROL_WORDS]. */
  readonly controls: Int32Array;
  /** [slots, seenWords]. */
  readonly seen: Uint32Array;
  readonly seenWords: number;
  /** [ringSteps, ringRows, OUTPUT_WORDS]. */
  readonly ring: Int32Array;
  readonly ringRows: number;
  /** [1]. */
  readonly ringHead: Int32Array;
}

export function advanceReference(state: AdvanceState): void {
  const { tokens, rows, isDecode, ring, ringRows, ringHead } = state;
  const ringSteps = ring.length / (ringRows * OUTPUT_WORDS);
  const entry = ((ringHead[0]! >>> 0) % ringSteps) * ringRows * OUTPUT_WORDS;
  for (let r = 0; r < ringRows; r++) {
    const isRow = r * ROW_WORDS < rows.length;
    const slot = isRow ? rows[r * ROW_WORDS + ROW.slot]! : -1;
    const control = state.controls.subarray(slot * CONTROL_WORDS, (slot + 1) * CONTROL_WORDS);
    const isActive = slot >= 0 && control[CONTROL.active] !== 0;
    if (isActive) {
      const position = control[CONTROL.position]!;
      advanceSequence(control, state.seen.subarray(slot * state.seenWords, (slot + 1) * state.seenWords));
      const token = control[CONTROL.token]!;
      ring.set([token, control[CONTROL.logProb]!, control[CONTROL.finish]!, slot], entry + r * OUTPUT_WORDS);
      if (isDecode && control[CONTROL.active] !== 0) {
        tokens.set([token, position, r, slot], r * TOKEN_WORDS);
        rows.set([r, 1, slot, position], r * ROW_WORDS);
        continue;
      }
    } else {
      ring.set([0, 0, 0, -1], entry + r * OUTPUT_WORDS);
    }
    if (isDecode && isRow) {
      tokens[r * TOKEN_WORDS + TOKEN.slot] = -1;
      rows[r * ROW_WORDS + ROW.slot] = -1;
    }
  }
  ringHead[0]! += 1;
}

/** Steps 1 to 5 of `advance` for one active sequence. */
function advanceSequence(c: Int32Array, seen: Uint32Array): void {
  const floats = new Float32Array(c.buffer, c.byteOffset, c.length);
  const at = (word: number): number => c[word]!;

  const isForced = at(CONTROL.forcedAt) >= 0;
  let listEnded = false;
  if (isForced) {
    c[CONTROL.token] = at(CONTROL.forced + at(CONTROL.forcedAt));
    floats[CONTROL.logProb] = 0;
    c[CONTROL.forcedAt] = at(CONTROL.forcedAt) + 1;
    listEnded = at(CONTROL.forcedAt) >= at(CONTROL.forcedCount);
    if (listEnded) c[CONTROL.forcedAt] = -1;
  }
  const token = at(CONTROL.token);
  if (token >= 0 && token >>> 5 < seen.length) seen[token >>> 5]! |= 1 << (token & 31);
  c[CONTROL.generated] = at(CONTROL.generated) + 1;

  if (token === at(CONTROL.closeId) && token >= 0) c[CONTROL.thinkState] = 2;
  else if (at(CONTROL.thinkState) === 0 && token === at(CONTROL.openId) && token >= 0) c[CONTROL.thinkState] = 1;
  else if (at(CONTROL.thinkState) === 1 && !isForced) c[CONTROL.thinkCount] = at(CONTROL.thinkCount) + 1;
  if (listEnded && at(CONTROL.closeId) < 0 && at(CONTROL.thinkState) === 1) c[CONTROL.thinkState] = 2;
  const budget = at(CONTROL.thinkBudget);
  const isSpent = at(CONTROL.thinkState) === 1 && budget >= 0 && at(CONTROL.thinkCount) >= budget;
  if (isSpent && at(CONTROL.forcedAt) < 0 && at(CONTROL.forcedCount) > 0) c[CONTROL.forcedAt] = 0;

  if (!isForced) {
    const isSure = floats[CONTROL.logProb]! > floats[CONTROL.repeatThreshold]!;
    c[CONTROL.repeatCount] = isSure ? at(CONTROL.repeatCount) + 1 : 0;
  }

  const stops = c.subarray(CONTROL.stop, CONTROL.stop + at(CONTROL.stopCount));
  let finish: number = FINISH.none;
  if (!isForced && stops.includes(token)) finish = FINISH.stop;
  else if (at(CONTROL.generated) >= at(CONTROL.maxTokens)) finish = FINISH.length;
  else if (at(CONTROL.repeatLimit) > 0 && at(CONTROL.repeatCount) >= at(CONTROL.repeatLimit))
    finish = FINISH.repetition;
  else if (at(CONTROL.position) >= at(CONTROL.maxPosition)) finish = FINISH.context;
  c[CONTROL.finish] = finish;
  if (finish !== FINISH.none) c[CONTROL.active] = 0;
  else c[CONTROL.position] = at(CONTROL.position) + 1;
}
