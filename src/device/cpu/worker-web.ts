/** Entry of a Web Worker. */
import type { WorkerInit } from "./platform.js";
import { workerLoop } from "./worker-loop.js";

interface WorkerScope {
  onmessage: ((event: { readonly data: WorkerInit }) => void) | null;
  postMessage(message: unknown): void;
}

const scope = globalThis as unknown as WorkerScope; // the DOM library is not part of the build
scope.onmessage = ({ data }) => workerLoop(data, (message) => scope.postMessage(message));
