/** RMSNorm; rotary embedding through the cache's append, and the inverse frequencies of each scaling. */
import { z } from "zod";
import type { Device } from "../../../device/index.js";
import { buildStep } from "../../../nn/index.js";
import { PAGE_TOKENS, type RopeScaling, rmsNorm, ropeAppend, ropeFrequencies, ropeTable } from "../../../ops/index.js";
import { upload, zeros } from "../../../tensor/index.js";
import { type Check, checkRms, relativeRms } from "../compare.js";
import { parseReference, type ReferenceTensors } from "../goldens-file.js";

const TOLERANCE = 1e-5;

const normSchema = z.looseObject({ cases: z.array(z.looseObject({ name: z.string(), eps: z.number() })) });

export async function* checkRmsNorm(device: Device, json: unknown, reference: ReferenceTensors): AsyncGenerator<Check> {
  for (const { name, eps } of parseReference(normSchema, json, "rmsnorm.json").cases) {
    const [T = 0, C = 0] = reference.shape(`${name}.x`);
    using x = upload(device, Float32Array.from(await reference.values(`${name}.x`)), [T, C]);
    using w = upload(device, Float32Array.from(await reference.values(`${name}.w`)), [C]);
    using y = rmsNorm(x, w, { eps });
    yield checkRms(
      `rmsnorm ${name}`,
      relativeRms(await y.readFloat32(), await reference.values(`${name}.y`)),
      TOLERANCE,
    );
  }
}

const ropeSchema = z.looseObject({
  cases: z
    .array(
      z.looseObject({
        name: z.string(),
        head_dim: z.number().int(),
        rotary_dim: z.number().int(),
        theta: z.number(),
        positions: z.array(z.number().int()),
      }),
    )
    .default([]),
  inv_freq: z
    .array(
      z.looseObject({
        tensor: z.string(),
        rope_type: z.enum(["default", "linear", "llama3", "yarn"]),
        dim: z.number().int(),
        theta: z.number(),
        // Other libraries write names and flags beside the numbers.
        params: z.record(z.string(), z.unknown()).default({}),
        attention_factor: z.number().default(1),
      }),
    )
    .default([]),
});

export async function* checkRope(device: Device, json: unknown, reference: ReferenceTensors): AsyncGenerator<Check> {
  const { cases, inv_freq } = parseReference(ropeSchema, json, "rope.json");
  for (const { name, head_dim: D, rotary_dim: rotaryDim, theta, positions } of cases) {
    const x = await reference.values(`${name}.x`);
    const y = await reference.values(`${name}.y`);
    const heads = x.length / (positions.length * D);
    const rope = ropeTable(device, { rotaryDim, theta, maxPositions: Math.max(...positions) + 1 });
    const pagesPerSlot = Math.ceil((Math.max(...positions) + 1) / PAGE_TOKENS);
    using pageTable = upload(device, new Int32Array(pagesPerSlot).fill(-1), [1, pagesPerSlot], "i32");
    using keys = zeros(device, [1, 1, PAGE_TOKENS, D]);
    using values = zeros(device, [1, 1, PAGE_TOKENS, D]);
    const pages = {
      dtype: "f32" as const,
      kvHeads: 1,
      headDim: D,
      pageTable,
      segments: [{ keys, values, firstPage: 0, pages: 1 }],
    };
    const got = new Float32Array(x.length);
    for (const [i, position] of positions.entries()) {
      const row = Float32Array.from(x.subarray(i * heads * D, (i + 1) * heads * D));
      // q carries the reference's heads; one key and one value head come along. Slot −1: nothing is appended.
      const qkv = new Float32Array((heads + 2) * D);
      qkv.set(row);
      using tensor = upload(device, qkv, [1, (heads + 2) * D]);
      using step = buildStep(device, [{ slot: -1, past: position, ids: [0] }]);
      ropeAppend(tensor, pages, { heads, rope }, step);
      got.set((await tensor.readFloat32()).subarray(0, heads * D), i * heads * D);
    }
    rope.dispose();
    yield checkRms(`rope ${name}`, relativeRms(got, y), TOLERANCE);
  }
  for (const { tensor, rope_type, dim, theta, params, attention_factor } of inv_freq) {
    const scaling = scalingOf(rope_type, params);
    const got = ropeFrequencies({ rotaryDim: dim, theta, ...(scaling ? { scaling } : {}) });
    yield checkRms(`${tensor} (${rope_type})`, relativeRms(got.inverse, await reference.values(tensor)), 1e-6);
    yield checkRms(`${tensor} attention factor`, Math.abs(got.attentionFactor / attention_factor - 1), 1e-9);
  }
}

function scalingOf(type: string, params: Readonly<Record<string, unknown>>): RopeScaling | undefined {
  const p: Record<string, number> = {};
  for (const [name, value] of Object.entries(params)) if (typeof value === "number") p[name] = value;
  const need = (name: string): number => {
    const value = p[name];
    if (value === undefined) throw new RangeError(`rope.json: type ${type} needs ${name}`);
    return value;
  };
  switch (type) {
    case "linear":
      return { type, factor: need("factor") };
    case "llama3":
      return {
        type,
        factor: need("factor"),
        lowFreqFactor: need("low_freq_factor"),
        highFreqFactor: need("high_freq_factor"),
        originalMaxPositions: need("original_max_position_embeddings"),
      };
    case "yarn":
      return {
        type,
        factor: need("factor"),
        originalMaxPositions: need("original_max_position_embeddings"),
        ...(p["beta_fast"] !== undefined ? { betaFast: p["beta_fast"] } : {}),
        ...(p["beta_slow"] !== undefined ? { betaSlow: p["beta_slow"] } : {}),
        ...(p["attention_factor"] !== undefined ? { attentionFactor: p["attention_factor"] } : {}),
        ...(p["mscale"] !== undefined ? { mscale: p["mscale"] } : {}),
        ...(p["mscale_all_dim"] !== undefined ? { mscaleAllDim: p["mscale_all_dim"] } : {}),
      };
    default:
      return undefined;
  }
}
