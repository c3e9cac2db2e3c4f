/** A captured decode step of a whole model: replayed without new buffers, with as many launches for eight sequences as for one. */
import { describe, expect, test } from "vitest";
import { SequencePool } from "../src/cache/index.js";
import { directoryFolder } from "../src/formats/node/index.js";
import { DecodeBatch, recordDecode } from "../src/generate/decode-batch.js";
import { loadLanguageModel } from "../src/models/index.js";
import { buildStep } from "../src/nn/index.js";
import { CONTROL, CONTROL_WORDS, OUTPUT_WORDS } from "../src/ops/index.js";
import { zeros } from "../src/tensor/index.js";
import { devices } from "./devices.js";

const folder = directoryFolder(new URL("./fixtures/models/minimax_m1_f_bf16_sharded", import.meta.url).pathname);

/** Greedy generation without an end. */
function endlessControl(position: number): Int32Array {
  const words = new Int32Array(CONTROL_WORDS);
  const floats = new Float32Array(words.buffer);
  words[CONTROL.active] = 1;
  words[CONTROL.position] = position;
  words[CONTROL.maxTokens] = 1e6;
  words[CONTROL.thinkBudget] = -1;
  words[CONTROL.openId] = -1;
  words[CONTROL.closeId] = -1;
  words[CONTROL.forcedAt] = -1;
  words[CONTROL.maxPosition] = 1e6;
  floats[CONTROL.topP] = 1;
  floats[CONTROL.repetitionPenalty] = 1;
  return words;
}

describe.each(await devices())("a decode step on $label", (device) => {
  // Packed kinds on a software adapter: src/cache/packed-cache.test.ts, with shorter runs.
  const kinds = device.isSoftware
    ? ["f32"]
    : ["f32", "normsplit-2:recent=4", "meansplit-2", "rotatekv-2", "akvq-2:recent=9"];
  test.each(kinds)(
    "100 replays with %s make no new buffer and no new bind group, and the tokens stay on the device",
    async (kv) => {
      using model = await loadLanguageModel(device, folder);
      using pool = new SequencePool(device, model.state, { slots: 2, kv, maxTokens: 200 });
      using sequence = pool.open();
      sequence.reserve(130);
      using batch = new DecodeBatch(model, pool, 1);
      const controls = new Int32Array(2 * CONTROL_WORDS);
      controls.set(endlessControl(1), sequence.slot * CONTROL_WORDS);
      pool.controls.write(controls);
      batch.seat([{ slot: sequence.slot, token: 7, position: 0 }]);
      batch.run(4, 120);
      const tokens = (await batch.outputs(4)).map(([row]) => row?.token);

      const counters = () =>
        device.kind === "webgpu"
          ? {
              buffers: device.counters.buffers,
              bindGroups: device.counters.bindGroups,
              pipelines: device.counters.pipelines,
            }
          : { blocks: device.memory.blocksMade };
      const before = { ...counters(), live: device.memory.live };
      for (let i = 0; i < 4; i++) {
        batch.run(25, 120);
        for (const [row] of await batch.outputs(25)) tokens.push(row?.token);
      }
      // Reading the ring back uses one staging buffer, made by the first read.
      expect({ ...counters(), live: device.memory.live }).toEqual(before);
      expect(tokens).toHaveLength(104);
      expect(tokens.every((token) => token !== undefined && token >= 0 && token < model.vocabSize)).toBe(true);
    },
  );

  test("the number of launches does not depend on the batch", async () => {
    using model = await loadLanguageModel(device, folder);
    using pool = new SequencePool(device, model.state, { slots: 8, maxTokens: 64 });
    const launches: number[] = [];
    for (const size of [1, 2, 3, 8]) {
      const sequences = Array.from({ length: size }, () => pool.open());
      for (const sequence of sequences) sequence.reserve(2);
      using step = buildStep(
        device,
        sequences.map(({ slot }) => ({ slot, past: 0, ids: [3] })),
      );
      using ring = zeros(device, [1, size, OUTPUT_WORDS], "i32");
      using ringHead = zeros(device, [1], "i32");
      using list = device.capture(() => recordDecode(model, pool, step, ring, ringHead));
      launches.push(list.launches);
      for (const sequence of sequences) sequence.close();
    }
    // Few rows fuse a norm, a routing or a packing that more rows do as launches of their own: six a layer at best, ten at
    // most, whatever the batch.
    const [one = 0, two = 0, three = 0, eight = 0] = launches;
    expect(Math.max(two, three, eight), launches.join(" ")).toBeLessThanOrEqual(10 * model.layers + 6);
    // A layer: projections with the norm, append or state, attention and its output, two for the experts; around the layers
    // embedding, head with its norm, sampling and the step's end.
    expect(one).toBeLessThanOrEqual(6 * model.layers + 6);
    if (device.kind === "cpu") {
      // Threads meet after each launch: no form of the kernels for several rows has more of them than another.
      expect(three).toBe(eight);
    }
  });

  test.runIf(device.kind === "cpu")("a step forks the threads once", async () => {
    if (device.kind !== "cpu") return;
    using model = await loadLanguageModel(device, folder);
    using pool = new SequencePool(device, model.state, { slots: 1, maxTokens: 200 });
    using sequence = pool.open();
    sequence.reserve(64);
    using batch = new DecodeBatch(model, pool, 1);
    pool.controls.write(endlessControl(1));
    batch.seat([{ slot: sequence.slot, token: 7, position: 0 }]);
    batch.run(1, 60);
    await batch.outputs(1);
    const before = device.forks;
    for (let i = 0; i < 10; i++) {
      batch.run(1, 60);
      await batch.outputs(1);
    }
    expect(device.forks - before).toBeLessThanOrEqual(10);
  });
});
