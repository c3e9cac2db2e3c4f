/** The fixtures against the originals, on every device: the same code as `fulgur verify`. */
import { readdirSync, statSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { verifyModel } from "../src/cli/verify/verify-model.js";
import { directoryFolder } from "../src/formats/node/index.js";
import { devices } from "./devices.js";

const root = new URL("./fixtures/models/", import.meta.url).pathname;
const folders = readdirSync(root).filter((name) => statSync(root + name).isDirectory());

describe.each(await devices())("models on $label", (device) => {
  // The software adapter takes 40 seconds for what another folder of this family and the CPU show as well.
  const mine = device.isSoftware ? folders.filter((name) => name !== "minimax_m1_c_heads6_shared") : folders;
  test.each(mine)("%s", { timeout: 120_000 }, async (name) => {
    const liveBefore = device.memory.live;
    const configs = readdirSync(root + name).filter((file) => /^config(\.\w+)?\.json$/.test(file));
    for (const config of device.isSoftware ? configs.slice(0, 1) : configs) {
      const { checks } = await verifyModel(device, directoryFolder(root + name), config);
      expect(checks.filter((check) => !check.passed)).toEqual([]);
      expect(checks.length).toBeGreaterThan(10);
    }
    // Nothing stays on the device once a model and its pools are gone.
    expect(device.memory.live).toBe(liveBefore);
  });
});
