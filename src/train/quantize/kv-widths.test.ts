import { expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { directoryFolder } from "../../formats/node/index.js";
import { loadLanguageModel } from "../../models/index.js";
import { kvWidths } from "./kv-widths.js";

const [device] = await devices();
if (!device) throw new Error("no device");
const folder = directoryFolder(new URL("../../../test/fixtures/models/qwen3_moe", import.meta.url).pathname);
const ids = Array.from({ length: 300 }, (_, i) => (i * 37) % 50);
const uncalibrated = { fingerprint: "", tokens: 0, layers: [] };

test("layers get a third bit as far as it gains and the bits allow", { timeout: 60_000 }, async () => {
  const live = device.memory.live;
  {
    using model = await loadLanguageModel(device, folder);
    const layers = model.state.softmaxLayers;
    const readings: number[] = [];
    const seek = (bits: number) =>
      kvWidths(model, uncalibrated, ids, { bits, context: 128, onProgress: (done) => readings.push(done) });
    const all = await seek(16);
    expect(readings).toEqual(Array.from({ length: 1 + 2 * layers }, (_, i) => i + 1));
    expect(all.widths).toHaveLength(layers);
    expect(all.gained).toBeGreaterThanOrEqual(0);
    const raised = all.widths.flatMap(({ keyBits, valueBits }) => [keyBits, valueBits]);
    expect(raised.every((bits) => bits === 2 || bits === 3)).toBe(true);

    // As much room as that took, and less than two bits take.
    expect(await seek(all.effectiveBits)).toEqual(all);
    const none: unknown = await seek(1).catch((error: unknown) => error);
    expect(none).toBeInstanceOf(RangeError);
    expect((none as Error).message).toMatch(/2 bits everywhere are [\d.]+ effective bits here: more than 1/);
  }
  expect(device.memory.live).toBe(live);
});
