/**
 * `bench gemm`: products of as many tokens as channels, n × n × n, for each kind of weights.
 *
 * The floor is the multiply-add peak of vectors, measured in the same run. Products in float16 on a GPU's matrix units have no
 * floor here: WGSL has no way to keep them busy on registers alone.
 */
import type { Device } from "../../device/index.js";
import { matmul, type WeightKind } from "../../ops/index.js";
import { type BenchResult, digits, isRealGpu, measured, place, type SuiteOutput } from "./bench-result.js";
import { randomMatrix, randomTensor } from "./random-weights.js";
import { multiplyAddPeak } from "./roofs.js";
import type { DeviceInput } from "./suites.js";
import { launchSeconds, median } from "./timing.js";

export async function gemmSuite({ device, flags, signal, say, peers }: DeviceInput): Promise<SuiteOutput> {
  const { runs } = flags;
  const sizes = flags.sizes ?? (isRealGpu(device) ? [512, 1024, 2048, 4096] : [512, 1024, 2048]);
  say("measuring the arithmetic peak");
  const peak = await multiplyAddPeak(device, { runs, signal });
  const results: BenchResult[] = [peak];
  for (const n of sizes) {
    using x = randomTensor(device, [n, n]);
    const operations = 2 * n ** 3;
    for (const { kind, precision } of variants(device, flags.weights)) {
      say(`gemm ${n}³, ${kind} weights${precision === "f16" ? ", float16 products" : ""}: ${runs} runs`);
      using w = randomMatrix(device, { kind, rows: n, columns: n, precision });
      const beside = peers.beside({ suite: "gemm", n, kind });
      const launches = [() => matmul(x, w).dispose()];
      const seconds = median(await launchSeconds(device, launches, { runs, signal, after: beside.measure }));
      const name = precision === "f16" ? `gemm ${kind}, float16 products` : `gemm ${kind}`;
      const roofs = precision === "f16" ? {} : { peak: peak.gflops * 1e9 };
      results.push({ name, ...place(device), sizes: { n }, ...measured(seconds, { operations }, roofs) });
      for (const peer of beside.results()) {
        const gflops = digits(operations / peer.seconds / 1e9);
        results.push({ name, device: peer.device, sizes: { n }, seconds: digits(peer.seconds), gflops });
      }
    }
  }
  return { results };
}

interface Variant {
  readonly kind: WeightKind;
  readonly precision: "f32" | "f16";
}

function variants(device: Device, wanted: readonly WeightKind[] | undefined): Variant[] {
  const kinds = wanted ?? (["f32", "f16", "bf16", "int8"] as const);
  const hasUnits = device.kind === "webgpu" && device.features.subgroupMatrix.length > 0;
  return kinds.flatMap((kind): Variant[] =>
    hasUnits && kind !== "f32"
      ? [
          { kind, precision: "f32" },
          { kind, precision: "f16" },
        ]
      : [{ kind, precision: "f32" }],
  );
}
