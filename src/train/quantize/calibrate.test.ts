/**
 * A fixture model calibrated on made-up ids: moments, rounding, and the checkpoint that comes out. Not on software GPUs: the
 * operations have their own tests there, and compiling this many shapes takes a minute.
 */
import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { memorySink, memorySource, openCheckpoint, openSafetensors, writeSafetensors } from "../../formats/index.js";
import { directoryFolder } from "../../formats/node/index.js";
import { familyOf, loadLanguageModel, loadWeights, matrixPlaces, quantizedTensors } from "../../models/index.js";
import { disposeAll } from "../../models/measure.js";
import { calibratedExperts } from "./calibrate.js";
import { expertMoments } from "./expert-moments.js";

const folder = directoryFolder(
  new URL("../../../test/fixtures/models/minimax_m1_c_heads6_shared", import.meta.url).pathname,
);
const ids = Array.from({ length: 40 }, (_, i) => (i * 37) % 64);

describe.each((await devices()).filter((device) => !device.isSoftware))("calibration on $label", (device) => {
  test("moments are symmetric, of all layers, and nothing stays on the device", async () => {
    const liveBefore = device.memory.live;
    using model = await loadLanguageModel(device, folder);
    const seen: number[] = [];
    const moments = await expertMoments(model, ids, { context: 16, onProgress: (done) => seen.push(done) });
    expect(seen).toEqual([16, 32, 40]);
    expect([...moments.keys()]).toEqual(Array.from({ length: model.layers }, (_, l) => l));
    for (const { gateUp, down } of moments.values()) {
      expect(gateUp.map(({ count }) => count)).toEqual(down.map(({ count }) => count));
      const total = gateUp.reduce((sum, { count }) => sum + count, 0);
      // Squares of shares that add up to 1 for each token.
      expect(total).toBeLessThanOrEqual(ids.length * (1 + 1e-6));
      expect(total).toBeGreaterThan(0);
      for (const { sum, size } of [...gateUp, ...down]) {
        for (let i = 0; i < size; i++) {
          expect(sum[i * size + i]).toBeGreaterThanOrEqual(0);
          for (let k = 0; k < i; k++) expect(sum[i * size + k]).toBeCloseTo(sum[k * size + i]!, 4);
        }
      }
    }
    model.dispose();
    expect(device.memory.live).toBe(liveBefore);
  });

  test("the calibrated checkpoint loads; what is to be int8 is", async () => {
    const json = await folder.readJson("config.json");
    await using checkpoint = await openCheckpoint(folder);
    const tree = familyOf(json, "config.json").weights(
      json,
      "config.json",
      (name) => checkpoint.entries.get(name)?.shape,
    );
    const int8 = new Set(["layers.0.moe.down"]);
    let moments: Awaited<ReturnType<typeof expertMoments>>;
    {
      using model = await loadLanguageModel(device, folder);
      moments = await expertMoments(model, ids);
    }
    const encoded = await calibratedExperts(checkpoint, tree, moments, { skip: int8 });
    const places = matrixPlaces(checkpoint, tree);
    const expected = places
      .filter(({ path }) => path.includes(".moe.") && !int8.has(path))
      .flatMap(({ parts }) => parts.map(({ name }) => name));
    expect([...encoded.keys()].sort()).toEqual(expected.sort());

    const sink = memorySink();
    await writeSafetensors(sink, quantizedTensors(checkpoint, tree, { int8, encoded }));
    await using quantized = await openSafetensors(memorySource("quantised", sink.bytes()));
    const kinds = (path: string) => {
      const parts = places.find((place) => place.path === path)?.parts ?? [];
      return [...new Set(parts.map(({ name }) => quantized.entries.get(name)?.dtype))];
    };
    expect(kinds("layers.0.moe.down")).toEqual(["I8"]);
    expect(kinds("layers.0.moe.gateUp")).toEqual(["U8"]);
    expect(kinds("layers.1.moe.down")).toEqual(["U8"]);
    const liveBefore = device.memory.live;
    const weights = await loadWeights(device, quantized, tree, { source: "quantised" });
    expect(device.memory.live).toBeGreaterThan(liveBefore);
    disposeAll([weights]);
    expect(device.memory.live).toBe(liveBefore);
  });

  test("an aborted calibration stops", async () => {
    using model = await loadLanguageModel(device, folder);
    await expect(expertMoments(model, ids, { signal: AbortSignal.abort(new Error("enough")) })).rejects.toThrow(
      "enough",
    );
  });
});
