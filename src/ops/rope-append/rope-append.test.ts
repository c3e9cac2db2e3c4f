import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import {
  type CacheShape,
  type KvDType,
  makePages,
  makeStep,
  randomArray,
  readPages,
  rounded,
} from "../../../test/kv-batch.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { ropeFrequencies, ropeTable } from "../rope/rope.js";
import { ropeAppend, ropeAppendVariants } from "./rope-append.js";
import { ropeAppendReference } from "./rope-append.reference.js";

interface Rotation {
  readonly name: string;
  readonly head_dim: number;
  readonly rotary_dim: number;
  readonly theta: number;
  readonly positions: number[];
  readonly heads: number;
  readonly x: number[];
  readonly y: number[];
}

const { rotations } = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/ops/rope.json", import.meta.url), "utf8"),
) as { rotations: Rotation[] }; // written by the golden script in this form

test.each(rotations)("the reference rotates as the golden $name", (golden) => {
  const y = ropeAppendReference({
    heads: golden.heads,
    kvHeads: 0,
    headDim: golden.head_dim,
    qkv: golden.x,
    positions: golden.positions,
    rope: ropeFrequencies({ rotaryDim: golden.rotary_dim, theta: golden.theta }),
  });
  expectNear(y, golden.y, { absolute: 1e-8 });
});

test("every WebGPU variant compiles", async () => {
  const kernels = ropeAppendVariants();
  expect((await compileOnNullBackend(kernels)).filter(({ messages }) => messages.length > 0)).toEqual([]);
});

interface Case {
  readonly name: string;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rotaryDim?: number;
  readonly norm?: "q" | "k" | "both";
  readonly dtype?: KvDType;
  readonly segments?: readonly number[];
  /** Factor of the inputs. */
  readonly inputs?: number;
}

const cases: readonly Case[] = [
  { name: "one head, all channels", heads: 1, kvHeads: 1, headDim: 8, rotaryDim: 8 },
  { name: "partial rotary, grouped", heads: 6, kvHeads: 2, headDim: 24, rotaryDim: 12 },
  { name: "odd number of pairs", heads: 2, kvHeads: 1, headDim: 10, rotaryDim: 6 },
  { name: "no rotary", heads: 2, kvHeads: 2, headDim: 16 },
  { name: "both norms", heads: 4, kvHeads: 2, headDim: 80, rotaryDim: 32, norm: "both" },
  { name: "norm of q, no rotary", heads: 2, kvHeads: 1, headDim: 16, norm: "q" },
  { name: "norm of k", heads: 2, kvHeads: 1, headDim: 16, rotaryDim: 16, norm: "k" },
  { name: "f16 pages, two segments", heads: 3, kvHeads: 3, headDim: 16, rotaryDim: 8, dtype: "f16", segments: [2, 3] },
  { name: "bf16 pages", heads: 2, kvHeads: 1, headDim: 128, rotaryDim: 128, dtype: "bf16" },
  { name: "f16: subnormal values", heads: 1, kvHeads: 1, headDim: 8, dtype: "f16", inputs: 1e-6 },
  { name: "f16: values up to overflow", heads: 1, kvHeads: 1, headDim: 8, dtype: "f16", inputs: 70_000 },
  { name: "head size 256, three segments", heads: 2, kvHeads: 1, headDim: 256, rotaryDim: 64, segments: [1, 1, 3] },
];

/** Three sequences: a long prompt's end over a page border, a dead row, the first token of another, one far away. */
const rows = [
  { slot: 1, past: 62, count: 4 },
  { slot: -1, past: 3, count: 1 },
  { slot: 0, past: 0, count: 1 },
];
const positions = [62, 63, 64, 65, 3, 0];

