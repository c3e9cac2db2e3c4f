/**
 * Threads and kernel files in the page.
 *
 * Bundlers find files by the literal pattern `new URL("…", import.meta.url)`: keep it literal, though it repeats itself.
 */
import { NoDeviceError } from "../errors.js";
import { type Build, missingKernels, type Platform, READY, type Thread, type WorkerInit } from "./platform.js";
import { type WasmModule, wasm } from "./wasm.js";

/** What this file uses of the DOM, which is not part of the build. */
interface WebWorker {
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  onerror: ((event: { readonly message?: string }) => void) | null;
  postMessage(message: unknown): void;
  terminate(): void;
}
declare const Worker: new (url: URL, options: { type: "module"; name?: string }) => WebWorker;
interface WebScope {
  readonly crossOriginIsolated?: boolean;
  readonly document?: object;
  readonly navigator?: { readonly hardwareConcurrency?: number };
}
const scope = globalThis as unknown as WebScope; // the DOM library is not part of the build

function kernelFile({ relaxed, shared }: Build): URL {
  if (relaxed && shared) return new URL("../../wasm/kernels.relaxed.wasm", import.meta.url);
  if (relaxed) return new URL("../../wasm/kernels.relaxed.single.wasm", import.meta.url);
  if (shared) return new URL("../../wasm/kernels.wasm", import.meta.url);
  return new URL("../../wasm/kernels.single.wasm", import.meta.url);
}

async function loadKernels(build: Build): Promise<WasmModule> {
  const url = kernelFile(build);
  const response = await fetch(url);
  if (!response.ok) throw new NoDeviceError(missingKernels(`${url.href}: ${response.status}`));
  return wasm.compile(new Uint8Array(await response.arrayBuffer()));
}

function startThread(init: WorkerInit): Promise<Thread> {
  const worker = new Worker(new URL("./worker-web.js", import.meta.url), { type: "module" });
  let end = (): void => {};
  let fail = (_: Error): void => {};
  const ended = new Promise<void>((resolve, reject) => {
    end = resolve;
    fail = reject;
  });
  ended.catch(() => {}); // who waits for `ended` hears of it; before that, the start itself rejects
  return new Promise((resolve, reject) => {
    worker.onerror = (event) => {
      const error = new Error(
        `a worker of the CPU device failed: ${event.message ?? "its script could not be loaded"}`,
      );
      fail(error);
      reject(error);
    };
    worker.onmessage = (event) => {
      if (event.data !== READY) return;
      resolve({
        ended,
        async terminate() {
          worker.terminate();
          end();
        },
      });
    };
    worker.postMessage(init);
  });
}

export const platform: Platform = {
  hardwareThreads: scope.navigator?.hardwareConcurrency ?? 1,
  // A page's main thread, the one with a document, may not wait; nor does it get a shared memory unless isolated.
  canWait: scope.document === undefined && scope.crossOriginIsolated === true,
  enableRelaxedSimd() {
    // No page can switch engine features on.
  },
  loadKernels,
  startThread,
};
