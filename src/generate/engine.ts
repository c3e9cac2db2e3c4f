/**
 * The scheduler: sequences of different lengths join and leave one batch between steps.
 *
 * Each turn of its loop does one prefill step (prompts in chunks, several at once) and one burst of decode steps, so a long
 * prompt does not stop the others' answers. Finished sequences stay in their slots until the slots are needed, and a prompt
 * that begins with their tokens continues them: a chat prefills its new turn only. Lightning states cannot be cropped, so
 * such a return goes to the snapshot that was taken at the end of the last prompt.
 */
import { PoolError, type PoolOptions, type Sequence, SequencePool, type SequenceSnapshot } from "../cache/index.js";
import type { LanguageModel } from "../models/index.js";
import { buildStep, type StepRow } from "../nn/index.js";
import { advance, CONTROL, CONTROL_WORDS, FINISH, markSeen, OUTPUT_WORDS, sample } from "../ops/index.js";
import { zeros } from "../tensor/index.js";
import { controlWords } from "./controls.js";
import { DecodeBatch, type DecodeOutput, readOutputs } from "./decode-batch.js";
import { rehearse } from "./rehearse.js";
import {
  type FinishReason,
  PromptIdError,
  PromptTooLongError,
  type TokenEvent,
  type TokenRequest,
  type TokenTimings,
} from "./request.js";
import { TokenQueue } from "./token-queue.js";
import { yieldToEvents } from "./yield.js";

export interface EngineOptions extends PoolOptions {
  /** Prompt tokens of one prefill step, over all sequences. Default 512 on the CPU, 2,048 on WebGPU. */
  readonly prefillTokens?: number;
  /** Decode steps between two looks at the tokens. Default 1 on the CPU, 8 on WebGPU. */
  readonly burst?: number;
}

/** A generation under way. Iterate it for its tokens. */
export interface Generation extends AsyncIterable<TokenEvent> {
  /** Final once the iteration ended. */
  readonly timings: TokenTimings;
  /** Makes the closing text of the thinking the next tokens. For `stepwise` requests, between two tokens. */
  forceClosing(): void;
}

interface Job {
  readonly request: TokenRequest;
  readonly queue: TokenQueue<TokenEvent>;
  sequence: Sequence | undefined;
  /** Tokens whose keys and states the sequence holds, in order. */
  fed: number[];
  snapshot: SequenceSnapshot | undefined;
  next: number | undefined;
  finished: boolean;
  forceClosing: boolean;
  /** Takes the listener off the request's signal. */
  unlisten: () => void;
  cachedTokens: number;
  startedAt: number;
  firstTokenAt: number;
  lastTokenAt: number;
}

/** A finished sequence that a later prompt may continue. */
interface Idle {
  readonly sequence: Sequence;
  readonly fed: readonly number[];
  readonly snapshot: SequenceSnapshot | undefined;
}

const finishReasons: Readonly<Record<number, FinishReason>> = {
  [FINISH.stop]: "stop",
  [FINISH.length]: "length",
  [FINISH.repetition]: "repetition",
  [FINISH.context]: "context",
};

export class Engine implements AsyncDisposable {
  readonly pool: SequencePool;
  private readonly prefillTokens: number;
  private readonly burst: number;
  private readonly waiting: Job[] = [];
  private running: Job[] = [];
  /** Oldest first. */
  private readonly idle: Idle[] = [];
  private readonly batches = new Map<number, DecodeBatch>();
  private seated: readonly Job[] = [];
  private loop: Promise<void> | undefined;
  private isClosed = false;

  constructor(
    readonly model: LanguageModel,
    options: EngineOptions = {},
  ) {
    this.pool = new SequencePool(model.device, model.state, options);
    const isGpu = model.device.kind === "webgpu";
    this.prefillTokens = options.prefillTokens ?? (isGpu ? 2048 : 512);
    this.burst = options.burst ?? (isGpu && !model.device.isSoftware ? 8 : 1);
  }

