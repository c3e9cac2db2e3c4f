/**
 * The launch list: its layout in the Wasm memory, and how threads walk it.
 *
 * A launch is an entry of whole 64-byte lines: head, counters, arguments. The host writes entries one behind the other and
 * opens the gate; every thread walks the same entries in order. At each it takes chunks of tasks from the entry's `next`
 * counter until none are left, and goes on when all tasks are *done*. What is counted is tasks, not threads: a worker that
 * sleeps, starts late or lost its core holds nobody up, because the others take its share.
 *
 * The gate counts the threads inside, so that the host overwrites the list only when nobody reads it any more.
 */
import type { Kernel } from "./wasm.js";

/** Where things lie, in 32-bit words from the start of the memory. The modules' own data would start at byte 4096. */
const LINE = 16;
/** Number of the published list; workers wait for it to change. */
const GENERATION = 256;
/** Bit 0: open; the rest: twice the number of workers inside. */
const GATE = GENERATION + LINE;
/** Number of workers that sleep until the next generation. */
const SLEEPING = GATE + LINE;
/** Number of entries in the published list, and its first word. */
const COUNT = SLEEPING + LINE;
const START = COUNT + 1;
/** 1 + the number of the first kernel that trapped, 0 if none. */
const FAULT = COUNT + LINE;
/** Index into `faultTexts`. */
const FAULT_KIND = FAULT + 1;

/**
 * A line for each worker, from byte 8192: 1 during its first call for an entry, else 0. `isFirstCall` in worker.inline.as.ts
 * reads it.
 */
const FIRST_CALL = 2048;

/** The list region: 512 KiB behind the first 64 KiB. */
export const LIST = 16_384;
export const LIST_WORDS = 131_072;
/** First byte behind the list: here the arena begins. */
export const ARENA_BYTE = (LIST + LIST_WORDS) * 4;

/** Words of an entry. */
const HEAD = 0; // kernel number | lines of the entry << 16
const TASKS = 1;
const CHUNK = 2;
const NEXT = 3;
const DONE = 4;
const SLEEPERS = 5;
const ARGUMENTS = 6;

/** As many as have a line before the list. */
export const MAX_THREADS = (LIST - FIRST_CALL) / LINE;

/** An entry has 1 … 8 lines. */
export const MAX_ARGUMENTS = 8 * LINE - ARGUMENTS;
/** `next` runs past the end by one chunk for each thread and must not wrap around. */
export const MAX_TASKS = 2 ** 26;

/** About 20 µs of looking: the order of what going to sleep and being woken costs. */
const SPINS = 4_000;

const faultTexts = [
  "failed",
  "read or wrote outside the memory",
  "executed `unreachable`",
  "divided by zero or overflowed an integer",
  "overflowed the call stack",
] as const;

export function entryWords(argumentCount: number): number {
  return Math.ceil((ARGUMENTS + argumentCount) / LINE) * LINE;
}

/** Writes an entry's fixed words at `at`; arguments go to the words from the returned index. */
export function writeEntry(
  words: Int32Array,
  at: number,
  length: number,
  kernel: number,
  tasks: number,
  chunk: number,
): number {
  words[at + HEAD] = kernel | ((length / LINE) << 16);
  words[at + TASKS] = tasks;
  words[at + CHUNK] = chunk;
  words[at + NEXT] = 0;
  words[at + DONE] = 0;
  words[at + SLEEPERS] = 0;
  return at + ARGUMENTS;
}

export function kernelOf(words: Int32Array, at: number): number {
  return words[at + HEAD]! & 0xffff;
}

export function lengthOf(words: Int32Array, at: number): number {
  return (words[at + HEAD]! >>> 16) * LINE;
}

/** Whether an entry has work for more than one thread. */
export function isForked(words: Int32Array, at: number): boolean {
  return words[at + TASKS]! > words[at + CHUNK]!;
}

/** Walks `count` entries from `at` in a memory of one thread: no atomics, each launch in one call. */
export function walkAlone(words: Int32Array, kernels: readonly Kernel[], at: number, count: number): void {
  words[FIRST_CALL] = 1;
  for (let entry = 0; entry < count; entry++) {
    const kernel = kernelOf(words, at);
    try {
      kernels[kernel]!((at + ARGUMENTS) * 4, 0, words[at + TASKS]!, 0);
    } catch (error) {
      reportFault(words, kernel, error);
    }
    at += lengthOf(words, at);
  }
}

