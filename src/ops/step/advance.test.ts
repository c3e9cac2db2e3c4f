import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import type { Device } from "../../device/index.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { advance } from "./advance.js";
import { type AdvanceState, advanceReference } from "./advance.reference.js";
import { advanceKernel } from "./advance.wgsl.js";
import {
  CONTROL,
  CONTROL_WORDS,
  FINISH,
  MAX_STOPS,
  OUTPUT,
  OUTPUT_WORDS,
  ROW,
  ROW_WORDS,
  type Step,
  TOKEN,
  TOKEN_WORDS,
} from "./layout.js";

type Words = Partial<Record<keyof typeof CONTROL, number>> & {
  readonly forcedTokens?: readonly number[];
  readonly stops?: readonly number[];
};

const floatWords: readonly string[] = ["logProb", "repeatThreshold"];

/** A slot's control: active, without limits, except for `words`. */
function controlOf({ forcedTokens = [], stops = [], ...words }: Words): Int32Array {
  const control = new Int32Array(CONTROL_WORDS);
  const floats = new Float32Array(control.buffer);
  const defaults = {
    active: 1,
    maxTokens: 1000,
    maxPosition: 1000,
    thinkBudget: -1,
    openId: -1,
    closeId: -1,
    forcedAt: -1,
  };
  for (const [name, value] of Object.entries({ ...defaults, ...words })) {
    const word = CONTROL[name as keyof typeof CONTROL]; // keys of Words
    if (floatWords.includes(name)) floats[word] = value;
    else control[word] = value;
  }
  control[CONTROL.forcedCount] = forcedTokens.length;
  control.set(forcedTokens, CONTROL.forced);
  control[CONTROL.stopCount] = stops.length;
  control.set(stops, CONTROL.stop);
  return control;
}

const SEEN_WORDS = 2;

interface Setup {
  /** Slot of each row. */
  readonly slots: readonly number[];
  readonly controls: readonly Int32Array[];
  readonly isDecode?: boolean;
  readonly ringSteps?: number;
  readonly ringRows?: number;
}

function stateOf({ slots, controls, isDecode = true, ringSteps = 3, ringRows = slots.length }: Setup): AdvanceState {
  const all = new Int32Array(controls.length * CONTROL_WORDS);
  for (const [slot, control] of controls.entries()) all.set(control, slot * CONTROL_WORDS);
  return {
    tokens: Int32Array.from(slots.flatMap((slot, r) => [100 + r, 200 + r, r, slot])),
    rows: Int32Array.from(slots.flatMap((slot, r) => [r, 1, slot, 200 + r])),
    isDecode,
    controls: all,
    seen: new Uint32Array(controls.length * SEEN_WORDS),
    seenWords: SEEN_WORDS,
    ring: new Int32Array(ringSteps * ringRows * OUTPUT_WORDS).fill(-9),
    ringRows,
    ringHead: Int32Array.of(0),
  };
}

function place(device: Device, state: AdvanceState) {
  const { tokens, rows, controls, seen, ring, ringRows, ringHead } = state;
  const count = rows.length / ROW_WORDS;
  const slots = controls.length / CONTROL_WORDS;
  const tensors = {
    tokens: upload(device, tokens, [count, TOKEN_WORDS], "i32"),
    rows: upload(device, rows, [count, ROW_WORDS], "i32"),
    controls: upload(device, controls, [slots, CONTROL_WORDS], "i32"),
    seen: upload(device, seen, [slots, SEEN_WORDS], "u32"),
    ring: upload(device, ring, [ring.length / (ringRows * OUTPUT_WORDS), ringRows, OUTPUT_WORDS], "i32"),
    ringHead: upload(device, ringHead, [1], "i32"),
  };
  const step: Step = {
    tokens: tensors.tokens,
    rows: tensors.rows,
    tiles: undefined,
    tokenCount: count,
    rowCount: count,
    isDecode: state.isDecode,
    lengthBound: 1000,
  };
  return { tensors, launch: () => advance(step, tensors.controls, tensors.seen, tensors.ring, tensors.ringHead) };
}

type Placed = ReturnType<typeof place>;

