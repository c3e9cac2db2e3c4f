/** What the CPU device needs from its surroundings: Node and the web differ in how they find files and start threads. */
import type { WasmMemory, WasmModule } from "./wasm.js";

/** What a worker needs to join. */
export interface WorkerInit {
  readonly module: WasmModule;
  readonly memory: WasmMemory;
  /** 1 … threads − 1; the caller of `flush` is worker 0. */
  readonly worker: number;
}

export interface Thread {
  /** Settles when the thread has ended; rejects if it failed. Until `terminate` is called neither should happen. */
  readonly ended: Promise<void>;
  terminate(): Promise<void>;
}

export interface Build {
  readonly relaxed: boolean;
  readonly shared: boolean;
}

export interface Platform {
  readonly hardwareThreads: number;
  /** Whether this thread may block in Atomics.wait on a shared memory. */
  readonly canWait: boolean;
  /** Whether asking for relaxed SIMD may switch it on (Node 20 holds it behind a V8 flag). */
  enableRelaxedSimd(): void;
  /** @throws {NoDeviceError} The file is not there. */
  loadKernels(build: Build): Promise<WasmModule>;
  /** Resolves when the thread has joined. */
  startThread(init: WorkerInit): Promise<Thread>;
}

/** The first message of a worker, sent before it blocks for good. */
export const READY = "ready";

export const missingKernels = (where: string): string =>
  `the CPU kernels are missing (${where}): run \`npm run build\` (or \`node scripts/build-kernels.mjs\` for the kernels alone)`;
