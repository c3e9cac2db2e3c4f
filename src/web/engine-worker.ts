/** The engine's worker: opens a device, loads a model, chats. Everything that takes long happens here, not in the page. */
import "./dispose-symbols.js";
import { assistantContent, chat, type Device, greedyRequest, loadModel, type Model, NoDeviceError, open } from "fulgur";
import { urlFolder } from "fulgur/formats";
import type { FromWorker, LoadRequest, Message, ModelInfo, ToWorker } from "./protocol.js";

// The worker's own scope; the DOM library types `self` as a window.
const scope = globalThis as unknown as {
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
  postMessage(message: FromWorker): void;
  readonly crossOriginIsolated: boolean;
};
const say = (message: FromWorker): void => scope.postMessage(message);

let model: Model | undefined;
let lostMessage: string | undefined;
const running = new Map<number, AbortController>();

scope.onmessage = ({ data }) => {
  if (data.type === "load") void load(data);
  else if (data.type === "chat") void answer(data);
  else if (data.type === "generate") void generate(data);
  else running.get(data.id)?.abort();
};

async function load(request: LoadRequest): Promise<void> {
  try {
    say({ type: "progress", stage: "device", done: 0, total: 0 });
    const { device, notes } = await openDevice(request);
    void device.lost.then((error) => {
      lostMessage = `The device was lost: ${error.message}`;
      say({ type: "failed", message: lostMessage });
    });
    say({ type: "progress", stage: "files", done: 0, total: 0 });
    model = await loadModel(urlFolder(request.modelUrl), {
      device,
      // A page holds one conversation at a time.
      slots: 1,
      ...(request.kv === undefined ? {} : { kv: request.kv }),
      onProgress: ({ done, total }) => say({ type: "progress", stage: "weights", done, total }),
    });
    say({ type: "ready", info: infoOf(model, notes) });
  } catch (error) {
    say({ type: "failed", message: textOf(error) });
  }
}

async function openDevice(request: LoadRequest): Promise<{ readonly device: Device; readonly notes: string[] }> {
  const cpu = request.threads === undefined ? {} : { threads: request.threads };
  const notes: string[] = [];
  let device: Device;
  try {
    device = await open({ prefer: request.device, cpu });
  } catch (error) {
    if (request.device !== "webgpu" || !(error instanceof NoDeviceError)) throw error;
    device = await open({ prefer: "cpu", cpu });
  }
  if (device.kind === "cpu" && request.device !== "cpu") notes.push("no WebGPU here: running on the CPU");
  if (device.kind === "cpu" && !scope.crossOriginIsolated && request.threads !== 1) {
    notes.push("the server does not isolate this page (COOP, COEP): one thread");
  }
  if (device.isSoftware) notes.push("WebGPU in software: the CPU is faster");
  return { device, notes };
}

function infoOf({ name, device, language, engine, thinking }: Model, notes: readonly string[]): ModelInfo {
  return {
    name,
    device: device.label,
    parameters: language.parameters.total,
    activeParameters: language.parameters.active,
    contextTokens: engine.maxTokens,
    canThink: thinking !== undefined,
    notes,
  };
}

async function answer({ id, messages, settings }: Extract<ToWorker, { type: "chat" }>): Promise<void> {
  await run(id, async (model, signal) => {
    const conversation = messages.map((message) => ({ role: message.role, content: contentOf(model, message) }));
    const { enableThinking, ...options } = settings;
    const parts = chat(model, conversation, {
      ...options,
      ...(model.thinking ? { enableThinking } : {}),
      signal,
    });
    for await (const part of parts) {
      if (part.kind !== "done") {
        say({ type: "part", id, kind: part.kind, text: part.text });
        continue;
      }
      const { finishReason, usage, timings } = part;
      say({ type: "done", id, finishReason, usage, timings });
    }
  });
}

function contentOf({ thinking }: Model, { role, text, reasoning = "" }: Message): string {
  return role === "user" ? text : assistantContent(thinking, { reasoning, answer: text });
}

async function generate({ id, prompt, maxTokens }: Extract<ToWorker, { type: "generate" }>): Promise<void> {
  await run(id, async ({ engine, tokenizer, generation }, signal) => {
    const ids: number[] = [];
    const logProbs: number[] = [];
    const tokens = engine.generate(
      greedyRequest(tokenizer.encode(prompt), maxTokens, { stopIds: generation.stopIds, signal }),
    );
    for await (const token of tokens) {
      ids.push(token.id);
      logProbs.push(token.logProb);
    }
    const { prefillMs, decodeMs } = tokens.timings;
    say({ type: "generated", id, ids, logProbs, timings: { prefillMs, decodeMs } });
  });
}

/** Runs one piece of work under a signal of its own; a stop is no error. */
async function run(id: number, work: (model: Model, signal: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController();
  running.set(id, controller);
  try {
    if (!model) throw new Error("The model is not loaded yet.");
    if (lostMessage !== undefined) throw new Error(lostMessage);
    await work(model, controller.signal);
  } catch (error) {
    if (controller.signal.aborted) say({ type: "stopped", id });
    else say({ type: "error", id, message: textOf(error) });
  } finally {
    running.delete(id);
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
