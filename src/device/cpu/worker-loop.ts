/** What a worker does, in Node and on the web alike. */
import { ARENA_BYTE, serve } from "./list.js";
import { READY, type WorkerInit } from "./platform.js";
import { instantiate } from "./wasm.js";

/** Joins the threads of a device; never returns. */
export function workerLoop({ module, memory, worker }: WorkerInit, post: (message: string) => void): never {
  const { functions } = instantiate(module, memory);
  // A view of a shared memory stays valid when it grows, and the list never moves.
  const words = new Int32Array(memory.buffer, 0, ARENA_BYTE / 4);
  post(READY);
  return serve(words, functions, worker);
}
