import { expect, test } from "vitest";
import { EngineClient, type WorkerLike } from "./engine-client.js";
import type { FromWorker, ToWorker } from "./protocol.js";

/** A worker that only remembers what it was told; the test speaks for it. */
function mockWorker() {
  const told: ToWorker[] = [];
  const worker: WorkerLike & { told: ToWorker[]; isTerminated: boolean; say(event: FromWorker): void } = {
    told,
    isTerminated: false,
    onmessage: null,
    onerror: null,
    postMessage: (message) => told.push(message),
    terminate: () => {
      worker.isTerminated = true;
    },
    say: (data) => worker.onmessage?.({ data } as MessageEvent<FromWorker>), // the client reads nothing else
  };
  return worker;
}

function client() {
  const heard: FromWorker[] = [];
  const workers: ReturnType<typeof mockWorker>[] = [];
  const engine = new EngineClient(
    (event) => heard.push(event),
    () => {
      const worker = mockWorker();
      workers.push(worker);
      return worker;
    },
  );
  return { engine, heard, workers };
}

const request = { modelUrl: "http://localhost/m/", device: "cpu" } as const;

test("a reload ends the worker before it, whose late words are not heard", () => {
  const { engine, heard, workers } = client();
  engine.load(request);
  engine.load(request);
  expect(workers.map(({ isTerminated }) => isTerminated)).toEqual([true, false]);
  workers[0]?.say({ type: "failed", message: "late" });
  expect(heard).toEqual([]);
  expect(workers[1]?.told).toEqual([{ type: "load", ...request }]);
});

test("tokens of `generate` go to its caller, and a failure rejects it", async () => {
  const { engine, heard, workers } = client();
  engine.load(request);
  const first = engine.generate("a", 2);
  const tokens = { ids: [4, 5], logProbs: [0, 0], timings: { prefillMs: 3, decodeMs: 2 } };
  workers[0]?.say({ type: "generated", id: 1, ...tokens });
  await expect(first).resolves.toEqual(tokens);
  const second = engine.generate("b", 2);
  workers[0]?.say({ type: "failed", message: "lost" });
  await expect(second).rejects.toThrow("lost");
  expect(heard).toEqual([{ type: "failed", message: "lost" }]);
});

test("a worker that cannot start is a failure that can be read", () => {
  const { engine, heard, workers } = client();
  engine.load(request);
  workers[0]?.onerror?.({ message: "" } as ErrorEvent); // the client reads nothing else
  expect(heard).toEqual([{ type: "failed", message: "The engine stopped: its script could not be loaded" }]);
});