/** Walks `count` entries from `at` together with the other threads. */
function walk(words: Int32Array, kernels: readonly Kernel[], at: number, count: number, worker: number): void {
  const firstCall = FIRST_CALL + worker * LINE;
  for (let entry = 0; entry < count; entry++) {
    const tasks = words[at + TASKS]!;
    const chunk = words[at + CHUNK]!;
    const kernel = kernelOf(words, at);
    let finished = 0;
    words[firstCall] = 1;
    // The plain look first keeps late threads from pulling the line away from those who still count.
    while (Atomics.load(words, at + NEXT) < tasks) {
      const begin = Atomics.add(words, at + NEXT, chunk);
      if (begin >= tasks) break;
      const end = Math.min(begin + chunk, tasks);
      try {
        kernels[kernel]!((at + ARGUMENTS) * 4, begin, end, worker);
      } catch (error) {
        reportFault(words, kernel, error);
      }
      words[firstCall] = 0;
      // A share that trapped counts as done: the others would wait for ever.
      finished += end - begin;
    }
    awaitTasks(words, at, finished, tasks);
    at += lengthOf(words, at);
  }
}

function awaitTasks(words: Int32Array, at: number, finished: number, tasks: number): void {
  const done = at + DONE;
  if (finished > 0 && Atomics.add(words, done, finished) + finished === tasks) {
    if (Atomics.load(words, at + SLEEPERS) > 0) Atomics.notify(words, done);
    return;
  }
  for (let look = 0; look < SPINS; look++) {
    if (Atomics.load(words, done) === tasks) return;
  }
  // A sleeper announces itself before it looks a last time, so that the last finisher sees either it or nobody asleep.
  Atomics.add(words, at + SLEEPERS, 1);
  for (let seen = Atomics.load(words, done); seen !== tasks; seen = Atomics.load(words, done)) {
    Atomics.wait(words, done, seen);
  }
}

/** The host's part: publishes the list, works on it, and returns when it is done and every worker has left it. */
export function forkJoin(words: Int32Array, kernels: readonly Kernel[], at: number, count: number): void {
  words[COUNT] = count;
  words[START] = at;
  Atomics.store(words, GATE, 1);
  Atomics.add(words, GENERATION, 1);
  if (Atomics.load(words, SLEEPING) > 0) Atomics.notify(words, GENERATION);
  walk(words, kernels, at, count, 0);
  Atomics.and(words, GATE, ~1);
  for (let look = 0; look < SPINS; look++) {
    if (Atomics.load(words, GATE) === 0) return;
  }
  for (let inside = Atomics.load(words, GATE); inside !== 0; inside = Atomics.load(words, GATE)) {
    Atomics.wait(words, GATE, inside);
  }
}

/** A worker's life: wait for a list, walk it, wait again. Ends only with the thread. */
export function serve(words: Int32Array, kernels: readonly Kernel[], worker: number): never {
  let seen = 0;
  for (;;) {
    seen = nextGeneration(words, seen);
    if (!enter(words)) continue;
    walk(words, kernels, words[START]!, words[COUNT]!, worker);
    if (Atomics.sub(words, GATE, 2) === 2) Atomics.notify(words, GATE);
  }
}

function nextGeneration(words: Int32Array, seen: number): number {
  for (let look = 0; look < SPINS; look++) {
    const generation = Atomics.load(words, GENERATION);
    if (generation !== seen) return generation;
  }
  Atomics.add(words, SLEEPING, 1);
  while (Atomics.load(words, GENERATION) === seen) Atomics.wait(words, GENERATION, seen);
  Atomics.sub(words, SLEEPING, 1);
  return Atomics.load(words, GENERATION);
}

/** False if the list is closed already: then it has been worked off without this thread. */
function enter(words: Int32Array): boolean {
  for (;;) {
    const gate = Atomics.load(words, GATE);
    if ((gate & 1) === 0) return false;
    if (Atomics.compareExchange(words, GATE, gate, gate + 2) === gate) return true;
  }
}

function reportFault(words: Int32Array, kernel: number, error: unknown): void {
  if (Atomics.compareExchange(words, FAULT, 0, kernel + 1) === 0) words[FAULT_KIND] = faultKind(error);
}

/** Engines word their traps differently; the text is only for people, so a miss costs nothing. */
function faultKind(error: unknown): number {
  const text = error instanceof Error ? error.message : "";
  if (/stack|recursion/i.test(text)) return 4;
  if (/out of bounds|outside/i.test(text)) return 1;
  if (/unreachable/i.test(text)) return 2;
  if (/divi|integer|represent/i.test(text)) return 3;
  return 0;
}

/** The first trap since the last call, if any. Only while no list is published. */
export function takeFault(words: Int32Array): { readonly kernel: number; readonly what: string } | undefined {
  const fault = words[FAULT]!;
  if (fault === 0) return undefined;
  words[FAULT] = 0;
  return { kernel: fault - 1, what: faultTexts[words[FAULT_KIND]!] ?? faultTexts[0] };
}
