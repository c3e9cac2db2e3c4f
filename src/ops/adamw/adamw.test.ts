import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { type Tensor, upload } from "../../tensor/index.js";
import { globalNorm, updateRecord } from "../global-norm/global-norm.js";
import { AdamWMoments, adamw } from "./adamw.js";
import { type AdamWReference, adamwReference, adamwStart } from "./adamw.reference.js";
import { adamwVariants } from "./adamw.wgsl.js";

const cases = [
  { name: "one tensor", sizes: [7], hasAverage: false },
  { name: "tensors of odd sizes, with an average", sizes: [1, 4097, 64, 3, 70], hasAverage: true },
  {
    name: "more tensors than a launch takes",
    sizes: Array.from({ length: 37 }, (_, i) => 3 * i + 1),
    hasAverage: false,
  },
];

describe.each(await devices())("adamw on $label", (device) => {
  test.each(cases)("$name", async ({ sizes, hasAverage }) => {
    const before = device.memory.live;
    {
      const options = { beta1: 0.9, beta2: 0.95, eps: 1e-6, emaDecay: 0.8 };
      const start = sizes.map((size, i) => fill(size, i));
      const parameters = start.map((data) => upload(device, data, [data.length]));
      using moments = new AdamWMoments(device, parameters, { hasAverage });
      using record = updateRecord(device);
      const wanted = start.map((data) => adamwStart(data));
      for (let step = 1; step <= 4; step++) {
        const slopes = sizes.map((size, i) => fill(size, 100 * step + i));
        const gradients = slopes.map((data) => upload(device, data, [data.length]));
        globalNorm(gradients, record, { maxNorm: 0.7, ...options });
        const factor = Math.min(1, 0.7 / Math.sqrt(slopes.flatMap((g) => [...g]).reduce((sum, g) => sum + g * g, 0)));
        const of = (i: number) => ({ rate: 0.01 * (1 + (i % 2)), decay: i % 3 === 0 ? 0.1 : 0 });
        adamw(
          gradients.map((gradient, i) => ({ parameter: parameters[i] as Tensor, gradient, ...of(i) })),
          moments,
          record,
          options,
        );
        for (const [i, state] of wanted.entries()) {
          adamwReference(state, slopes[i]!, { ...of(i), factor, step }, options);
        }
        for (const gradient of gradients) gradient.dispose();
      }
      for (const [i, state] of wanted.entries()) {
        expectNear(await parameters[i]!.readFloat32(), state.parameter, { relativeRms: 1e-6 });
        expectNear(await moments.read(i, "first"), state.first, { relativeRms: 1e-6 });
        expectNear(await moments.read(i, "second"), state.second.map(Math.sqrt), { relativeRms: 1e-6 });
        if (hasAverage) expectNear(await moments.read(i, "average"), state.average, { relativeRms: 1e-6 });
      }
      for (const parameter of parameters) parameter.dispose();
    }
    expect(device.memory.live).toBe(before);
  });

  test("gradients of 1e-25 count, with an eps of 1e-35 as well as with one of 1e-15", async () => {
    for (const eps of [1e-35, 1e-15]) {
      const gradient = Float32Array.of(1e-25, -3e-26, 0, 2e-14);
      using p = upload(device, [1, 1, 1, 1], [4]);
      using g = upload(device, gradient, [4]);
      using moments = new AdamWMoments(device, [p]);
      using record = updateRecord(device);
      const wanted: AdamWReference = adamwStart([1, 1, 1, 1]);
      for (let step = 1; step <= 2; step++) {
        globalNorm([g], record);
        adamw([{ parameter: p, gradient: g, rate: 0.1, decay: 0 }], moments, record, { eps });
        adamwReference(wanted, gradient, { rate: 0.1, decay: 0, factor: 1, step }, { eps });
      }
      expectNear(await p.readFloat32(), wanted.parameter, { absolute: 1e-6 });
    }
  });

  test("a gradient that is not finite changes nothing, and the next step is as if it had not been", async () => {
    const run = async (series: readonly number[]) => {
      using p = upload(device, [1, -2, 3], [3]);
      using moments = new AdamWMoments(device, [p], { hasAverage: true });
      using record = updateRecord(device);
      for (const value of series) {
        using g = upload(device, [0.5, value, -0.25], [3]);
        globalNorm([g], record, { maxNorm: 1 });
        adamw([{ parameter: p, gradient: g, rate: 0.1, decay: 0.1 }], moments, record);
      }
      return [await p.readFloat32(), await moments.read(0, "second"), await moments.read(0, "average")];
    };
    expect(await run([1, Number.NaN, 2, Number.POSITIVE_INFINITY])).toEqual(await run([1, 2]));
  });

  test("moments are written and read back", async () => {
    using a = upload(device, new Float32Array(5), [5]);
    using b = upload(device, new Float32Array(4100), [4100]);
    using moments = new AdamWMoments(device, [a, b]);
    const values = fill(4100, 3);
    moments.write(1, "second", values);
    moments.write(0, "first", Float32Array.of(1, 2, 3, 4, 5));
    expect(await moments.read(1, "second")).toEqual(values);
    expect(await moments.read(0, "first")).toEqual(Float32Array.of(1, 2, 3, 4, 5));
    expect(await moments.read(1, "first")).toEqual(new Float32Array(4100));
  });
});

test("every kernel compiles", async () => {
  for (const { messages } of await compileOnNullBackend(adamwVariants())) expect(messages).toEqual([]);
});
