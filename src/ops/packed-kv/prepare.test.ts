import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { makeStep, randomArray } from "../../../test/kv-batch.js";
import { expectNear } from "../../../test/near.js";
import { emptyStore, packedFormat, uploadStore } from "../../../test/packed-store.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { ropeFrequencies, ropeTable } from "../rope/rope.js";
import type { PackedFormat } from "./format.js";
import { prepareKv, prepareVariants } from "./prepare.js";
import { prepareReference, roundsToHalves } from "./prepare.reference.js";
import { cacheHalf } from "./quantiser.reference.js";

test("every WebGPU variant compiles", async () => {
  expect((await compileOnNullBackend(prepareVariants())).filter(({ messages }) => messages.length > 0)).toEqual([]);
});

interface Case {
  readonly name: string;
  readonly format: PackedFormat;
  readonly rotaryDim?: number;
  readonly norms?: boolean;
}

const cases: readonly Case[] = [
  { name: "rotary alone", format: packedFormat({}), rotaryDim: 32 },
  { name: "nothing at all", format: packedFormat({ headDim: 20, keys: { group: 20 }, values: { group: 20 } }) },
  {
    name: "transforms after rotary, norms",
    format: packedFormat({ keyRotation: 32, valueRotation: 32 }),
    rotaryDim: 16,
    norms: true,
  },
  {
    name: "blocks of 16 in 80 channels",
    format: packedFormat({ headDim: 80, keyRotation: 16, valueRotation: 16 }),
    rotaryDim: 80,
  },
  { name: "rounded for a ring", format: packedFormat({ keyRotation: 32, recent: 3 }), rotaryDim: 32 },
  { name: "mean split", format: packedFormat({ keyRotation: 32, meanPairs: 5 }), rotaryDim: 32 },
  { name: "a mean value", format: packedFormat({ kvHeads: 3, valueRotation: 32, valueMean: true }), rotaryDim: 32 },
  {
    name: "rotary at read",
    format: packedFormat({ ropeAtRead: true, ordered: true, keyRotation: 64 }),
    rotaryDim: 32,
    norms: true,
  },
  {
    name: "rotary at read, no order, blocks over heads",
    format: packedFormat({ kvHeads: 3, headDim: 64, ropeAtRead: true, keyRotation: 64 }),
    rotaryDim: 32,
  },
  {
    name: "rotary at read with a ring",
    format: packedFormat({ ropeAtRead: true, ordered: true, keyRotation: 64, recent: 2 }),
    rotaryDim: 32,
  },
];

const rows = [
  { slot: 1, past: 62, count: 3 },
  { slot: -1, past: 3, count: 1 },
  { slot: 0, past: 0, count: 1 },
];
const positions = [62, 63, 64, 3, 0];

describe.each(await devices())("prepareKv on $label", (device) => {
  test.each(cases)("$name", async ({ format, rotaryDim, norms }) => {
    const { kvHeads, headDim, meanPairs } = format;
    const channels = kvHeads * headDim;
    const heads = 2 * kvHeads;
    const columns = heads + 2 * kvHeads;
    const input = randomArray(positions.length * columns * headDim, 17, 2);
    const scaling = { type: "yarn", factor: 4, originalMaxPositions: 64 } as const;
    const options = rotaryDim ? { rotaryDim, theta: 10_000, scaling } : undefined;
    const weight = randomArray(headDim, 3, 2);
    const mean = randomArray(channels, 8, 3);
    const order = Int32Array.from({ length: channels }, (_, i) => (i * 29 + 7) % channels);
    const expected = prepareReference({
      ...{ format, heads, kvHeads, headDim, positions, qkv: input, eps: 1e-5, mean },
      ...(options ? { rope: ropeFrequencies(options) } : {}),
      ...(norms ? { qNorm: weight, kNorm: weight } : {}),
      ...(format.ordered ? { order } : {}),
      ...(format.valueMean ? { valueMean: mean } : {}),
      pairs: Array.from({ length: kvHeads * meanPairs }, (_, i) => i % meanPairs),
    });
    const shape = {
      slots: 2,
      tokens: 100,
      segments: [2],
      seed: 1,
      ...(meanPairs ? { mean } : {}),
      ...(format.ordered ? { order } : {}),
    };

    const live = device.memory.live;
    await device.scope(async () => {
      const store = uploadStore(device, emptyStore(format, shape), shape);
      const valueMean = format.valueMean ? upload(device, mean, [kvHeads, headDim]) : undefined;
      const pages = { ...store, valueMean };
      const qkv = upload(device, input, [positions.length, columns * headDim]);
      const norm = norms ? upload(device, weight, [headDim]) : undefined;
      using prepared = prepareKv(
        qkv,
        pages,
        {
          ...{ heads, eps: 1e-5 },
          ...(options ? { rope: ropeTable(device, { ...options, maxPositions: 4096 }) } : {}),
          ...(norm ? { qNorm: norm, kNorm: norm } : {}),
        },
        makeStep(device, rows),
      );
      const found = await qkv.readFloat32();
      // Numbers up to 2·1.2 and a norm's factor; the table errs by 1.5e-7, a transform of n adds log₂ n roundings.
      const absolute = norms ? 1e-5 : 4e-6;
      for (let t = 0; t < positions.length; t += 1) {
        const [q, k, end] = [0, heads, columns].map((column) => (t * columns + column) * headDim);
        expectNear(found.subarray(q, k), expected.qkv.subarray(q, k), { absolute });
        const kv = found.subarray(k, end);
        if (!roundsToHalves(format)) expectNear(kv, expected.qkv.subarray(k, end), { absolute });
        else {
          expect(kv).toEqual(kv.map(cacheHalf));
          // Half a step of f16 in [4, 8), and a step where float32 lies on the other side of a tie.
          expectNear(kv, expected.qkv.subarray(k, end), { absolute: 2 ** -9 });
        }
      }
      expect(prepared.keyRows === undefined).toBe(expected.keyRows === undefined);
      if (prepared.keyRows) {
        // Rounded keys err by half a step of f16 each, which a transform adds up to √n times its 1/√n.
        const tolerance = roundsToHalves(format) ? 4e-3 : absolute;
        expectNear(await prepared.keyRows.readFloat32(), expected.keyRows!, { absolute: tolerance });
      }
      if (meanPairs) expectNear(await prepared.meanTerms!.readFloat32(), expected.meanTerms!, { absolute: 1e-5 });
    });
    expect(device.memory.live).toBe(live);
  });

  test("what does not fit is refused", () => {
    device.scope(() => {
      const store = (format: PackedFormat) => {
        const shape = { slots: 1, tokens: 100, segments: [1], seed: 1 };
        return uploadStore(device, emptyStore(format, shape), shape);
      };
      const step = makeStep(device, [{ slot: 0, past: 0, count: 1 }]);
      const qkv = upload(device, new Float32Array(192), [1, 192]);
      const prepare = (format: PackedFormat) => prepareKv(qkv, store(format), { heads: 2 }, step);
      expect(() => prepare(packedFormat({ keyRotation: 64 }))).toThrow("keyRotation expected a divisor of D = 32");
      expect(() => prepare(packedFormat({ valueRotation: 2 }))).toThrow(
        "valueRotation expected 0 or at least 4, got [2]",
      );
      expect(() => prepare(packedFormat({ meanPairs: 4 }))).toThrow("rope expected a table");
    });
  });
});
