/**
 * What the machine can do at best, measured in the same run as what is compared with it.
 *
 *   bandwidth  CPU: all threads add up a buffer of 64 MiB; WebGPU: a copy, whose reads and writes both count
 *   products   the fastest of our own matrix products over the kinds of weights, at a size that suits them
 */
import type { Device } from "../../device/index.js";
import { matmul, type WeightKind, weightFromFloat32 } from "../../ops/index.js";
import { empty, upload, zeros } from "../../tensor/index.js";
import { type BenchResult, digits, place } from "./bench-result.js";
import { runSeconds, type TimingOptions } from "./timing.js";

const MIB = 2 ** 20;
const READ_BLOCK = MIB / 4;

/** `gbs`: bytes a second, in 10⁹. */
export async function streamBandwidth(device: Device, options: TimingOptions): Promise<BenchResult & { gbs: number }> {
  const isReal = device.kind === "webgpu" && !device.isSoftware;
  const bytes = (isReal ? 512 : 64) * MIB;
  using source = zeros(device, [bytes / 4], "u32", "bandwidth source");
  if (device.kind === "cpu") {
    const tasks = bytes / READ_BLOCK;
    using sums = empty(device, [2 * tasks], "u32", "bandwidth sums");
    const launch = { arguments: [source, bytes, READ_BLOCK, sums], tasks, chunk: 1, cost: { bytes, operations: 0 } };
    const seconds = Math.min(...(await runSeconds(device, () => device.run("streamRead", launch), options)));
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
  const seconds = Math.min(...(await runSeconds(device, copies, options))) / repeats;
  return {
    name: "copy",
    ...place(device),
    sizes: { bytes },
    seconds: digits(seconds),
    gbs: digits((2 * bytes) / seconds / 1e9),
  };
}

/** The products of each kind of weights; the roof is the fastest. */
export async function productSpeeds(
  device: Device,
  options: TimingOptions,
): Promise<(BenchResult & { gflops: number })[]> {
  const isReal = device.kind === "webgpu" && !device.isSoftware;
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
