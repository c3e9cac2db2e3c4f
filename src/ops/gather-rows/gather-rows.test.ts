import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import type { Device } from "../../device/index.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { ROW_WORDS, type Step, TOKEN_WORDS } from "../step/layout.js";
import { gatherLastTokens } from "./gather-rows.js";
import { gatherLastTokensReference } from "./gather-rows.reference.js";
import { gatherRowsVariants } from "./gather-rows.wgsl.js";

/** [firstToken, tokenCount] of each row. */
const cases = [
  { name: "one row of one token", C: 5, T: 1, rows: [[0, 1]] },
  {
    name: "rows of several lengths",
    C: 70,
    T: 9,
    rows: [
      [0, 4],
      [4, 1],
      [5, 4],
    ],
  },
  {
    name: "a decode step",
    C: 128,
    T: 3,
    rows: [
      [0, 1],
      [1, 1],
      [2, 1],
    ],
  },
  {
    name: "rows without tokens and beyond the end give zeros",
    C: 3,
    T: 2,
    rows: [
      [0, 0],
      [1, 5],
      [0, 2],
    ],
  },
];

function stepOf(device: Device, T: number, words: readonly number[]): Step {
  const R = words.length / ROW_WORDS;
  return {
    tokens: upload(
      device,
      Array.from({ length: T * TOKEN_WORDS }, () => 0),
      [T, TOKEN_WORDS],
      "i32",
    ),
    rows: upload(device, words, [R, ROW_WORDS], "i32"),
    tiles: undefined,
    tokenCount: T,
    rowCount: R,
    isDecode: false,
    lengthBound: T,
  };
}

describe.each(await devices())("gatherLastTokens on $label", (device) => {
  test.each(cases)("$name", async ({ C, T, rows }) => {
    const x = Float32Array.from({ length: T * C }, (_, i) => Math.fround(Math.sin(i)));
    const words = rows.flatMap(([first = 0, count = 0], row) => [first, count, row, 0]);
    const liveBefore = device.memory.live;
    await device.scope(async () => {
      const y = gatherLastTokens(upload(device, x, [T, C]), stepOf(device, T, words));
      expect(await y.readFloat32()).toEqual(gatherLastTokensReference(x, C, words));
    });
    expect(device.memory.live).toBe(liveBefore);
  });

  test("refuses another number of tokens", () => {
    device.scope(() => {
      const step = stepOf(device, 2, [0, 2, 0, 0]);
      const x = upload(device, [1, 2, 3], [3, 1]);
      expect(() => gatherLastTokens(x, step)).toThrow(
        "gatherLastTokens: x expected [T=2, C] (the step's tokens), got [3, 1].",
      );
    });
  });
});

test("the WebGPU kernel compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(gatherRowsVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
