/** The first answer on WebGPU finds its kernels compiled: that happens while the weights load. */
import { expect, test } from "vitest";
import { openFolder } from "../src/formats/index.js";
import { Engine, greedyRequest } from "../src/generate/index.js";
import { loadLanguageModel } from "../src/models/index.js";
import { webgpuOrSkip } from "./devices.js";

const path = new URL("fixtures/models/minimax_m1_c_heads6_shared", import.meta.url).pathname;
const device = await webgpuOrSkip();

test.skipIf(!device)("a first prompt and its decode steps compile nothing", { timeout: 300_000 }, async () => {
  if (!device) return;
  const live = device.memory.live;
  let compiling: Promise<void> | undefined;
  let engine = undefined as Engine | undefined; // set by the callback
  {
    using _ = await loadLanguageModel(device, await openFolder(path), {
      onAllocated(model) {
        engine = new Engine(model, { slots: 1 });
        compiling = engine.rehearse();
      },
    });
    await compiling;
    const { pipelines } = device.counters;
    let tokens = 0;
    for await (const _ of engine?.generate(greedyRequest([5, 6, 7, 8, 9, 10, 11, 12, 13], 3)) ?? []) tokens += 1;
    expect(tokens).toBe(3);
    expect(device.counters.pipelines).toBe(pipelines);
    await engine?.close();
  }
  expect(device.memory.live).toBe(live);
});
