/** Gradients of whole models: the loss must move along them as they say, and both devices must say the same. */
import { describe, expect, test } from "vitest";
import { directoryFolder } from "../src/formats/node/index.js";
import { loadLanguageModel, trainableTensors } from "../src/models/index.js";
import { textGradient } from "../src/train/text-gradient.js";
import { devices } from "./devices.js";
import { relativeRms } from "./near.js";

const folderOf = (name: string) => directoryFolder(new URL(`./fixtures/models/${name}`, import.meta.url).pathname);
/** Two texts of different lengths: nothing may cross from one to the other. */
const texts = [
  [5, 17, 42, 3, 9, 60, 11],
  [8, 8, 30, 21],
];

const models = ["minimax_m1_c_heads6_shared", "qwen2_bias_tied", "qwen3_moe", "mistral_window64"];
/** Of each model and device: loss, and the largest tensor's gradient. */
const seen = new Map<string, { readonly loss: number; readonly gradient: Float32Array }>();

describe.each(await devices())("gradients on $label", (device) => {
  test.each(models)("%s", async (name) => {
    const before = device.memory.live;
    {
      using model = await loadLanguageModel(device, folderOf(name));
      const trained = trainableTensors(model.tensors ?? []);
      const weights = await Promise.all(trained.map((tensor) => tensor.readFloat32()));
      const lossAt = async (): Promise<number> => {
        const { loss, gradients } = textGradient(model, [], texts);
        expect(gradients).toEqual([]);
        using value = loss;
        return (await value.readFloat32())[0] as number;
      };
      const { loss, gradients } = textGradient(model, trained, texts);
      const at = (await loss.readFloat32())[0] as number;
      loss.dispose();
      const slopes: Float32Array[] = [];
      for (const [i, gradient] of gradients.entries()) {
        slopes.push(gradient ? await gradient.readFloat32() : new Float32Array(weights[i]?.length ?? 0));
        gradient?.dispose();
      }
      expect(await lossAt()).toBeCloseTo(at, 6);

      // A step along the gradient, long enough that float32 losses differ in four digits.
      const square = slopes.reduce((sum, g) => sum + g.reduce((a, x) => a + x * x, 0), 0);
      const step = 0.01 / square;
      const moved = async (factor: number): Promise<number> => {
        for (const [i, tensor] of trained.entries()) {
          tensor.write((weights[i] as Float32Array).map((x, j) => x + factor * step * (slopes[i]?.[j] ?? 0)));
        }
        return await lossAt();
      };
      const slope = ((await moved(1)) - (await moved(-1))) / (2 * step);
      expect(slope / square).toBeGreaterThan(0.995);
      expect(slope / square).toBeLessThan(1.005);

      const largest = slopes.reduce((a, b) => (b.length > a.length ? b : a));
      const other = seen.get(name);
      if (other) {
        expect(Math.abs(at - other.loss) / other.loss).toBeLessThan(1e-6);
        expect(relativeRms(largest, other.gradient)).toBeLessThan(1e-5);
      }
      seen.set(name, { loss: at, gradient: largest });
    }
    expect(device.memory.live).toBe(before);
  });
});
