import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { transpose, transposeVariants } from "./transpose.js";
import { transposeReference } from "./transpose.reference.js";

const cases = [
  { rows: 1, columns: 1, stride: 1, rowsOut: 1, columnsOut: 1 },
  { rows: 5, columns: 9, stride: 9, rowsOut: 9, columnsOut: 5 },
  { rows: 8, columns: 8, stride: 12, rowsOut: 8, columnsOut: 8 },
  { rows: 21, columns: 18, stride: 32, rowsOut: 20, columnsOut: 32 },
  { rows: 3, columns: 2, stride: 4, rowsOut: 7, columnsOut: 6 },
];

describe.each(await devices())("transpose on $label", (device) => {
  test.each(cases)("[$rows, $columns of $stride] to [$rowsOut, $columnsOut]", async (c) => {
    const x = fill(c.rows * c.stride, 1);
    await device.scope(async () => {
      const y = transpose(upload(device, x, [c.rows, c.stride]), c);
      expect(y.shape).toEqual([c.rowsOut, c.columnsOut]);
      expect(await y.readFloat32()).toEqual(Float32Array.from(transposeReference(x, c)));
    });
  });

  test("a result that is too small is refused", () => {
    device.scope(() => {
      const x = upload(device, fill(6, 1), [2, 3]);
      expect(() => transpose(x, { rowsOut: 2 })).toThrow("transpose: result expected at least [3, 2], got [2, 2].");
    });
  });
});

test("the WebGPU kernel compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(transposeVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
