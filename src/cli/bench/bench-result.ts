/** What a benchmark reports. */
import { availableParallelism, cpus } from "node:os";
import type { Device, ProfileEntry } from "../../device/index.js";

/** One measurement. Keys that do not apply are left out. */
export interface BenchResult {
  readonly name: string;
  readonly device: string;
  readonly threads?: number;
  readonly sizes: Readonly<Record<string, number | string>>;
  /** For one step or prompt: median of the runs. For the roofs (read, copy, product): the fastest run. */
  readonly seconds: number;
  readonly gflops?: number;
  readonly gbs?: number;
  readonly tokensPerSecond?: number;
  /** The least time that the machine could need: what must be read or computed over what it was measured to do. */
  readonly floorSeconds?: number;
  /** floorSeconds / seconds. */
  readonly share?: number;
}

export interface BenchReport {
  readonly suite: string;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly node: string };
  readonly adapter: string;
  /** Day of the run, ISO 8601. */
  readonly date: string;
  readonly results: readonly BenchResult[];
  /** With --profile: kernels of one run of each measurement. */
  readonly profiles?: readonly NamedProfile[];
}

export interface NamedProfile {
  readonly name: string;
  readonly sizes: BenchResult["sizes"];
  readonly seconds: number;
  readonly kernels: readonly ProfileEntry[];
}

export interface SuiteOutput {
  readonly results: readonly BenchResult[];
  readonly profiles: readonly NamedProfile[];
}

export function machine(): BenchReport["machine"] {
  return { cpu: cpus()[0]?.model.trim() ?? "unknown", cores: availableParallelism(), node: process.versions.node };
}

/** The keys that say where a result was measured. */
export function place(device: Device): { readonly device: string; readonly threads?: number } {
  return device.kind === "cpu" ? { device: "cpu", threads: device.threads } : { device: "webgpu" };
}

/** Rounds to four digits: more is noise, and result files are read by people. */
export function digits(value: number): number {
  return Number(value.toPrecision(4));
}

/** Adds the floor to a measurement. */
export function withFloor(seconds: number, floorSeconds: number) {
  return { seconds: digits(seconds), floorSeconds: digits(floorSeconds), share: digits(floorSeconds / seconds) };
}