  /** Longest prompt and answer together. */
  get maxTokens(): number {
    return this.pool.maxTokens;
  }

  /**
   * Starts a generation. It runs with the others; tokens wait in memory until they are taken. Leaving the loop stops it.
   * @throws {PromptTooLongError} {PromptIdError}
   */
  generate(request: TokenRequest): Generation {
    if (this.isClosed) throw new Error("the engine is closed");
    const { promptIds } = request;
    if (promptIds.length === 0) throw new PromptIdError("the prompt has no tokens");
    if (promptIds.length >= this.maxTokens) throw new PromptTooLongError(promptIds.length, this.maxTokens);
    const bad = promptIds.find((id) => !Number.isInteger(id) || id < 0 || id >= this.model.vocabSize);
    if (bad !== undefined) {
      throw new PromptIdError(`the prompt holds token id ${bad}; this model's ids are 0 … ${this.model.vocabSize - 1}`);
    }
    const job: Job = {
      request,
      queue: new TokenQueue(() => this.leave(job)),
      sequence: undefined,
      fed: [],
      snapshot: undefined,
      next: undefined,
      finished: false,
      forceClosing: false,
      unlisten: () => {},
      cachedTokens: 0,
      startedAt: 0,
      firstTokenAt: 0,
      lastTokenAt: 0,
    };
    const { signal } = request;
    if (signal?.aborted) job.queue.fail(signal.reason);
    else {
      const onAbort = () => this.leave(job, signal?.reason);
      signal?.addEventListener("abort", onAbort, { once: true });
      job.unlisten = () => signal?.removeEventListener("abort", onAbort);
      this.waiting.push(job);
      this.start();
    }
    return {
      [Symbol.asyncIterator]: () => job.queue[Symbol.asyncIterator](),
      forceClosing: () => {
        job.forceClosing = true;
      },
      get timings() {
        return {
          cachedTokens: job.cachedTokens,
          prefillTokens: job.request.promptIds.length - job.cachedTokens,
          prefillMs: job.firstTokenAt - job.startedAt,
          decodeMs: job.lastTokenAt - job.firstTokenAt,
        };
      },
    };
  }

  /** Compiles the kernels of a first answer, where that is worth it; see rehearse.ts. May be called before weights are there. */
  async rehearse(): Promise<void> {
    await rehearse(this.model, this.pool);
  }

  private start(): void {
    this.loop ??= this.work()
      .catch((error: unknown) => this.failAll(error))
      .finally(() => {
        this.loop = undefined;
        if (this.waiting.length > 0 && !this.isClosed) this.start();
      });
  }

  private async work(): Promise<void> {
    while (this.waiting.length + this.running.length > 0 && !this.isClosed) {
      this.admit();
      await this.prefill();
      await this.decode();
      await yieldToEvents();
    }
  }

  /** Moves waiting jobs into slots: continues an idle sequence where the prompt allows, else takes a free or the oldest slot. */
  private admit(): void {
    while (this.waiting.length > 0) {
      const [job] = this.waiting;
      if (!job) return;
      const continued = this.takeIdle(job.request.promptIds);
      if (!continued && this.pool.free === 0) {
        const oldest = this.idle.shift();
        if (!oldest) return; // all slots are at work
        release(oldest);
      }
      this.waiting.shift();
      job.sequence = continued?.sequence ?? this.pool.open();
      job.snapshot = continued?.snapshot;
      job.fed = continued ? job.request.promptIds.slice(0, job.sequence.length) : [];
      job.cachedTokens = job.fed.length;
      job.startedAt = performance.now();
      this.running.push(job);
    }
  }