describe.each(await devices())("ropeAppend on $label", (device) => {
  test.each(cases)("$name", async (c) => {
    const { heads, kvHeads, headDim, rotaryDim, dtype = "f32" } = c;
    const shape: CacheShape = { dtype, kvHeads, headDim, segments: c.segments ?? [4], lengths: [64, 128], seed: 5 };
    const columns = heads + 2 * kvHeads;
    const input = randomArray(positions.length * columns * headDim, 11, c.inputs ?? 1);
    const scaling = { type: "yarn", factor: 4, originalMaxPositions: 64 } as const;
    const weight = randomArray(headDim, 3, 2);
    const options = rotaryDim ? { rotaryDim, theta: 10_000, scaling } : undefined;
    const qNorm = c.norm === "q" || c.norm === "both" ? weight : undefined;
    const kNorm = c.norm === "k" || c.norm === "both" ? weight : undefined;
    const expected = ropeAppendReference({
      ...{ heads, kvHeads, headDim, qkv: input, positions, eps: 1e-5 },
      ...(options ? { rope: ropeFrequencies(options) } : {}),
      ...(qNorm ? { qNorm } : {}),
      ...(kNorm ? { kNorm } : {}),
    });

    const live = device.memory.live;
    await device.scope(async () => {
      const pages = makePages(device, shape);
      const qkv = upload(device, input, [positions.length, columns * headDim]);
      const rope = options && ropeTable(device, { ...options, maxPositions: 4096, headDim });
      ropeAppend(
        qkv,
        pages,
        {
          heads,
          eps: 1e-5,
          ...(rope ? { rope } : {}),
          ...(qNorm ? { qNorm: upload(device, qNorm, [headDim]) } : {}),
          ...(kNorm ? { kNorm: upload(device, kNorm, [headDim]) } : {}),
        },
        makeStep(device, rows),
      );
      // Rotation: three products and the table's 1.5e-7 on values of at most 2·1.4; the norm sums D squares.
      const absolute = (c.inputs ?? 1) * (c.norm ? 2e-6 : 1e-6);
      const q = await qkv.readFloat32();
      const size = heads * headDim;
      for (let t = 0; t < positions.length; t += 1) {
        const at = t * columns * headDim;
        expectNear(q.subarray(at, at + size), expected.subarray(at, at + size), { absolute });
      }

      for (const { slot, past, count } of rows.filter((row) => row.slot >= 0)) {
        const stored = await readPages(pages, shape, slot, past + count);
        const stride = kvHeads * headDim;
        // Positions before the step were never written.
        expect(stored.keys.subarray(0, past * stride).every(Number.isNaN)).toBe(true);
        expect(stored.values.subarray(0, past * stride).every(Number.isNaN)).toBe(true);
        for (let i = 0; i < count; i += 1) {
          const from = (positions.indexOf(past + i) * columns + heads) * headDim;
          const k = expected.subarray(from, from + stride);
          const v = expected.subarray(from + stride, from + 2 * stride);
          const at = (past + i) * stride;
          // v is only rounded: the bits must be right. k may round the other way where float32 differs from float64.
          expectNear(
            stored.values.subarray(at, at + stride),
            v.map((x) => rounded(x, dtype)),
            { absolute: 0 },
          );
          const storedK = stored.keys.subarray(at, at + stride);
          const roundedK = k.map((x) => rounded(x, dtype));
          if (!rotaryDim && !kNorm) expectNear(storedK, roundedK, { absolute: 0 });
          else {
            const step = { f32: 0, f16: 2 ** -10, bf16: 2 ** -7 }[dtype];
            expectNear(storedK, k, { absolute: absolute + 2 * step * Math.max(...k.map(Math.abs)) });
            // Such a flip is rare: nearly all equal the rounded reference exactly.
            if (dtype !== "f32") {
              expect(storedK.filter((x, n) => x !== roundedK[n]).length).toBeLessThanOrEqual(Math.ceil(stride / 50));
            }
          }
        }
      }
    });
    expect(device.memory.live).toBe(live);
  });

  test("positions up to a million rotate as precisely as the first", async () => {
    const golden = rotations.find((r) => r.name === "rope_d24_r12")!;
    const { head_dim: headDim, rotary_dim: rotaryDim, theta } = golden;
    const tokens = golden.positions.length;
    // Two q heads from the golden, and one key and one value head of no interest; all tokens dead, so nothing is appended.
    const input = new Float32Array(tokens * 4 * headDim);
    for (let t = 0; t < tokens; t += 1) {
      input.set(golden.x.slice(t * 2 * headDim, (t + 1) * 2 * headDim), t * 4 * headDim);
    }
    await device.scope(async () => {
      const pages = makePages(device, { dtype: "f32", kvHeads: 1, headDim, segments: [1], lengths: [64], seed: 1 });
      const rope = ropeTable(device, { rotaryDim, theta, maxPositions: 1_000_001 });
      const qkv = upload(device, input, [tokens, 4 * headDim]);
      const step = makeStep(
        device,
        golden.positions.map((past) => ({ slot: -1, past, count: 1 })),
      );
      ropeAppend(qkv, pages, { heads: 2, rope }, step);
      const y = await qkv.readFloat32();
      for (let t = 0; t < tokens; t += 1) {
        const got = y.subarray(t * 4 * headDim, (t * 4 + 2) * headDim);
        expectNear(got, golden.y.slice(t * 2 * headDim, (t + 1) * 2 * headDim), { absolute: 6e-7 });
      }
    });
  });

  test("errors say what was expected", () => {
    device.scope(() => {
      const pages = makePages(device, { dtype: "f32", kvHeads: 2, headDim: 8, segments: [1], lengths: [64], seed: 1 });
      const step = makeStep(device, [{ slot: 0, past: 0, count: 3 }]);
      const qkv = upload(device, new Float32Array(3 * 64), [3, 64]);
      expect(() => ropeAppend(qkv, pages, { heads: 3 }, step)).toThrow(
        "ropeAppend: heads expected a multiple of the 2 key/value heads, got 3",
      );
      expect(() => ropeAppend(qkv, pages, { heads: 2 }, step)).toThrow(
        "ropeAppend: qkv expected f32 [T=3, (H=2 + 2·G=2)·D=8] = [3, 48], got f32 [3, 64].",
      );
      const rope = ropeTable(device, { rotaryDim: 16, theta: 1e4, maxPositions: 64 });
      expect(() => ropeAppend(qkv, pages, { heads: 4, rope }, step)).toThrow(
        "ropeAppend: rope.rotaryDim expected at most the head size 8, got [16].",
      );
    });
  });
});
