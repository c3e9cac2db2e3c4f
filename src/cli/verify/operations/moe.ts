/** Routing, and a whole block of experts with and without a shared one. */
import { z } from "zod";
import type { Device } from "../../../device/index.js";
import { gatedMlp } from "../../../nn/index.js";
import { matmul, moe, routeExperts, weightFromFloat32 } from "../../../ops/index.js";
import { upload } from "../../../tensor/index.js";
import { type Check, checkRms, relativeRms } from "../compare.js";
import { parseReference, type ReferenceTensors } from "../goldens-file.js";

const TOLERANCE = 1e-5;

const schema = z.looseObject({
  routes: z
    .array(z.looseObject({ name: z.string(), N: z.number().int(), experts: z.number().int(), top_k: z.number().int() }))
    .default([]),
  block: z
    .looseObject({
      H: z.number().int(),
      I: z.number().int(),
      experts: z.number().int(),
      top_k: z.number().int(),
      N: z.number().int(),
    })
    .optional(),
});

const float32 = async (reference: ReferenceTensors, name: string) => Float32Array.from(await reference.values(name));

export async function* checkMoe(device: Device, json: unknown, reference: ReferenceTensors): AsyncGenerator<Check> {
  const { routes, block } = parseReference(schema, json, "moe.json");
  for (const { name, N, experts, top_k: topK } of routes) {
    using logits = upload(device, await float32(reference, `${name}.logits`), [N, experts]);
    for (const normalise of [true, false]) {
      const routed = routeExperts(logits, { topK, normalise });
      const chosen = await routed.experts.read();
      const weights = await routed.weights.readFloat32();
      routed.experts.dispose();
      routed.weights.dispose();
      const want = await reference.values(`${name}.index`);
      const equal = want.every((value, i) => chosen[i] === value);
      if (normalise)
        yield { name: `${name} experts`, passed: equal, detail: equal ? "equal" : `got ${chosen.join(" ")}` };
      const key = `${name}.${normalise ? "weight_norm" : "weight_raw"}`;
      yield checkRms(key, relativeRms(weights, await reference.values(key)), TOLERANCE);
    }
  }

  if (!block) return;
  const { H, I, experts: E, top_k: topK, N } = block;
  const w1 = await float32(reference, "block.w1");
  const w3 = await float32(reference, "block.w3");
  const gateUp = new Float32Array(E * 2 * I * H);
  for (let e = 0; e < E; e++) {
    gateUp.set(w1.subarray(e * I * H, (e + 1) * I * H), e * 2 * I * H);
    gateUp.set(w3.subarray(e * I * H, (e + 1) * I * H), (e * 2 + 1) * I * H);
  }
  using x = upload(device, await float32(reference, "block.x"), [N, H]);
  using router = weightFromFloat32(device, await float32(reference, "block.gate"), E, H, "f32");
  using gateUpMatrix = weightFromFloat32(device, gateUp, E * 2 * I, H, "f32");
  using down = weightFromFloat32(device, await float32(reference, "block.w2"), E * H, I, "f32");
  const weights = { router, gateUp: gateUpMatrix, down };
  const options = { experts: E, topK, normalise: true };
  {
    using y = moe(x, weights, options);
    yield checkRms("block.y", relativeRms(await y.readFloat32(), await reference.values("block.y")), TOLERANCE);
  }

  if (!reference.has("shared.y")) return;
  const shared = new Float32Array(2 * I * H);
  shared.set(await float32(reference, "block.shared_w1"), 0);
  shared.set(await float32(reference, "block.shared_w3"), I * H);
  using sharedGateUp = weightFromFloat32(device, shared, 2 * I, H, "f32");
  using sharedDown = weightFromFloat32(device, await float32(reference, "block.shared_w2"), H, I, "f32");
  using sharedGate = weightFromFloat32(device, await float32(reference, "block.shared_gate"), 1, H, "f32");
  using output = gatedMlp(x, { gateUp: sharedGateUp, down: sharedDown });
  using coefficient = matmul(x, sharedGate);
  using y = moe(x, weights, { ...options, shared: { output, coefficient } });
  yield checkRms("shared.y", relativeRms(await y.readFloat32(), await reference.values("shared.y")), TOLERANCE);
}
