/**
 * Threads and kernel files in Node.
 *
 * Node's modules come from `process.getBuiltinModule` and file names are not literals: so no bundler for the web tries to
 * follow either, although it sees this file.
 */
import { NoDeviceError } from "../errors.js";
import { type Build, missingKernels, type Platform, READY, type Thread, type WorkerInit } from "./platform.js";
import { hasRelaxedSimd, type WasmModule, wasm } from "./wasm.js";

const { Worker } = process.getBuiltinModule("node:worker_threads");
const { availableParallelism } = process.getBuiltinModule("node:os");
const { readFile } = process.getBuiltinModule("node:fs").promises;
const { existsSync } = process.getBuiltinModule("node:fs");
const { setFlagsFromString } = process.getBuiltinModule("node:v8");

// Run from the TypeScript sources (vitest), this file lies in src/device/cpu; a worker thread cannot run TypeScript, so
// its file comes from the last build then.
const isSource = import.meta.url.endsWith(".ts");
const workerFile = new URL(isSource ? "../../../dist/device/cpu/worker-node.js" : "./worker-node.js", import.meta.url);
const wasmFolder = new URL(isSource ? "../../../dist/wasm/" : "../../wasm/", import.meta.url);

async function loadKernels({ relaxed, shared }: Build): Promise<WasmModule> {
  const name = `kernels${relaxed ? ".relaxed" : ""}${shared ? "" : ".single"}.wasm`;
  let bytes: Buffer;
  try {
    bytes = await readFile(new URL(name, wasmFolder));
  } catch (error) {
    throw new NoDeviceError(missingKernels(`dist/wasm/${name}`), undefined, { cause: error });
  }
  return wasm.compile(new Uint8Array(bytes));
}

async function startThread(init: WorkerInit): Promise<Thread> {
  if (!existsSync(workerFile)) throw new NoDeviceError(missingKernels("dist/device/cpu/worker-node.js"));
  const worker = new Worker(workerFile, { workerData: init, name: `fulgur ${init.worker}` });
  const ended = new Promise<void>((resolve, reject) => {
    worker.once("error", reject);
    worker.once("exit", () => resolve());
  });
  const ready = new Promise<void>((resolve) => {
    worker.once("message", (message) => {
      if (message === READY) resolve();
    });
  });
  const stopped = ended.then(() => {
    throw new Error("the worker thread stopped before it was ready");
  });
  await Promise.race([ready, stopped]);
  stopped.catch(() => {}); // reported through `ended` from now on
  // Workers sleep in Atomics.wait between launches and must not keep the process alive.
  worker.unref();
  return {
    ended,
    async terminate() {
      await worker.terminate();
    },
  };
}

export const platform: Platform = {
  hardwareThreads: availableParallelism(),
  canWait: true,
  enableRelaxedSimd() {
    if (!hasRelaxedSimd()) setFlagsFromString("--experimental-wasm-relaxed-simd");
  },
  loadKernels,
  startThread,
};
