import { afterAll, describe, expect, test } from "vitest";
import { fill } from "../../../test/fill.js";
import { WebGpuDevice } from "../../device/index.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { groupPairs, groupVariants } from "./group.wgsl.js";

const device = await WebGpuDevice.open({ allowSoftware: true });
afterAll(() => device.close());

describe("pairs sorted by expert", () => {
  test.each([
    { name: "few", pairs: 70, E: 5, many: 1000 },
    { name: "blocks", pairs: 600, E: 5, many: 1 },
    { name: "one block, an expert that nobody chose at each end", pairs: 9, E: 130, many: 1 },
  ])("$name", async ({ pairs, E, many }) => {
    const experts = Array.from(fill(pairs, 1), (x) => 1 + (Math.floor(Math.abs(x) * 1e4) % (E - 2)));
    const sorted = experts.map((expert, pair) => ({ expert, pair })).sort((a, b) => a.expert - b.expert);
    await device.scope(async () => {
      const { order, starts } = groupPairs(device, upload(device, experts, [pairs, 1], "i32"), E, many);
      expect([...(await order.read())]).toEqual(sorted.map(({ pair }) => pair));
      const expected = Array.from({ length: E + 1 }, (_, e) => experts.filter((expert) => expert < e).length);
      expect([...(await starts.read())]).toEqual(expected);
    });
  });

  test("every WebGPU variant compiles without a message", async () => {
    for (const { kernel, messages } of await compileOnNullBackend(groupVariants())) {
      expect(messages, kernel.label).toEqual([]);
    }
  });
});
