/** Opening a device. */
import { CpuDevice, type CpuOptions } from "./cpu/cpu-device.js";
import type { Device } from "./device.js";
import { NoDeviceError } from "./errors.js";
import { WebGpuDevice, type WebGpuOptions } from "./webgpu/webgpu-device.js";

export interface OpenOptions {
  /** `auto` takes a real GPU where there is one and the CPU otherwise; it never takes a software adapter. Default `auto`. */
  readonly prefer?: "auto" | "webgpu" | "cpu";
  readonly webgpu?: WebGpuOptions;
  readonly cpu?: CpuOptions;
}

/**
 * Opens a device. Close it (or use `await using`) when done.
 *
 * @throws {NoDeviceError} `webgpu` was asked for and there is no adapter.
 */
export async function open(options: OpenOptions = {}): Promise<Device> {
  const prefer = options.prefer ?? "auto";
  if (prefer === "cpu") return CpuDevice.open(options.cpu);
  try {
    return await WebGpuDevice.open({ allowSoftware: prefer === "webgpu", ...options.webgpu });
  } catch (error) {
    if (prefer === "webgpu" || !(error instanceof NoDeviceError)) throw error;
    return CpuDevice.open(options.cpu);
  }
}
