/** Benchmark results for people. */
import { table } from "../output.js";
import type { BenchResult, NamedProfile } from "./bench-result.js";

export function resultTable(results: readonly BenchResult[]): string {
  const number = (value: number | undefined, places: number) => (value === undefined ? "" : value.toFixed(places));
  const rows = results.map((r) => [
    r.name,
    sizesText(r.sizes),
    `${(r.seconds * 1000).toPrecision(4)} ms`,
    number(r.tokensPerSecond, 1),
    number(r.gbs, 1),
    number(r.gflops, 1),
    r.floorSeconds === undefined ? "" : `${(r.floorSeconds * 1000).toPrecision(4)} ms`,
    r.share === undefined ? "" : `${(100 * r.share).toFixed(0)} %`,
  ]);
  return table([["name", "sizes", "time", "tokens/s", "GB/s", "GFLOP/s", "floor", "floor/time"], ...rows]);
}

/** Kernels by their time, the longest first. */
export function profileTable({ name, sizes, seconds, kernels }: NamedProfile): string {
  const total = kernels.reduce((sum, kernel) => sum + kernel.seconds, 0);
  const rows = [...kernels]
    .sort((a, b) => b.seconds - a.seconds)
    .map((kernel) => [
      kernel.kernel,
      String(kernel.calls),
      `${(kernel.seconds * 1000).toFixed(3)} ms`,
      `${(kernel.bytes / 2 ** 20).toFixed(2)} MiB`,
      kernel.bytes === 0 ? "" : (kernel.bytes / kernel.seconds / 1e9).toFixed(1),
      kernel.operations === 0 ? "" : (kernel.operations / kernel.seconds / 1e9).toFixed(1),
      `${((100 * kernel.seconds) / total).toFixed(1)} %`,
    ]);
  const head = ["kernel", "calls", "time", "bytes", "GB/s", "GFLOP/s", "share"];
  const title = `${name} (${sizesText(sizes)}): ${(seconds * 1000).toFixed(1)} ms, ${(total * 1000).toFixed(1)} ms in kernels`;
  return `${title}\n${table([head, ...rows])}`;
}

function sizesText(sizes: BenchResult["sizes"]): string {
  return Object.entries(sizes)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
}
