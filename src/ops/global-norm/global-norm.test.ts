import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { type Tensor, upload } from "../../tensor/index.js";
import { globalNorm, UPDATE, updateRecord } from "./global-norm.js";
import { globalNormReference, type UpdateReference } from "./global-norm.reference.js";
import { globalNormVariants } from "./global-norm.wgsl.js";
import { BLOCK, blockLaunches } from "./tensor-blocks.js";

const start = (lossScale: number): UpdateReference => ({
  ...{ norm: 0, factor: 0, isGood: false, lossScale, goodSteps: 0, steps: 0, c1: 0, c2: 0, skipped: 0 },
});

async function recordOf(record: Tensor): Promise<UpdateReference> {
  const words = await record.readFloat32();
  const { loss: _loss, ...own } = UPDATE;
  const entries = Object.entries(own).map(([name, at]) => [name, name === "isGood" ? words[at] === 1 : words[at]]);
  return Object.fromEntries(entries) as UpdateReference; // the names are those of the record
}

function expectRecord(found: UpdateReference, wanted: UpdateReference): void {
  for (const name of ["isGood", "lossScale", "goodSteps", "steps", "skipped"] as const) {
    expect(found[name], name).toBe(wanted[name]);
  }
  for (const name of ["norm", "factor", "c1", "c2"] as const) {
    expect(Number.isFinite(found[name]), name).toBe(Number.isFinite(wanted[name]));
    if (Number.isFinite(wanted[name])) {
      expect(Math.abs(found[name] - wanted[name]), name).toBeLessThanOrEqual(2e-6 * Math.abs(wanted[name]));
    }
  }
}

test("tensors are shared out over launches by number and by size, and what is too large is cut", () => {
  const launches = blockLaunches([10, 5000, 70, 3 * BLOCK], { tensors: 2, numbers: 2 * BLOCK });
  expect(launches.map(({ spans }) => spans.map(({ tensor, begin, size }) => [tensor, begin, size]))).toEqual([
    [
      [0, 0, 10],
      [1, 0, 5000],
    ],
    [[2, 0, 70]],
    [[3, 0, 2 * BLOCK]],
    [[3, 2 * BLOCK, BLOCK]],
  ]);
  expect(launches[0]).toMatchObject({ blocks: 3, size: 64 + 5056 });
  expect(launches[0]?.spans[1]).toMatchObject({ end: 3, offset: 64 });
});

describe.each(await devices())("globalNorm on $label", (device) => {
  const cases = [
    { name: "one number", sizes: [1] },
    { name: "more tensors than a launch takes", sizes: Array.from({ length: 40 }, (_, i) => i + 1) },
    { name: "several blocks", sizes: [3, 9001, 64, 4096] },
  ];
  test.each(cases)("$name", async ({ sizes }) => {
    const before = device.memory.live;
    {
      const arrays = sizes.map((size, i) => fill(size, i));
      const tensors = arrays.map((data) => upload(device, data, [data.length]));
      using record = updateRecord(device, 4);
      const options = { maxNorm: 0.5, beta1: 0.8, beta2: 0.999 };
      let wanted = start(4);
      for (let step = 0; step < 3; step++) {
        globalNorm(tensors, record, options);
        wanted = globalNormReference(arrays, wanted, options);
        expectRecord(await recordOf(record), wanted);
      }
      for (const tensor of tensors) tensor.dispose();
    }
    expect(device.memory.live).toBe(before);
  });

  test("overflows halve the loss scale, good steps double it", async () => {
    using record = updateRecord(device, 1024);
    let wanted = start(1024);
    const options = { growthSteps: 2 };
    const series = [[1], [Number.NaN], [2], [2], [Number.POSITIVE_INFINITY], [3e30], [1], [1]];
    for (const numbers of series) {
      using tensor = upload(device, [...numbers, 0, 0, 0, 0.5], [numbers.length + 4]);
      globalNorm([tensor], record, options);
      const squares = numbers.map((x) => (x === 3e30 ? Number.POSITIVE_INFINITY : x)); // its square is no float32
      wanted = globalNormReference([[...squares, 0.5]], wanted, options);
      expectRecord(await recordOf(record), wanted);
    }
  });
});

describe.each(await devices())("a latched norm on $label", (device) => {
  test("no step is good after one that was not", async () => {
    using record = updateRecord(device);
    let wanted = start(1);
    for (const value of [1, Number.NaN, 2]) {
      using tensor = upload(device, [value], [1]);
      globalNorm([tensor], record, { isLatched: true });
      wanted = globalNormReference([[value]], wanted, { isLatched: true });
      expectRecord(await recordOf(record), wanted);
    }
    expect(wanted.skipped).toBe(2);
  });
});

test("every kernel compiles", async () => {
  for (const { messages } of await compileOnNullBackend(globalNormVariants())) expect(messages).toEqual([]);
});
