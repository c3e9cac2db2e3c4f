/**
 * Timing: one warm-up, then several runs. Of what is measured the median counts; of what it is measured against, the roofs,
 * the fastest run.
 */
import type { Device } from "../../device/index.js";
import { yieldToEvents } from "../../generate/index.js";

export interface TimingOptions {
  readonly runs: number;
  readonly signal: AbortSignal;
  /** Before each run, outside of the measured time. */
  readonly before?: () => void;
}

/** Seconds of each run, from its call until the device has nothing left to do. */
export async function runSeconds(
  device: Device,
  run: () => void | Promise<void>,
  { runs, signal, before }: TimingOptions,
): Promise<number[]> {
  const seconds: number[] = [];
  for (let i = 0; i <= runs; i++) {
    signal.throwIfAborted();
    before?.();
    await device.idle();
    const began = performance.now();
    await run();
    await device.idle();
    // The first run compiles kernels and touches memory for the first time.
    if (i > 0) seconds.push((performance.now() - began) / 1000);
    await yieldToEvents();
  }
  return seconds;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle];
  if (upper === undefined) throw new RangeError("median: expected at least one value");
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2; // even lengths have both
}