async function expectEqual({ tensors }: Placed, state: AdvanceState): Promise<void> {
  for (const name of ["controls", "tokens", "rows", "seen", "ring", "ringHead"] as const) {
    expectWords(name, await tensors[name].read(), state[name]);
  }
}

/** Faster than toEqual, which matters for walks of a thousand steps. */
function expectWords(name: string, got: ArrayLike<number>, expected: Int32Array | Uint32Array): void {
  const at = expected.findIndex((word, i) => word !== got[i]);
  if (at >= 0 || got.length !== expected.length) {
    throw new Error(
      `${name}[${at}]: got ${got[at]}, expected ${expected[at]} (lengths ${got.length}, ${expected.length})`,
    );
  }
}

/** The sampled token and its log-probability, as `sample` leaves them. */
function put(state: AdvanceState, slot: number, token: number, logProb: number): void {
  const at = slot * CONTROL_WORDS;
  if (state.controls[at + CONTROL.active] === 0) return;
  state.controls[at + CONTROL.token] = token;
  new Float32Array(state.controls.buffer)[at + CONTROL.logProb] = logProb;
}

/** What one sequence makes of sampled tokens: the emitted ones, with their finish at the end. */
function generate(
  words: Words,
  sampled: readonly number[],
  logProb = -1,
): { tokens: number[]; finish: number; control: Int32Array } {
  const state = stateOf({ slots: [0], controls: [controlOf(words)], ringSteps: 1 });
  const tokens: number[] = [];
  for (const token of sampled) {
    put(state, 0, token, logProb);
    advanceReference(state);
    if (state.ring[OUTPUT.slot] === -1) break;
    tokens.push(state.ring[OUTPUT.token]!);
  }
  return { tokens, finish: state.controls[CONTROL.finish]!, control: state.controls };
}

const OPEN = 50;
const CLOSE = 51;
const END = 52;

