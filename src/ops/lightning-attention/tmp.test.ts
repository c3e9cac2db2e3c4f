import { test } from "vitest";
import { webgpuOrSkip } from "../../../test/devices.js";
import { prefillKernel } from "./lightning-attention.wgsl.js";
test("time", async () => {
  const device = (await webgpuOrSkip())!;
  const time = async (label: string, code: string) => {
    const t0 = performance.now(); const c0 = process.cpuUsage();
    await device.prepare([{label, code}]);
    const c = process.cpuUsage(c0);
    console.log(label, (performance.now() - t0).toFixed(0), "ms wall", ((c.user + c.system) / 1000).toFixed(0), "ms cpu");
  };
  const k = prefillKernel({headDim: 64, sliceQuads: 4, pieceQuads: 5}).code;
  await time("P=5", k);
  await time("P=5, big tile", k.replace("tile: array<vec4f, 320>", "tile: array<vec4f, 1500>"));
}, 200000);
