/**
 * Compiles kernels on Dawn's null backend, which has f16, subgroups and subgroup matrices and needs no GPU: a variant that
 * only a big GPU would pick cannot rot unseen. Tests of operations use it.
 *
 * The null backend has WebGPU's smallest limits and no matrix shapes. A kernel beyond these is compiled as a module only.
 */
import { DeviceError } from "../errors.js";
import { parseBindings } from "./bindings.js";
import type { WebGpuKernel } from "./kernel.js";
import { describeMessage } from "./pipelines.js";
import { WebGpuDevice } from "./webgpu-device.js";

export interface CheckedKernel {
  readonly kernel: WebGpuKernel;
  /** Errors and warnings; a test expects none. */
  readonly messages: readonly string[];
}

let nullDevice: Promise<WebGpuDevice> | undefined;

/** @throws {NoDeviceError} Dawn is not installed here. */
export async function compileOnNullBackend(kernels: Iterable<WebGpuKernel>): Promise<CheckedKernel[]> {
  nullDevice ??= WebGpuDevice.open({ nullBackend: true });
  const device = await nullDevice;
  return Promise.all(Array.from(kernels, async (kernel) => ({ kernel, messages: await check(device, kernel) })));
}

async function check(device: WebGpuDevice, kernel: WebGpuKernel): Promise<string[]> {
  const { native } = device;
  native.pushErrorScope("validation");
  const module = native.createShaderModule({ label: kernel.label, code: kernel.code });
  const scope = native.popErrorScope();
  const info = await module.getCompilationInfo();
  await scope;
  const messages = info.messages
    .filter((message) => message.type !== "info")
    .map((message) => describeMessage(kernel, message));
  if (info.messages.some((message) => message.type === "error")) return messages;
  try {
    parseBindings(kernel);
    if (!usesMatrices(kernel)) await device.prepare([kernel]);
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    if (!isBeyondLimits(error.message)) messages.push(error.message);
  }
  return messages;
}

function usesMatrices(kernel: WebGpuKernel): boolean {
  return /^\s*enable\s[^;]*subgroup_matrix/m.test(kernel.code);
}

function isBeyondLimits(message: string): boolean {
  return /larger than the maximum|exceeds? the (?:maximum|max|limit)|maximum allowed|this device allows/i.test(message);
}
