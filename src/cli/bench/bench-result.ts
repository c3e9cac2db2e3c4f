/** What a benchmark reports. */
import { availableParallelism, cpus } from "node:os";
import type { Device, ProfileEntry } from "../../device/index.js";

/** One measurement. Keys that do not apply are left out. */
export interface BenchResult {
  readonly name: string;
  /** "cpu", "webgpu", or a peer with its version. */
  readonly device: string;
  readonly threads?: number;
  readonly sizes: Readonly<Record<string, number | string>>;
  /** For one step, launch or prompt: median of the runs. For the roofs (read, copy, multiply-add, product): the fastest run. */
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
  /** Of the same work without a profile: what is not in kernels is between them. */
  readonly seconds: number;
  readonly kernels: readonly ProfileEntry[];
  /** Roofs that the kernels' floors follow from. */
  readonly gbs?: number;
  readonly gflops?: number;
}

export interface SuiteOutput {
  readonly results: readonly BenchResult[];
  readonly profiles?: readonly NamedProfile[];
}

export function machine(): BenchReport["machine"] {
  return { cpu: cpus()[0]?.model.trim() ?? "unknown", cores: availableParallelism(), node: process.versions.node };
}

/** The keys that say where a result was measured. */
export function place(device: Device): { readonly device: string; readonly threads?: number } {
  return device.kind === "cpu" ? { device: "cpu", threads: device.threads } : { device: "webgpu" };
}

/** A GPU in earnest: sizes and memory of another order. */
export function isRealGpu(device: Device): boolean {
  return device.kind === "webgpu" && !device.isSoftware;
}

/** Operands that take turns add up to this, so that no cache holds them: 16 to 100 MB on processors, 50 MB on large GPUs. */
export function workingSetBytes(device: Device): number {
  if (device.kind === "cpu") return 192 * 2 ** 20;
  // A software adapter is measured for its form, not its figures.
  return device.isSoftware ? 0 : 512 * 2 ** 20;
}

/** Rounds to four digits: more is noise, and result files are read by people. */
export function digits(value: number): number {
  return Number(value.toPrecision(4));
}

/** Adds the floor to a measurement. */
export function withFloor(seconds: number, floorSeconds: number) {
  return { seconds: digits(seconds), floorSeconds: digits(floorSeconds), share: digits(floorSeconds / seconds) };
}

export interface Roofs {
  /** Bytes a second. */
  readonly bandwidth: number;
  /** Operations a second; undefined where no fair one is known. */
  readonly peak?: number;
}

/**
 * The measured keys of work that must move `bytes` and compute `operations`: its floor is the slower of the two at the
 * machine's best.
 */
export function measured(seconds: number, work: { bytes?: number; operations?: number }, roofs: Partial<Roofs>) {
  const { bytes, operations } = work;
  const floors = [
    ...(bytes !== undefined && roofs.bandwidth !== undefined ? [bytes / roofs.bandwidth] : []),
    ...(operations !== undefined && roofs.peak !== undefined ? [operations / roofs.peak] : []),
  ];
  // Half a floor is none: what computes much and is held against the memory alone would look bad for no reason.
  const isKnown = floors.length > 0 && (operations === undefined || roofs.peak !== undefined);
  return {
    ...(isKnown ? withFloor(seconds, Math.max(...floors)) : { seconds: digits(seconds) }),
    ...(operations === undefined ? {} : { gflops: digits(operations / seconds / 1e9) }),
    ...(bytes === undefined ? {} : { gbs: digits(bytes / seconds / 1e9) }),
  };
}
