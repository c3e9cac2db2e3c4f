import { describe, expect, test } from "vitest";
import { devices } from "../../test/devices.js";
import { DisposedTensorError, empty, NoGradientError, ShapeError, upload, withTape, zeros } from "./index.js";
import { record } from "./tape.js";

describe.each(await devices())("tensors on $label", (device) => {
  test("upload and read back, whatever the type and size", async () => {
    const liveBefore = device.memory.live;
    const cases = [
      { dtype: "f32", data: Float32Array.of(1.5, -2, 3e38) },
      { dtype: "i32", data: Int32Array.of(-1, 2 ** 31 - 1) },
      { dtype: "f16", data: Uint16Array.of(0x3c00, 0xc000, 1) },
      { dtype: "u8", data: Uint8Array.of(1, 2, 3, 4, 255) },
    ] as const;
    for (const { dtype, data } of cases) {
      using tensor = upload(device, data, [data.length], dtype);
      expect(await tensor.read()).toEqual(data);
    }
    expect(device.memory.live).toBe(liveBefore);
  });

  test("views share the storage, which lives as long as its last handle", async () => {
    const liveBefore = device.memory.live;
    const tensor = upload(
      device,
      Float32Array.from({ length: 256 }, (_, i) => i),
      [4, 64],
    );
    const row = tensor.slice(2, 3);
    const flat = row.reshape([64]);
    tensor.dispose();
    row.dispose();
    expect([...(await flat.readFloat32()).subarray(0, 3)]).toEqual([128, 129, 130]);
    flat.dispose();
    expect(device.memory.live).toBe(liveBefore);
    expect(() => flat.allocation).toThrow(DisposedTensorError);
    expect(() => flat.reshape([8, 8])).toThrowErrorMatchingInlineSnapshot(
      `[DisposedTensorError: tensor f32[64] was disposed]`,
    );
  });

  test("wrong shapes and sizes are named", () => {
    using tensor = zeros(device, [2, 3]);
    expect(() => tensor.reshape([7])).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: reshape: shape expected 6 elements, got [7].]`,
    );
    expect(() => tensor.slice(1, 5)).toThrow(RangeError);
    expect(() => tensor.write(new Float32Array(5))).toThrow(ShapeError);
    expect(() => empty(device, [2 ** 30, 2 ** 30])).toThrow(RangeError);
    expect(() => upload(device, [1, 2], [3])).toThrow(ShapeError);
  });

  test("a scope frees what it made and does not return", async () => {
    const liveBefore = device.memory.live;
    const kept = device.scope(() => {
      zeros(device, [100]);
      const result = { nested: [upload(device, [1, 2, 3], [3])] };
      zeros(device, [50]);
      return result;
    });
    const [tensor] = kept.nested;
    expect(await tensor?.readFloat32()).toEqual(Float32Array.of(1, 2, 3));
    tensor?.dispose();
    expect(() =>
      device.scope(() => {
        zeros(device, [10]);
        throw new Error("inside");
      }),
    ).toThrow("inside");
    await device.scope(async () => {
      zeros(device, [10]);
      await device.idle();
      device.scope(() => zeros(device, [20]));
    });
    expect(device.memory.live).toBe(liveBefore);
  });
});

test("a tape sees every operation while it is active", () => {
  const seen: string[] = [];
  const tape = { onOperation: ({ operation }: { operation: string }) => seen.push(operation) };
  record("before", [], []);
  withTape(tape, () => record("inside", [], []));
  record("after", [], []);
  expect(seen).toEqual(["inside"]);
  expect(new NoGradientError("sample").message).toContain("sample has no gradient");
});
