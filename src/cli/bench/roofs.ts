/**
 * What the machine can do at best, measured in the same run as what is compared with it.
 *
 *   bandwidth  CPU: all threads add up a buffer of 64 MiB; WebGPU: a copy, whose reads and writes both count
 *   peak       multiply-adds on registers alone, float32: 128-bit vectors on the CPU (fused in the relaxed build only), no
 *              matrix units on a GPU
 *   products   the fastest of our own matrix products over the kinds of weights, at a size that suits them
 */
import type { Device, WebGpuKernel } from "../../device/index.js";
import { matmul, type WeightKind, weightFromFloat32 } from "../../ops/index.js";
import { empty, upload, zeros } from "../../tensor/index.js";
import { type BenchResult, digits, isRealGpu, place } from "./bench-result.js";
import { PEAK_MULTIPLY_ADDS, PEAK_WORKGROUP, peakKernel } from "./peak.wgsl.js";
import { runSeconds, type TimingOptions } from "./timing.js";

const MIB = 2 ** 20;
/** A roof that is too low flatters: at least so many runs, of which the fastest counts. */
const LEAST_RUNS = 10;
const READ_BLOCK = MIB / 4;

const roofed = (options: TimingOptions): TimingOptions => ({ ...options, runs: Math.max(options.runs, LEAST_RUNS) });

/** `gbs`: bytes a second, in 10⁹. */
export async function streamBandwidth(device: Device, options: TimingOptions): Promise<BenchResult & { gbs: number }> {
  const isReal = isRealGpu(device);
  const bytes = (isReal ? 512 : 64) * MIB;
  using source = zeros(device, [bytes / 4], "u32", "bandwidth source");
  if (device.kind === "cpu") {
    const tasks = bytes / READ_BLOCK;
    using sums = empty(device, [2 * tasks], "u32", "bandwidth sums");
    const launch = { arguments: [source, bytes, READ_BLOCK, sums], tasks, chunk: 1, cost: { bytes, operations: 0 } };
    const seconds = Math.min(...(await runSeconds(device, () => device.run("streamRead", launch), roofed(options))));
    return {
      name: "read",
      ...place(device),
      sizes: { bytes },
      seconds: digits(seconds),
      gbs: digits(bytes / seconds / 1e9),
    };
  }
  using sink = empty(device, [bytes / 4], "u32", "bandwidth sink");
  // Several copies a run: one is over before its submission is paid for.
  const repeats = isReal ? 10 : 1;
  const copies = () => {
    for (let i = 0; i < repeats; i++) device.copy(source, sink);
  };
  const seconds = Math.min(...(await runSeconds(device, copies, roofed(options)))) / repeats;
  return {
    name: "copy",
    ...place(device),
    sizes: { bytes },
    seconds: digits(seconds),
    gbs: digits((2 * bytes) / seconds / 1e9),
  };
}

/** `gflops`: float32 operations a second, in 10⁹; a multiply-add is two. */
export async function multiplyAddPeak(
  device: Device,
  options: TimingOptions,
): Promise<BenchResult & { gflops: number }> {
  const { launch, operations } = device.kind === "cpu" ? cpuPeak() : gpuPeak();
  const seconds = Math.min(...(await runSeconds(device, launch.run, roofed(options))));
  launch.dispose();
  return {
    name: "multiply-add",
    ...place(device),
    sizes: { operations },
    seconds: digits(seconds),
    gflops: digits(operations / seconds / 1e9),
  };

  function cpuPeak() {
    if (device.kind !== "cpu") throw new Error("internal: the CPU's peak on another device");
    const cpu = device;
    const tasks = 32 * cpu.threads;
    const steps = 32768; // a task lasts about a tenth of a millisecond
    const operations = tasks * steps * 12 * 4 * 2;
    const factor = upload(device, [1, 1, 1, 1], [4]);
    const sums = empty(device, [tasks, 4]);
    const run = () => {
      const cost = { bytes: 0, operations };
      cpu.run("peakMultiplyAdd", { arguments: [steps, factor, sums], tasks, chunk: 1, cost });
    };
    return { launch: { run, dispose: () => disposeBoth(factor, sums) }, operations };
  }

  function gpuPeak() {
    if (device.kind !== "webgpu") throw new Error("internal: a GPU's peak on another device");
    const gpu = device;
    const [groups, steps] = isRealGpu(gpu) ? [8192, 4096] : [16, 512];
    const operations = groups * PEAK_WORKGROUP * PEAK_MULTIPLY_ADDS * steps * 2;
    const kernel: WebGpuKernel = { label: "multiply-add peak", code: peakKernel({ steps }) };
    const factors = upload(device, [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5], [8]);
    const sums = empty(device, [groups, 4]);
    const run = () => {
      gpu.run(kernel, { buffers: [factors, sums], grid: [groups], cost: { bytes: 0, operations } });
    };
    return { launch: { run, dispose: () => disposeBoth(factors, sums) }, operations };
  }
}

function disposeBoth(a: Disposable, b: Disposable): void {
  a[Symbol.dispose]();
  b[Symbol.dispose]();
}

/** The products of each kind of weights; the roof is the fastest. */
export async function productSpeeds(
  device: Device,
  options: TimingOptions,
): Promise<(BenchResult & { gflops: number })[]> {
  const isReal = isRealGpu(device);
  const [T, K, N] = isReal ? [2048, 4096, 4096] : [512, 1024, 1024];
  const values = Float32Array.from({ length: K * N }, (_, i) => ((i * 37) % 251) / 251 - 0.5);
  using x = upload(device, values.subarray(0, T * K).slice(), [T, K]);
  const results: (BenchResult & { gflops: number })[] = [];
  for (const kind of ["f32", "f16", "int8"] as const satisfies readonly WeightKind[]) {
    using w = weightFromFloat32(device, values, N, K, kind);
    const seconds = Math.min(...(await runSeconds(device, () => matmul(x, w).dispose(), options)));
    const gflops = digits((2 * T * K * N) / seconds / 1e9);
    results.push({ name: `product ${kind}`, ...place(device), sizes: { T, K, N }, seconds: digits(seconds), gflops });
  }
  return results;
}

/** Bandwidth in bytes and peak in operations a second, and the two measurements as the first results of a suite. */
export async function measureRoofs(
  device: Device,
  options: TimingOptions,
): Promise<{ readonly roofs: { readonly bandwidth: number; readonly peak: number }; readonly results: BenchResult[] }> {
  const bandwidth = await streamBandwidth(device, options);
  const peak = await multiplyAddPeak(device, options);
  return { roofs: { bandwidth: bandwidth.gbs * 1e9, peak: peak.gflops * 1e9 }, results: [bandwidth, peak] };
}
