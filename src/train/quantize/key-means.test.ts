import { expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { CalibrationError, calibrationTensors, FullCache, readCalibration, SequencePool } from "../../cache/index.js";
import { channelOrder, keyRotationWidth } from "../../cache/kinds/rotatekv.js";
import { memorySink, memorySource, openSafetensors, writeSafetensors } from "../../formats/index.js";
import { directoryFolder } from "../../formats/node/index.js";
import { loadLanguageModel, modelFingerprint } from "../../models/index.js";
import { buildStep } from "../../nn/index.js";
import { keyMeans } from "./key-means.js";

const [device] = await devices();
if (!device) throw new Error("no device");
// With a norm of keys.
const folder = directoryFolder(new URL("../../../test/fixtures/models/qwen3_moe", import.meta.url).pathname);
const ids = Array.from({ length: 70 }, (_, i) => (i * 37) % 50);

test("means of the keys before rotary, as the cache has them", async () => {
  const liveBefore = device.memory.live;
  {
    using model = await loadLanguageModel(device, folder);
    const { tokens, layers } = await keyMeans(model, ids, { context: 48, first: 3 });
    expect(tokens).toBe(ids.length);
    expect(layers).toHaveLength(model.state.softmaxLayers);

    // At position 0 rotary does nothing: a sequence of one token shows its key in the cache.
    const { kvHeads, headDim } = model.state;
    const one = await keyMeans(model, [7, 7], { context: 1, first: 0 });
    using pool = new SequencePool(device, model.state, { slots: 1, maxTokens: 64 });
    using sequence = pool.open();
    sequence.reserve(1);
    using step = buildStep(device, [{ slot: sequence.slot, past: 0, ids: [7] }]);
    model.forward(step, pool).dispose();
    for (const [l, cache] of pool.caches.entries()) {
      if (!(cache instanceof FullCache)) throw new Error("not a full cache");
      const page = (await pool.pageTable.read())[0]!;
      const keys = await cache.segments[0]!.keys.readFloat32();
      const stored = Array.from({ length: kvHeads }, (_, g) => [
        ...keys.subarray((page * kvHeads + g) * 64 * headDim).subarray(0, headDim),
      ]).flat();
      one.layers[l]!.meanAllKeys.forEach((mean, c) => void expect(mean).toBeCloseTo(stored[c]!, 4));
      expect(one.layers[l]!.meanKeys).toEqual(one.layers[l]!.meanAllKeys);
    }
  }
  expect(device.memory.live).toBe(liveBefore);
});

test("the file comes back as it was written, for the same model only", async () => {
  using model = await loadLanguageModel(device, folder);
  const means = await keyMeans(model, ids);
  const fingerprint = await modelFingerprint(folder);
  const { state } = model;
  const { tensors, metadata } = calibrationTensors({ ...state, ...means, fingerprint, corpus: "00" });
  const sink = memorySink();
  await writeSafetensors(sink, tensors, metadata);
  const source = () => memorySource("calibration", sink.bytes());
  const read = await readCalibration(source(), fingerprint, state);
  expect(read.tokens).toBe(ids.length);
  expect(read.layers[1]?.meanAllKeys).toEqual(means.layers[1]?.meanAllKeys);
  expect(read.layers[1]?.meanKeys).toEqual(Float32Array.from(means.layers[1]!.meanKeys));
  await using file = await openSafetensors(source());
  const order = new Uint32Array((await file.read("layers.1.perm_k")).slice().buffer);
  const width = keyRotationWidth(state.kvHeads, state.headDim);
  expect([...order]).toEqual([...channelOrder(means.layers[1]!.meanAllKeys, width, "global")]);

  await expect(readCalibration(source(), "another", state)).rejects.toThrow(CalibrationError);
  await expect(readCalibration(source(), fingerprint, { ...state, kvHeads: state.kvHeads + 1 })).rejects.toThrow(
    /layers\.0\.mean_k expected/,
  );
  using calibrated = await loadLanguageModel(device, folder, { calibration: source() });
  expect(calibrated.state.calibration?.fingerprint).toBe(fingerprint);
});

test("a text without enough tokens is refused", async () => {
  using model = await loadLanguageModel(device, folder);
  await expect(keyMeans(model, [1, 2])).rejects.toThrow("calibration needs more than 4 tokens, got 2");
});
