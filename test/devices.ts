/**
 * The devices that tests run on: the CPU with two threads, and WebGPU where there is an adapter (a software one will do).
 *
 * Both are opened once for a test file's process. A missing adapter is said in one line; with FULGUR_REQUIRE_WEBGPU=1 it is
 * an error instead, so that a machine that should test WebGPU cannot skip it unseen. FULGUR_SKIP_WEBGPU=1 leaves it out: the
 * newest Node brings another engine for Wasm, and the same kernels for WebGPU.
 */
import { CpuDevice, type Device, NoDeviceError, WebGpuDevice } from "../src/device/index.js";

let cpu: Promise<CpuDevice> | undefined;
let webgpu: Promise<WebGpuDevice | undefined> | undefined;

/** For `describe.each(await devices())("… on $label", (device) => …)`. */
export async function devices(): Promise<Device[]> {
  cpu ??= CpuDevice.open({ threads: 2 });
  const gpu = await webgpuOrSkip();
  return gpu ? [await cpu, gpu] : [await cpu];
}

/**
 * The WebGPU device, or undefined after a printed line when there is none:
 * `describe.skipIf(!device)`.
 */
export function webgpuOrSkip(): Promise<WebGpuDevice | undefined> {
  webgpu ??= openWebGpu();
  return webgpu;
}

async function openWebGpu(): Promise<WebGpuDevice | undefined> {
  if (process.env.FULGUR_SKIP_WEBGPU === "1") return undefined;
  try {
    return await WebGpuDevice.open({ allowSoftware: true });
  } catch (error) {
    if (!(error instanceof NoDeviceError) || process.env.FULGUR_REQUIRE_WEBGPU === "1") throw error;
    console.warn(`skipped: all tests on WebGPU (${error.message})`);
    return undefined;
  }
}
