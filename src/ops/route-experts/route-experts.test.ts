import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { expectNear } from "../../../test/near.js";
import type { Device } from "../../device/index.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { type RouteOptions, routeExperts } from "./route-experts.js";
import { routeExpertsReference } from "./route-experts.reference.js";
import { routeExpertsVariants } from "./route-experts.wgsl.js";

interface Golden {
  readonly name: string;
  readonly N: number;
  readonly experts: number;
  readonly top_k: number;
  readonly logits: readonly number[];
  readonly index: readonly number[];
  readonly weightNorm: readonly number[];
  readonly weightRaw: readonly number[];
}
const fixture = new URL("../../../test/fixtures/ops/moe.json", import.meta.url);
const { routes: goldens } = JSON.parse(readFileSync(fixture, "utf8")) as { routes: Golden[] }; // our own file

/** Logits up to 4 are rounded to 2⁻²² and move p as much; exp and the sums add a few units in the last place. */
const tolerance = { absolute: 2 ** -20 };

async function route(device: Device, logits: readonly number[], T: number, E: number, options: RouteOptions) {
  const liveBefore = device.memory.live;
  const result = await device.scope(async () => {
    const { experts, weights } = routeExperts(upload(device, logits, [T, E]), options);
    return { experts: [...(await experts.read())], weights: [...(await weights.readFloat32())] };
  });
  expect(device.memory.live).toBe(liveBefore);
  return result;
}

describe.each(await devices())("routeExperts on $label", (device) => {
  test.each(goldens)("golden $name", async (g) => {
    for (const normalise of [true, false]) {
      const { experts, weights } = await route(device, g.logits, g.N, g.experts, { topK: g.top_k, normalise });
      expect(experts).toEqual(g.index);
      expectNear(weights, normalise ? g.weightNorm : g.weightRaw, tolerance);
    }
  });

  test.each([
    { T: 1, E: 1, topK: 1 },
    { T: 3, E: 2, topK: 2 },
    { T: 5, E: 67, topK: 3 },
    { T: 2, E: 256, topK: 8 },
    { T: 1, E: 130, topK: 130 },
  ])("T=$T E=$E k=$topK against the reference", async ({ T, E, topK }) => {
    // Multiples of 1/8, so that many are equal.
    const logits = Array.from({ length: T * E }, (_, i) => Math.round(24 * Math.sin(1 + i * i * 0.37)) / 8);
    for (const normalise of [true, false]) {
      const expected = routeExpertsReference(logits, T, E, { topK, normalise });
      const { experts, weights } = await route(device, logits, T, E, { topK, normalise });
      expect(experts).toEqual([...expected.experts]);
      expectNear(weights, expected.weights, tolerance);
    }
  });

  test("equal logits: the lower expert first", async () => {
    const { experts, weights } = await route(device, [2, 2, 2, 2, 1, 7, 7, 1], 2, 4, { topK: 3, normalise: true });
    expect(experts).toEqual([0, 1, 2, 1, 2, 0]);
    expectNear(weights.slice(0, 3), [1 / 3, 1 / 3, 1 / 3], tolerance);
  });

  test("large logits do not overflow", async () => {
    const { experts, weights } = await route(device, [-1e4, 1e4, 9999], 1, 3, { topK: 2, normalise: false });
    expect(experts).toEqual([1, 2]);
    expectNear(weights, [1 / (1 + Math.exp(-1)), 1 / (1 + Math.exp(1))], tolerance);
  });

  test("NaN keeps experts in range", async () => {
    const { experts } = await route(device, [Number.NaN, 1, Number.NaN, 3], 1, 4, { topK: 3, normalise: true });
    for (const expert of experts) expect([0, 1, 2, 3]).toContain(expert);
  });

  test("what does not fit is a readable error", () => {
    device.scope(() => {
      const logits = upload(device, [1, 2, 3], [1, 3]);
      expect(() => routeExperts(logits, { topK: 4, normalise: true })).toThrow(
        "routeExperts: topK expected 1 … 3 (the experts), got 4",
      );
      expect(() => routeExperts(logits.reshape([3]), { topK: 1, normalise: true })).toThrow(
        "routeExperts: logits expected [T ≥ 1, E = 1 … 1024], got [3].",
      );
    });
  });
});

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(routeExpertsVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
