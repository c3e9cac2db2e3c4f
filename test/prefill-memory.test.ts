/** Long prompts are read in chunks: beyond the cache they need no more memory than short ones. */
import { describe, expect, test } from "vitest";
import { SequencePool } from "../src/cache/index.js";
import { withPositions } from "../src/cli/bench/open-model.js";
import { directoryFolder } from "../src/formats/node/index.js";
import { loadLanguageModel } from "../src/models/index.js";
import { buildStep } from "../src/nn/index.js";
import { devices } from "./devices.js";

const path = new URL("./fixtures/models/minimax_m1_f_bf16_sharded", import.meta.url).pathname;

describe.each(await devices())("a prompt on $label", (device) => {
  // In software a WebGPU token takes long.
  const [chunk, tokens] = device.kind === "cpu" ? [64, 1024] : [16, 48];

  test(`four times as long, in chunks of ${chunk}, takes no more memory beside its cache`, async () => {
    using model = await loadLanguageModel(device, withPositions(directoryFolder(path), 8192));

    const beside = async (length: number) => {
      using pool = new SequencePool(device, model.state, { slots: 1, maxTokens: length });
      using sequence = pool.open();
      sequence.reserve(length);
      const before = device.memory.live; // the cache included
      device.resetPeak();
      for (let past = 0; past < length; past += chunk) {
        const ids = Array.from({ length: chunk }, (_, i) => (past + 7 * i) % model.vocabSize);
        using step = buildStep(device, [{ slot: sequence.slot, past, ids }]);
        model.forward(step, pool).dispose();
        device.flush();
        sequence.length = past + chunk;
      }
      await device.idle();
      expect(device.memory.live).toBe(before);
      return { bytes: device.memory.peak - before, cache: pool.bytes };
    };

    const short = await beside(tokens);
    const long = await beside(4 * tokens);
    expect(short.bytes).toBeGreaterThan(0);
    expect(long.bytes).toBe(short.bytes);
    expect(long.cache).toBeGreaterThanOrEqual(short.cache);
  });
});
