/**
 * Timing: a warm-up, then several runs. Of what is measured the median counts; of what it is measured against, the roofs,
 * the fastest run.
 */
import type { Device } from "../../device/index.js";
import { yieldToEvents } from "../../generate/index.js";
import { isRealGpu } from "./bench-result.js";

export interface TimingOptions {
  readonly runs: number;
  readonly signal: AbortSignal;
  /** Before each run, outside of the measured time. */
  readonly before?: () => void | Promise<void>;
  /**
   * After each measured run: peers take their turn here. On a GPU they take them all after ours, because a GPU that changes
   * hands for every run is at its clocks for neither.
   */
  readonly after?: () => void | Promise<void>;
}

/**
 * A GPU that was idle runs at low clocks for the first tenths of a second: its warm-up lasts at least so long. Elsewhere one
 * run warms up.
 */
const WARM_SECONDS = 0.4;

/** Seconds of each run, from its call until the device has nothing left to do. */
export async function runSeconds(
  device: Device,
  run: () => void | Promise<void>,
  { runs, signal, before, after }: TimingOptions,
): Promise<number[]> {
  const seconds: number[] = [];
  const once = async () => {
    signal.throwIfAborted();
    await before?.();
    await device.idle();
    const began = performance.now();
    await run();
    await device.idle();
    return (performance.now() - began) / 1000;
  };
  // The first run compiles kernels and touches memory for the first time: it does not count as warming.
  await once();
  for (let warm = 0; isRealGpu(device) && warm < WARM_SECONDS; ) warm += await once();
  for (let i = 0; i < runs; i++) {
    seconds.push(await once());
    if (!isRealGpu(device)) await after?.();
    await yieldToEvents();
  }
  for (let i = 0; isRealGpu(device) && i < runs; i++) await after?.();
  return seconds;
}

/** A run of a single launch lasts at least this long: its submission and the wait for it are not what is measured. */
const LEAST_SECONDS = 0.02;
const MOST_REPEATS = 2000;

/**
 * Seconds of one launch, for each run. `launches` do the same work on operands of their own, so that caches hold none of
 * them when its turn comes again; they are captured once and replayed.
 */
export async function launchSeconds(
  device: Device,
  launches: readonly (() => void)[],
  options: TimingOptions & { readonly leastSeconds?: number },
): Promise<number[]> {
  using list = device.capture(() => {
    for (const launch of launches) launch();
  });
  const repeats = async (count: number) => {
    const began = performance.now();
    for (let i = 0; i < count; i++) list.replay();
    await device.idle();
    return (performance.now() - began) / 1000;
  };
  await device.idle();
  await repeats(1);
  const once = await repeats(1);
  const count = Math.max(1, Math.min(MOST_REPEATS, Math.ceil((options.leastSeconds ?? LEAST_SECONDS) / once)));
  const run = async () => {
    await repeats(count);
  };
  const seconds = await runSeconds(device, run, options);
  return seconds.map((value) => value / count / launches.length);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle];
  if (upper === undefined) throw new RangeError("median: expected at least one value");
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2; // even lengths have both
}
