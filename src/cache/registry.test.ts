import { expect, test } from "vitest";
import { decodeShape } from "../ops/packed-attention/packed-attention.launch-webgpu.js";
import { cacheKind, cacheNames } from "./index.js";
import { largestPairs } from "./kinds/meansplit.js";
import { gaussianClip } from "./kinds/normsplit.js";
import { channelOrder, headsTogether, keyRotationWidth } from "./kinds/rotatekv.js";
import { twoBit } from "./kinds/two-bit.js";
import { groupWithin } from "./packed-options.js";

const shape = { softmaxLayers: 4, kvHeads: 8, headDim: 128 };

test("every kind says its bits", () => {
  expect(Object.fromEntries(cacheNames.map((name) => [name, cacheKind(name).bits(shape)]))).toMatchInlineSnapshot(`
    {
      "2bit": 2.125,
      "akvq-2": 3.25,
      "bf16": 16,
      "f16": 16,
      "f32": 32,
      "int4": 5,
      "int8": 9,
      "kivi-2": 3,
      "kivi-3": 4,
      "kivi-4": 5,
      "meansplit-2": 2.125,
      "meansplit-3": 2.625,
      "normsplit-2": 3.0625,
      "normsplit-3": 3.5625,
      "rotatekv-2": 2.25,
      "rotatekv-3": 3.25,
      "rotatekv-4": 4.25,
      "rtn-2": 3,
      "rtn-3": 4,
      "rtn-4": 5,
    }
  `);
});

test.each([
  [32, 128],
  [4, 64],
])("the default is decoded with products of integers, means and all: %i heads of %i", (kvHeads, headDim) => {
  const means = new Float32Array(kvHeads * headDim).fill(1);
  const ofLayer = { meanAllKeys: undefined, meanKeys: means, meanValues: means, policy: undefined, widths: undefined };
  const { format } = twoBit.recipe({
    ...{ kvHeads, headDim, rotaryDim: headDim, layer: 0, layers: 1, options: {} },
    calibration: { fingerprint: "", tokens: 1, layers: [ofLayer] },
  });
  expect(format).toMatchObject({ meanPairs: 16, valueMean: true });
  const device = { smallestSubgroup: 32, integerDots: true, workgroupBytes: 32_768 };
  expect(decodeShape(format, 1, device)).toMatchObject({ integerKeys: true, integerValues: true });
});

test("options come behind a colon or as an object, and layers may differ", () => {
  const kind = cacheKind("normsplit-2:keyBits=4/3,group=128");
  expect(kind.name).toBe("normsplit-2:keyBits=4/3,group=128");
  // Keys 4, 3, 3, 3 bits, values 2; 32/128 on both sides, and a norm.
  expect(kind.bits(shape)).toBeCloseTo(((4 + 3 * 3) / 4 + 2 + 2 * 0.25 + 16 / 128) / 2, 12);
  const same = cacheKind({ kind: "normsplit", bits: 2, keyBits: [4, 3], group: 128 });
  expect(same.name).toBe(kind.name);
  expect(same.bits(shape)).toBe(kind.bits(shape));
  expect(cacheKind({ kind: "f16" }).name).toBe("f16");
  expect(cacheKind({ kind: "int8" }).name).toBe("int8");
});

test.each([
  ["f16:group=32", "cache kind f16 has no options"],
  ["normsplit", 'unknown cache kind "normsplit": expected one of f32'],
  ["normsplit-2:heads=4", 'cache kind normsplit-2 has no option "heads": expected one of keyBits'],
  ["normsplit-2:group=33", "cache kind normsplit-2: group expected 16, 32, 64 or 128, got 33"],
  ["normsplit-2:keyBits=2/5", "cache kind normsplit-2: keyBits expected 2, 3, 4 or 8, got [2,5]"],
  ["normsplit-2:clip=0", "cache kind normsplit-2: clip expected a number above 0, at most 1, got 0"],
  ["normsplit-2:recent=-1", "cache kind normsplit-2: recent expected a whole number in range, got -1"],
  ["normsplit-2:strictPrefill=1", "cache kind normsplit-2: strictPrefill expected true or false, got 1"],
  ["rotatekv-2:reorder=some", 'cache kind rotatekv-2: reorder expected global, block or none, got "some"'],
  ["rotatekv-2:", 'cache kind rotatekv-2: options are written name=value with commas between, got ""'],
])("%s is refused", (kv, message) => {
  expect(() => cacheKind(kv)).toThrow(message);
});

test("groups fill a head", () => {
  expect([8, 24, 64, 80, 96, 128, 200].map((size) => groupWithin(size, 32))).toEqual([8, 24, 32, 16, 32, 32, 200]);
  expect(groupWithin(64, 128)).toBe(64);
});

test("clips by the size of a group", () => {
  expect(gaussianClip(2, 32)).toBe(0.725);
  expect(gaussianClip(3, 80)).toBe(0.85);
  expect(gaussianClip(2, 8)).toBe(0.8);
});

test("the pairs with the largest mean are kept", () => {
  // One head of 8 channels, 6 of them rotary: pairs (0, 3), (1, 4), (2, 5).
  const mean = Float32Array.of(1, 5, 0, -3, 0, 4, 9, 9);
  const { values, pairs } = largestPairs(mean, { kvHeads: 1, headDim: 8, rotaryDim: 6, count: 2 });
  expect([...pairs]).toEqual([1, 2]);
  expect([...values]).toEqual([0, 5, 0, 0, 0, 4, 0, 0]);
});

test("RotateKV rotates heads together and sorts by the mean of the rotated channels", () => {
  expect([1, 2, 6, 7, 8].map((heads) => headsTogether(heads, 4))).toEqual([1, 2, 3, 1, 4]);
  expect(keyRotationWidth(8, 128)).toBe(512);
  expect(keyRotationWidth(6, 64)).toBe(64); // three heads of 64: blocks of 64
  const mean = Float64Array.of(1, 0, 0, 0, 0, 2, 0, 0);
  // Rotated by blocks of 4: ½ ½ ½ ½, 1 −1 1 −1.
  expect([...channelOrder(mean, 4, "global")]).toEqual([5, 7, 0, 1, 2, 3, 4, 6]);
  expect([...channelOrder(mean, 4, "block")]).toEqual([0, 1, 2, 3, 5, 7, 4, 6]);
});