  /** The idle sequence that saves most of the prompt, brought to its common part with it. At least one token is left to feed. */
  private takeIdle(promptIds: readonly number[]): Idle | undefined {
    let best: { readonly at: number; readonly length: number } | undefined;
    for (const [at, { sequence, fed, snapshot }] of this.idle.entries()) {
      const common = commonLength(fed, promptIds, promptIds.length - 1);
      const canCut = this.pool.states.length === 0;
      let length = common;
      if (common < sequence.length && !canCut) length = snapshot && snapshot.length <= common ? snapshot.length : 0;
      if (length > 0 && length > (best?.length ?? 0)) best = { at, length };
    }
    if (!best) return undefined;
    const [idle] = this.idle.splice(best.at, 1);
    if (!idle) return undefined;
    const { sequence, snapshot } = idle;
    if (best.length < sequence.length) {
      try {
        if (this.pool.states.length === 0) sequence.trim(best.length);
        else if (snapshot) sequence.restore(snapshot);
      } catch (error) {
        // A packed cache that was cut too often: the prompt is read anew.
        if (!(error instanceof PoolError)) throw error;
        release(idle);
        return undefined;
      }
    }
    return idle;
  }

  /** One step over prompts that are not finished. */
  private async prefill(): Promise<void> {
    const jobs = this.running.filter((job) => !job.finished && job.next === undefined);
    if (jobs.length === 0) return;
    const { device } = this.model;
    const rows: StepRow[] = [];
    const stepJobs: Job[] = [];
    let budget = this.prefillTokens;
    for (const job of jobs) {
      if (budget === 0) break;
      const { sequence, request, fed } = job;
      if (!sequence) continue;
      const ids = request.promptIds.slice(fed.length, fed.length + budget);
      try {
        sequence.reserve(fed.length + ids.length + 1);
      } catch (error) {
        this.fail(job, error);
        continue;
      }
      budget -= ids.length;
      rows.push({ slot: sequence.slot, past: fed.length, ids });
      stepJobs.push(job);
      fed.push(...ids);
      sequence.length = fed.length;
      if (fed.length === request.promptIds.length) {
        this.writeControls(job, controlWords(request, fed.length, this.maxTokens));
      }
    }
    if (rows.length === 0) return;
    using step = buildStep(device, rows);
    using ring = zeros(device, [1, rows.length, OUTPUT_WORDS], "i32", "output ring");
    using ringHead = zeros(device, [1], "i32", "output ring head");
    markSeen(this.pool.seen, step);
    {
      using logits = this.model.forward(step, this.pool);
      sample(logits, this.pool.controls, this.pool.seen, step);
    }
    const complete = stepJobs.filter((job) => job.fed.length === job.request.promptIds.length);
    for (const job of complete) {
      // The point to come back to when the next prompt does not continue with this answer's very tokens.
      if (this.pool.states.length === 0 || !job.sequence) continue;
      job.snapshot?.dispose();
      job.snapshot = job.sequence.snapshot();
    }
    advance(step, this.pool.controls, this.pool.seen, ring, ringHead);
    const outputs = await readOutputs(ring);
    for (const [r, job] of stepJobs.entries()) {
      const output = outputs[r];
      if (output && output.slot >= 0 && !job.finished) this.deliver(job, output);
    }
  }

  /** A burst of decode steps over all sequences that have a token to feed. */
  private async decode(): Promise<void> {
    const ready = this.running.filter((job) => !job.finished && job.next !== undefined);
    const steps = ready.some(({ request }) => request.stepwise) ? 1 : this.burst;
    let longest = 0;
    // Running past a context's end writes nothing: the device stops such rows itself.
    const jobs = ready.filter((job) => {
      const tokens = Math.min(job.fed.length + steps + 1, this.maxTokens);
      try {
        job.sequence?.reserve(tokens);
      } catch (error) {
        this.fail(job, error);
        return false;
      }
      longest = Math.max(longest, tokens);
      return true;
    });
    if (jobs.length === 0) return;
    for (const job of jobs) {
      if (!job.forceClosing) continue;
      job.forceClosing = false;
      this.writeControl(job, CONTROL.forcedAt, 0);
    }
    const size = 2 ** Math.ceil(Math.log2(jobs.length));
    let batch = this.batches.get(size);
    if (!batch) {
      batch = new DecodeBatch(this.model, this.pool, size);
      this.batches.set(size, batch);
    }
    if (!sameJobs(jobs, this.seated)) {
      batch.seat(
        jobs.map(({ sequence, next, fed }) => ({ slot: sequence?.slot ?? -1, token: next ?? 0, position: fed.length })),
      );
      this.seated = jobs;
    }
    batch.run(steps, longest);
    for (const outputs of await batch.outputs(steps)) {
      for (const [r, job] of jobs.entries()) {
        const output = outputs[r];
        if (!output || output.slot < 0) continue;
        // The token that was fed is in the caches now, also when its consumer left in the meantime.
        if (job.next !== undefined) job.fed.push(job.next);
        if (job.sequence) job.sequence.length = job.fed.length;
        if (job.finished) job.next = output.token;
        else this.deliver(job, output);
      }
    }
  }

