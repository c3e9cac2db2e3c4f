/** Entry of a worker thread in Node. */
import type { WorkerInit } from "./platform.js";
import { workerLoop } from "./worker-loop.js";

const { parentPort, workerData } = process.getBuiltinModule("node:worker_threads");
if (!parentPort) throw new Error("internal: worker-node.js runs in worker threads only");
const port = parentPort;
workerLoop(workerData as WorkerInit, (message) => port.postMessage(message)); // threads-node.ts sends this type
