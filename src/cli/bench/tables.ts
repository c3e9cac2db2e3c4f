/** Benchmark results for people. */
import { table } from "../output.js";
import type { BenchResult, NamedProfile } from "./bench-result.js";

export function resultTable(results: readonly BenchResult[]): string {
  const number = (value: number | undefined, places: number) => (value === undefined ? "" : value.toFixed(places));
  // A column that says the same everywhere is left out.
  const hasPeers = new Set(results.map(({ device }) => device)).size > 1;
  const rows = results.map((r) => [
    r.name,
    ...(hasPeers ? [r.device] : []),
    sizesText(r.sizes),
    `${(r.seconds * 1000).toPrecision(4)} ms`,
    number(r.tokensPerSecond, 1),
    number(r.gbs, 1),
    number(r.gflops, 1),
    r.floorSeconds === undefined ? "" : `${(r.floorSeconds * 1000).toPrecision(4)} ms`,
    r.share === undefined ? "" : `${(100 * r.share).toFixed(0)} %`,
  ]);
  const head = ["sizes", "time", "tokens/s", "GB/s", "GFLOP/s", "floor", "floor/time"];
  return table([["name", ...(hasPeers ? ["by"] : []), ...head], ...rows]);
}

/** Kernels by their time, the longest first; with the share of the floor where a roof was measured. */
export function profileTable({ name, sizes, seconds, kernels, gbs, gflops }: NamedProfile): string {
  const total = kernels.reduce((sum, kernel) => sum + kernel.seconds, 0);
  const floorOf = ({ bytes, operations }: NamedProfile["kernels"][number]) =>
    Math.max(gbs ? bytes / gbs / 1e9 : 0, gflops ? operations / gflops / 1e9 : 0);
  const rows = [...kernels]
    .sort((a, b) => b.seconds - a.seconds)
    .map((kernel) => {
      const floor = floorOf(kernel);
      return [
        kernel.kernel,
        String(kernel.calls),
        `${(kernel.seconds * 1000).toFixed(3)} ms`,
        `${(kernel.bytes / 2 ** 20).toFixed(2)} MiB`,
        kernel.bytes === 0 ? "" : (kernel.bytes / kernel.seconds / 1e9).toFixed(1),
        kernel.operations === 0 ? "" : (kernel.operations / kernel.seconds / 1e9).toFixed(1),
        `${((100 * kernel.seconds) / total).toFixed(1)} %`,
        floor === 0 ? "" : `${((100 * floor) / kernel.seconds).toFixed(0)} %`,
      ];
    });
  const head = ["kernel", "calls", "time", "bytes", "GB/s", "GFLOP/s", "of all", "floor/time"];
  const milliseconds = (value: number) => `${(value * 1000).toFixed(1)} ms`;
  // Timed one by one, kernels take a little longer, so that nothing may be left for the gaps.
  const between = milliseconds(Math.max(0, seconds - total));
  const title = `${name} (${sizesText(sizes)}): ${milliseconds(seconds)}, ${milliseconds(total)} in kernels, ${between} between them`;
  return `${title}\n${table([head, ...rows])}`;
}

function sizesText(sizes: BenchResult["sizes"]): string {
  return Object.entries(sizes)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
}