  private deliver(job: Job, output: DecodeOutput): void {
    const now = performance.now();
    if (job.firstTokenAt === 0) job.firstTokenAt = now;
    job.lastTokenAt = now;
    job.next = output.token;
    const finish = finishReasons[output.finish];
    job.queue.push({ id: output.token, logProb: output.logProb, finish });
    if (finish !== undefined) {
      job.queue.end();
      this.retire(job);
    }
  }

  /** The consumer left, or its signal fired. */
  private leave(job: Job, reason?: unknown): void {
    if (job.finished) return;
    job.unlisten();
    if (reason !== undefined) job.queue.fail(reason);
    const at = this.waiting.indexOf(job);
    if (at >= 0) {
      this.waiting.splice(at, 1);
      job.finished = true;
      return;
    }
    if (job.sequence) this.writeControl(job, CONTROL.active, 0);
    this.retire(job, job.fed.length >= job.request.promptIds.length);
  }

  private fail(job: Job, error: unknown): void {
    job.queue.fail(error);
    this.retire(job, false);
  }

  private failAll(error: unknown): void {
    for (const job of [...this.running, ...this.waiting]) {
      job.finished = true;
      job.unlisten();
      job.queue.fail(error);
      if (job.sequence) {
        job.snapshot?.dispose();
        job.sequence.close();
      }
    }
    this.running = [];
    this.waiting.length = 0;
    this.seated = [];
  }

  /** Takes a job out of the batch. Its sequence stays in its slot until that is needed. */
  private retire(job: Job, keep = true): void {
    job.finished = true;
    job.unlisten();
    this.running = this.running.filter((other) => other !== job);
    const { sequence, fed, snapshot } = job;
    if (!sequence) return;
    const idle = { sequence, fed, snapshot };
    if (keep) this.idle.push(idle);
    else release(idle);
  }

  private writeControls(job: Job, words: Int32Array): void {
    const { controls } = this.pool;
    const byteLength = CONTROL_WORDS * 4;
    const byteOffset = controls.byteOffset + (job.sequence?.slot ?? 0) * byteLength;
    this.model.device.write({ allocation: controls.allocation, byteOffset, byteLength }, words);
  }

  private writeControl(job: Job, word: number, value: number): void {
    const { controls } = this.pool;
    const byteOffset = controls.byteOffset + ((job.sequence?.slot ?? 0) * CONTROL_WORDS + word) * 4;
    this.model.device.write({ allocation: controls.allocation, byteOffset, byteLength: 4 }, Int32Array.of(value));
  }

  /** Stops everything and frees the pool. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.failAll(new Error("the engine was closed"));
    await this.loop;
    for (const idle of this.idle.splice(0)) release(idle);
    for (const batch of this.batches.values()) batch.dispose();
    this.batches.clear();
    this.pool.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function release({ sequence, snapshot }: Idle): void {
  snapshot?.dispose();
  sequence.close();
}

function sameJobs(a: readonly Job[], b: readonly Job[]): boolean {
  return a.length === b.length && a.every((job, i) => job === b[i]);
}

function commonLength(a: readonly number[], b: readonly number[], most: number): number {
  const end = Math.min(a.length, b.length, most);
  let i = 0;
  while (i < end && a[i] === b[i]) i++;
  return i;
}