describe("what the rules say", () => {
  test("the next step feeds the token at the position it was sampled for", () => {
    const state = stateOf({ slots: [1], controls: [controlOf({ active: 0 }), controlOf({ position: 40, token: 7 })] });
    advanceReference(state);
    expect([...state.tokens]).toEqual([7, 40, 0, 1]);
    expect([...state.rows]).toEqual([0, 1, 1, 40]);
    expect(state.controls[CONTROL_WORDS + CONTROL.position]).toBe(41);
    expect([...state.seen]).toEqual([0, 0, 128, 0]);
    expect([...state.ringHead]).toEqual([1]);
  });

  test("a stop token finishes, is emitted, and the row is dead", () => {
    const state = stateOf({ slots: [0], controls: [controlOf({ position: 9, token: END, stops: [3, END] })] });
    advanceReference(state);
    expect([...state.ring.subarray(0, 4)]).toEqual([END, 0, FINISH.stop, 0]);
    expect([state.tokens[TOKEN.slot], state.rows[ROW.slot], state.controls[CONTROL.active]]).toEqual([-1, -1, 0]);
    expect(state.controls[CONTROL.position]).toBe(9);
    advanceReference(state);
    expect([...state.ring.subarray(4, 8)]).toEqual([0, 0, 0, -1]);
  });

  test("limits, in the order stop, length, repetition, context", () => {
    expect(generate({ maxTokens: 3 }, [1, 2, 3, 4])).toMatchObject({ tokens: [1, 2, 3], finish: FINISH.length });
    expect(generate({ maxTokens: 1, stops: [1] }, [1])).toMatchObject({ finish: FINISH.stop });
    const repeat = { repeatLimit: 2, repeatThreshold: -0.5 };
    expect(generate(repeat, [1, 2, 3], -0.1)).toMatchObject({ tokens: [1, 2], finish: FINISH.repetition });
    expect(generate(repeat, [1, 2, 3], -0.5)).toMatchObject({ tokens: [1, 2, 3], finish: FINISH.none });
    expect(generate({ ...repeat, maxTokens: 2 }, [1, 2], -0.1)).toMatchObject({ finish: FINISH.length });
    // Places 5 and 6 exist; the third token would get place 7.
    expect(generate({ position: 5, maxPosition: 7 }, [1, 2, 3, 4])).toMatchObject({
      tokens: [1, 2, 3],
      finish: FINISH.context,
    });
  });

  test("at the budget the closing text is forced, and ends the thinking", () => {
    const words = { openId: OPEN, closeId: CLOSE, thinkBudget: 2, forcedTokens: [60, CLOSE, 61], stops: [60, CLOSE] };
    const { tokens, finish, control } = generate(words, [OPEN, 1, 2, 3, 4, 5, 6]);
    expect(tokens).toEqual([OPEN, 1, 2, 60, CLOSE, 61, 6]);
    expect(finish).toBe(FINISH.none);
    expect([control[CONTROL.thinkState], control[CONTROL.thinkCount], control[CONTROL.forcedAt]]).toEqual([2, 2, -1]);
  });

  test("a budget of 0 closes right after the opening", () => {
    const words = { openId: OPEN, closeId: CLOSE, thinkBudget: 0, forcedTokens: [CLOSE] };
    expect(generate(words, [OPEN, 1, 2])).toMatchObject({ tokens: [OPEN, CLOSE, 2] });
  });

  test("without a closing id the forced list's end closes", () => {
    const { tokens, control } = generate({ thinkState: 1, thinkBudget: 1, forcedTokens: [60, 61] }, [1, 2, 3, 4]);
    expect(tokens).toEqual([1, 60, 61, 4]);
    expect(control[CONTROL.thinkState]).toBe(2);
  });

  test("thinking that closes itself is not forced", () => {
    const words = { openId: OPEN, closeId: CLOSE, thinkBudget: 3, forcedTokens: [60, CLOSE] };
    const { tokens, control } = generate(words, [OPEN, 1, 2, CLOSE, 3, 4, OPEN, 5]);
    expect(tokens).toEqual([OPEN, 1, 2, CLOSE, 3, 4, OPEN, 5]);
    expect(control[CONTROL.thinkCount]).toBe(2);
  });

  test("forced tokens have log-probability 0 and leave the repetition count alone", () => {
    const { control } = generate(
      { forcedAt: 0, forcedTokens: [60], repeatCount: 1, repeatLimit: 2, repeatThreshold: -0.5 },
      [1],
    );
    expect([control[CONTROL.logProb], control[CONTROL.repeatCount], control[CONTROL.finish]]).toEqual([
      0,
      1,
      FINISH.none,
    ]);
  });

  test("prefill keeps tokens and rows", () => {
    const state = stateOf({ slots: [0, -1], controls: [controlOf({ position: 3, token: 5 })], isDecode: false });
    const before = [[...state.tokens], [...state.rows]];
    advanceReference(state);
    expect([[...state.tokens], [...state.rows]]).toEqual(before);
    expect(state.controls[CONTROL.position]).toBe(4);
    expect([...state.ring.subarray(0, 8)]).toEqual([5, 0, 0, 0, 0, 0, 0, -1]);
  });
});

/** Small numbers, so that everything that can happen happens. */
const someControl = fc
  .record({
    active: fc.constantFrom(1, 1, 1, 0),
    position: fc.nat(20),
    maxTokens: fc.integer({ min: 1, max: 30 }),
    thinkState: fc.constantFrom(0, 0, 1, 2),
    thinkBudget: fc.integer({ min: -1, max: 4 }),
    openId: fc.constantFrom(-1, 1),
    closeId: fc.constantFrom(-1, 2),
    forcedAt: fc.constantFrom(-1, -1, -1, 0),
    forcedTokens: fc.array(fc.nat(9), { minLength: 1, maxLength: 16 }),
    stops: fc.array(fc.integer({ min: 6, max: 12 }), { maxLength: MAX_STOPS }),
    repeatLimit: fc.integer({ min: 0, max: 4 }),
    repeatThreshold: fc.constantFrom(-0.5, -0.0101),
    maxPosition: fc.integer({ min: 15, max: 40 }),
  })
  .map(controlOf);

