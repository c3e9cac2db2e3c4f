/**
 * `bench gemv`: one row of activations times a matrix of a large model's shape, as every product of a decode step is.
 *
 * Several matrices take turns, so that no cache holds the weights. The floor is their bytes at the speed of a plain read (CPU)
 * or copy (GPU), measured in the same run.
 */
import { matmul, type WeightKind, type WeightMatrix } from "../../ops/index.js";
import { UsageError } from "../output.js";
import { type BenchResult, digits, measured, place, type SuiteOutput, workingSetBytes } from "./bench-result.js";
import { matrixBytes, randomMatrix, randomTensor } from "./random-weights.js";
import { streamBandwidth } from "./roofs.js";
import type { DeviceInput } from "./suites.js";
import { launchSeconds, median } from "./timing.js";

const KINDS = ["f32", "f16", "bf16", "int8", "int4"] as const satisfies readonly WeightKind[];

/** What peers copy, once each way, beside our own roof. */
const COPY_BYTES = 512 * 2 ** 20;

export async function gemvSuite({ device, flags, signal, say, peers }: DeviceInput): Promise<SuiteOutput> {
  const { runs } = flags;
  const { shape = [11008, 4096] } = flags;
  if (typeof shape === "string") throw new UsageError("--shape: gemv takes two whole numbers: rows,columns");
  const [rows, columns] = shape;
  const wantedBytes = workingSetBytes(device);
  say("measuring the memory's bandwidth");
  const copies = peers.beside({ suite: "copy", bytes: COPY_BYTES });
  const bandwidth = await streamBandwidth(device, { runs, signal, after: copies.measure });
  const results: BenchResult[] = [bandwidth];
  for (const peer of copies.results()) {
    const gbs = digits((2 * COPY_BYTES) / peer.seconds / 1e9);
    results.push({
      name: "copy",
      device: peer.device,
      sizes: { bytes: COPY_BYTES },
      seconds: digits(peer.seconds),
      gbs,
    });
  }
  using x = randomTensor(device, [1, columns]);
  for (const kind of flags.weights ?? KINDS) {
    const matrices: WeightMatrix[] = [];
    try {
      let total = 0;
      // Two at least; at tiny sizes, not thousands.
      while (matrices.length < 2 || (total < wantedBytes && matrices.length < 64)) {
        const matrix = randomMatrix(device, { kind, rows, columns, seed: matrices.length });
        matrices.push(matrix);
        total += matrixBytes(matrix);
      }
      const bytes = total / matrices.length;
      const sizes = { rows, columns, matrices: matrices.length };
      say(`gemv ${rows} × ${columns}, ${kind} weights: ${runs} runs over ${matrices.length} matrices`);
      const beside = peers.beside({ suite: "gemv", rows, columns, kind, matrices: matrices.length });
      const launches = matrices.map((w) => () => matmul(x, w).dispose());
      const seconds = median(await launchSeconds(device, launches, { runs, signal, after: beside.measure }));
      const roofs = { bandwidth: bandwidth.gbs * 1e9 };
      results.push({ name: `gemv ${kind}`, ...place(device), sizes, ...measured(seconds, { bytes }, roofs) });
      for (const peer of beside.results()) {
        const gbs = digits(bytes / peer.seconds / 1e9);
        results.push({ name: `gemv ${kind}`, device: peer.device, sizes, seconds: digits(peer.seconds), gbs });
      }
    } finally {
      for (const matrix of matrices) matrix.dispose();
    }
  }
  return { results };
}
