/** Lightning attention with a given state: outputs at the listed rows, and the final state. */
import { z } from "zod";
import type { Device } from "../../../device/index.js";
import { buildStep, lightningSlopes, slopeFactor } from "../../../nn/index.js";
import { lightningAttention } from "../../../ops/index.js";
import { upload } from "../../../tensor/index.js";
import { type Check, checkRms, relativeRms } from "../compare.js";
import { parseReference, type ReferenceTensors } from "../goldens-file.js";
import { fill } from "./fill.js";

/** goldens/README: float32 relative RMS. */
const TOLERANCE = 1e-5;

const schema = z.looseObject({
  cases: z.array(
    z.looseObject({
      name: z.string(),
      heads: z.number().int(),
      head_dim: z.number().int(),
      T: z.number().int(),
      rows: z.array(z.number().int()),
      initial_state: z.string().optional(),
      streams: z.looseObject({ q: z.number(), k: z.number(), v: z.number(), S0: z.number().optional() }),
    }),
  ),
});

export async function* checkLightning(
  device: Device,
  json: unknown,
  reference: ReferenceTensors,
): AsyncGenerator<Check> {
  const { cases } = parseReference(schema, json, "lightning.json");
  for (const { name, heads: H, head_dim: D, T, rows, initial_state, streams } of cases) {
    // The reference lies as [heads, T, d]; the operation takes q, k, v of each head side by side per token.
    const parts = [streams.q, streams.k, streams.v].map((stream) => fill(H * T * D, stream));
    const qkv = new Float32Array(T * H * 3 * D);
    for (let t = 0; t < T; t++) {
      for (let h = 0; h < H; h++) {
        for (const [p, part] of parts.entries()) {
          qkv.set(part.subarray((h * T + t) * D, (h * T + t + 1) * D), ((t * H + h) * 3 + p) * D);
        }
      }
    }
    const size = H * D * D;
    const stream = initial_state === "zero" ? undefined : streams.S0;
    const initial = stream === undefined ? new Float32Array(size) : fill(size, stream);
    using x = upload(device, qkv, [T, H * 3 * D]);
    using state = upload(device, initial, [1, H, D, D]);
    using decay = upload(device, Float32Array.from(await reference.values(`${name}.slope`)), [H]);
    using step = buildStep(device, [{ slot: 0, past: 5, ids: Array<number>(T).fill(0) }]);
    using out = lightningAttention(x, state, decay, step);
    const got = await out.readFloat32();
    const picked = new Float32Array(H * rows.length * D);
    for (let h = 0; h < H; h++) {
      for (const [i, t] of rows.entries()) {
        picked.set(got.subarray((t * H + h) * D, (t * H + h + 1) * D), (h * rows.length + i) * D);
      }
    }
    yield checkRms(`lightning ${name} output`, relativeRms(picked, await reference.values(`${name}.o`)), TOLERANCE);
    const finalState = relativeRms(await state.readFloat32(), await reference.values(`${name}.S_T`));
    yield checkRms(`lightning ${name} final state`, finalState, TOLERANCE);
  }
}

const slopes = z.record(z.string(), z.array(z.number())).default({});
const factors = z.array(z.looseObject({ layer: z.number(), num_layers: z.number(), value: z.number() })).default([]);

const slopesSchema = z.looseObject({
  official: slopes,
  geometric: slopes,
  layer_factor_official: factors,
  layer_factor_transformers: factors,
});

export async function* checkSlopes(json: unknown): AsyncGenerator<Check> {
  const data = parseReference(slopesSchema, json, "slopes.json");
  for (const rule of ["official", "geometric"] as const) {
    for (const [heads, want] of Object.entries(data[rule])) {
      yield checkRms(`slopes ${rule} ${heads} heads`, relativeRms(lightningSlopes(Number(heads), rule), want), 1e-12);
    }
  }
  for (const [rule, cases] of [
    ["official", data.layer_factor_official],
    ["geometric", data.layer_factor_transformers],
  ] as const) {
    if (cases.length === 0) continue;
    const got = cases.map(({ layer, num_layers }) => slopeFactor(layer, num_layers, rule));
    yield checkRms(
      `layer factors ${rule}`,
      relativeRms(
        got,
        cases.map(({ value }) => value),
      ),
      1e-12,
    );
  }
}
