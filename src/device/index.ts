export { type Allocation, type BufferSlice, LENT_BYTES, type MemoryUse } from "./buffer.js";
export { type CpuArgument, F32, f32 } from "./cpu/arguments.js";
export { CpuDevice, type CpuLaunch, type CpuOptions } from "./cpu/cpu-device.js";
export type { CapturedList, Cost, Device, DeviceContract, Profile, ProfileEntry } from "./device.js";
export { DeviceError, DeviceLostError, NoDeviceError, OutOfMemoryError } from "./errors.js";
export { type OpenOptions, open } from "./open.js";
export { KeptKernels } from "./webgpu/kept-kernels.js";
export { type ParamsSchema, params } from "./webgpu/params.js";
export { WebGpuDevice, type WebGpuKernel, type WebGpuLaunch, type WebGpuOptions } from "./webgpu/webgpu-device.js";
