/** The page's end of the engine worker. */
import type { ChatSettings, FromWorker, GeneratedTokens, LoadRequest, Message, ToWorker } from "./protocol.js";

/** What this file uses of a `Worker`; tests give their own. */
export interface WorkerLike {
  onmessage: ((event: MessageEvent<FromWorker>) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
  postMessage(message: ToWorker): void;
  terminate(): void;
}

interface Waiting {
  resolve(tokens: GeneratedTokens): void;
  reject(error: Error): void;
}

export class EngineClient {
  private worker: WorkerLike | undefined;
  private readonly waiting = new Map<number, Waiting>();
  private nextId = 1;

  constructor(
    private readonly listen: (event: FromWorker) => void,
    private readonly start: () => WorkerLike = startWorker,
  ) {}

  /** Loads a model in a fresh worker; the one before ends, and with it what it did. */
  load(request: LoadRequest): void {
    this.close();
    const worker = this.start();
    this.worker = worker;
    worker.onmessage = ({ data }) => {
      // Messages of a worker that was replaced may still be under way.
      if (this.worker === worker) this.receive(data);
    };
    worker.onerror = (event) => {
      if (this.worker !== worker) return;
      this.receive({
        type: "failed",
        message: `The engine stopped: ${event.message || "its script could not be loaded"}`,
      });
    };
    worker.postMessage({ type: "load", ...request });
  }

  /** Starts an answer. Its parts come as events with the returned id. */
  chat(messages: readonly Message[], settings: ChatSettings): number {
    const id = this.nextId++;
    this.worker?.postMessage({ type: "chat", id, messages, settings });
    return id;
  }

  stop(id: number): void {
    this.worker?.postMessage({ type: "stop", id });
  }

  /** Continues a text greedily and gives the tokens. */
  generate(prompt: string, maxTokens: number): Promise<GeneratedTokens> {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      if (!this.worker) {
        reject(new Error("no model is loaded"));
        return;
      }
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ type: "generate", id, prompt, maxTokens });
    });
  }

  close(): void {
    this.worker?.terminate();
    this.worker = undefined;
    this.rejectAll("the engine was closed");
  }

  private receive(event: FromWorker): void {
    if (event.type === "failed") this.rejectAll(event.message);
    const waiting = "id" in event ? this.waiting.get(event.id) : undefined;
    if (!waiting || !("id" in event)) {
      this.listen(event);
      return;
    }
    this.waiting.delete(event.id);
    if (event.type === "generated")
      waiting.resolve({ ids: event.ids, logProbs: event.logProbs, timings: event.timings });
    else waiting.reject(new Error(event.type === "error" ? event.message : `unexpected ${event.type}`));
  }

  private rejectAll(message: string): void {
    for (const { reject } of this.waiting.values()) reject(new Error(message));
    this.waiting.clear();
  }
}

function startWorker(): WorkerLike {
  // Vite finds the worker by this literal pattern.
  return new Worker(new URL("./engine-worker.ts", import.meta.url), { type: "module", name: "fulgur-engine" });
}