const someWalk = fc
  .record({
    controls: fc.array(someControl, { minLength: 5, maxLength: 5 }),
    // Rows have slots of their own.
    slots: fc.shuffledSubarray([0, 1, 2, 3, 4, -1, -1], { minLength: 1, maxLength: 6 }),
    isDecode: fc.constantFrom(true, true, true, false),
    ringSteps: fc.integer({ min: 1, max: 4 }),
    extraRows: fc.nat(2),
    // 70: beyond the bits of seen.
    sampled: fc.array(
      fc.array(
        fc.record({
          token: fc.constantFrom(0, 1, 2, 3, 4, 5, 8, 31, 33, 70),
          logProb: fc.constantFrom(-0.01, -0.2, -3),
        }),
        { minLength: 5, maxLength: 5 },
      ),
      { minLength: 4, maxLength: 24 },
    ),
  })
  .map(({ extraRows, ...walk }) => ({ ...walk, ringRows: walk.slots.length + extraRows }));

describe.each(await devices())("advance on $label", (device) => {
  test("random walks, word for word", async () => {
    await fc.assert(
      fc.asyncProperty(someWalk, (walk) =>
        device.scope(async () => {
          const state = stateOf(walk);
          const placed = place(device, state);
          for (const tokens of walk.sampled) {
            for (const [slot, { token, logProb }] of tokens.entries()) put(state, slot, token, logProb);
            placed.tensors.controls.write(state.controls);
            placed.launch();
            advanceReference(state);
            // Everything is compared once at the end; the controls in between, because they are written back.
            expectWords("controls", await placed.tensors.controls.read(), state.controls);
          }
          await expectEqual(placed, state);
        }),
      ),
      { seed: 4, numRuns: device.kind === "cpu" ? 60 : 12 },
    );
  });

  test("captured and replayed: forced text to its end, then dead", async () => {
    const liveBefore = device.memory.live;
    await device.scope(async () => {
      const words = {
        openId: OPEN,
        closeId: CLOSE,
        thinkBudget: 1,
        forcedTokens: [40, CLOSE, 41],
        maxTokens: 7,
        token: OPEN,
      };
      const controls = [controlOf({ ...words, position: 3 }), controlOf({ position: 8, maxPosition: 11, token: 6 })];
      const state = stateOf({ slots: [1, 0, -1], controls, ringSteps: 4 });
      const placed = place(device, state);
      using list = device.capture(() => placed.launch());
      for (let i = 0; i < 10; i++) {
        list.replay();
        advanceReference(state);
      }
      await expectEqual(placed, state);
      expect([...state.ringHead]).toEqual([10]);
      expect(state.controls[CONTROL.active]).toBe(0);
    });
    expect(device.memory.live).toBe(liveBefore);
  });

  test("more rows than the workgroup has lanes, and a head that wraps around", async () => {
    await device.scope(async () => {
      const slots = Array.from({ length: 70 }, (_, r) => 69 - r);
      const state = stateOf({ slots, controls: slots.map((slot) => controlOf({ token: slot % 60, position: slot })) });
      state.ringHead[0] = 2 ** 31 - 1;
      const placed = place(device, state);
      for (let i = 0; i < 2; i++) {
        placed.launch();
        advanceReference(state);
      }
      await expectEqual(placed, state);
    });
  });

  test("wrong shapes are readable errors", () => {
    device.scope(() => {
      const { tensors } = place(device, stateOf({ slots: [0, -1], controls: [controlOf({})] }));
      const { tokens, rows, controls, seen, ring, ringHead } = tensors;
      const step = { tokens, rows, tiles: undefined, tokenCount: 2, rowCount: 2, isDecode: true, lengthBound: 8 };
      expect(() => advance(step, controls, seen, ring.reshape([6, 1, 4]), ringHead)).toThrow(
        "advance: ring expected [ringSteps ≥ 1, R ≥ 2, 4], got [6, 1, 4].",
      );
      expect(() => advance(step, controls, ring, ring, ringHead)).toThrow(
        "advance: seen expected [slots=1, words], got [3, 2, 4].",
      );
      expect(() => advance({ ...step, tokenCount: 3 }, controls, seen, ring, ringHead)).toThrow(
        "as many tokens as rows",
      );
    });
  });
});

test("the WebGPU kernel compiles without a message", async () => {
  const [checked] = await compileOnNullBackend([advanceKernel]);
  expect(checked?.messages).toEqual([]);
});
