/**
 * The CPU device: kernels compiled to WebAssembly, one memory, and threads that share both.
 *
 * Launches are recorded as entries of a list in the memory (list.ts). `flush` hands the list to all threads at once, works
 * on it too, and returns when it is done: however many launches a step has, its threads meet with one fork. Between two
 * flushes the workers look for about 20 µs and then sleep, so an idle device uses no processor time.
 *
 * Our choice: a kernel that traps does not throw where it was launched. Its share counts as done, the list goes on, and the
 * next `read` or `idle` rejects with the kernel's name.
 */
import type { Allocation, BufferSlice, MemoryUse } from "../buffer.js";
import type { CapturedList, Cost, DeviceContract, Profile, ProfileEntry } from "../device.js";
import { DeviceError, DeviceLostError, NoDeviceError, OutOfMemoryError } from "../errors.js";
import { ScopeStack } from "../scope.js";
import { ALIGNMENT, Arena } from "./arena.js";
import { type CpuArgument, wordOf } from "./arguments.js";
import { Captured, CpuAllocation, type Scratch } from "./captured.js";
import {
  ARENA_BYTE,
  entryWords,
  forkJoin,
  isForked,
  kernelOf,
  LIST,
  lengthOf,
  MAX_ARGUMENTS,
  MAX_TASKS,
  MAX_THREADS,
  takeFault,
  walkAlone,
} from "./list.js";
import { nearNames } from "./near-names.js";
import type { Platform, Thread } from "./platform.js";
import { Recording } from "./recording.js";
import { chooseRelaxedSimd, findPlatform, INITIAL_PAGES, PAGE, tryInstantiate } from "./setup.js";
import type { Kernels, WasmMemory, WasmModule } from "./wasm.js";

/** Tasks of the copy and clear kernels. */
const BLOCK_BYTES = 256 * 1024;
const DEFAULT_MAX_THREADS = 16;

export interface CpuLaunch {
  readonly arguments: readonly CpuArgument[];
  /** The kernel is called for ranges that make up 0 … tasks − 1. No tasks: nothing is launched. */
  readonly tasks: number;
  /**
   * Tasks that a thread takes at a time; default: a quarter of its even share. Results must not depend on it (a device of
   * one thread takes all at once).
   */
  readonly chunk?: number;
  readonly cost?: Cost;
}

export interface CpuOptions {
  /** Threads that work, the caller's included. Default: the machine's, at most 16. One where threads cannot be had. */
  readonly threads?: number;
  /**
   * Whether to take the kernels with relaxed SIMD (fused multiply-add where the machine has it: faster, other last bits).
   * `auto`: if the engine has it. `true`: also switches it on in Node 20 by a V8 flag, which Node's documentation
   * discourages while the process runs. Default `auto`.
   */
  readonly relaxedSimd?: "auto" | boolean;
  /** Limit of the arena in bytes. Default: what a 32-bit memory holds, 4 GiB. */
  readonly maximumBytes?: number;
  /** For bundlers that cannot find the kernel files: the compiled `dist/wasm/kernels*.wasm` of the wanted kind. */
  readonly wasm?: { readonly module: object };
}

export class CpuDevice implements DeviceContract {
  readonly kind = "cpu";
  readonly label: string;
  readonly isSoftware = false;
  readonly lost: Promise<DeviceLostError>;

  private readonly kernelNumbers: ReadonlyMap<string, number>;
  private readonly scopes = new ScopeStack();
  private readonly arena: Arena;
  private readonly limitBytes: number;
  private readonly workers: Thread[] = [];
  private readonly recording: Recording;
  private readonly addressOf = (slice: BufferSlice): number => this.address(slice);
  private capturing: Captured | undefined;
  private profiling: Map<string, ProfileEntry> | undefined;
  private scratch: Scratch | undefined;
  private nextId = 1;
  private forkCount = 0;
  private launchCount = 0;
  /** The first trap that no `read` or `idle` has reported yet. */
  private failure: DeviceError | undefined;
  private end: DeviceLostError | undefined;
  private resolveLost: (error: DeviceLostError) => void = () => {};

  /** Use `CpuDevice.open`. */
  private constructor(
    private memoryOrNone: WasmMemory | undefined,
    maximumPages: number,
    private readonly kernels: Kernels,
    readonly threads: number,
    readonly relaxedSimd: boolean,
    private readonly maximumBytes: number | undefined,
  ) {
    this.label = `WebAssembly ${relaxedSimd ? "relaxed " : ""}SIMD, ${threads} ${threads === 1 ? "thread" : "threads"}`;
    this.lost = new Promise((resolve) => {
      this.resolveLost = resolve;
    });
    this.kernelNumbers = new Map(kernels.names.map((name, index) => [name, index]));
    this.recording = new Recording(this.launchWords(), LIST, false);
    // The last page stays unused: `address + length` of a block at its end would wrap around to 0.
    const wasmLimit = (maximumPages - 1) * PAGE - ARENA_BYTE;
    const limit = Math.min(wasmLimit, maximumBytes ?? wasmLimit);
    this.limitBytes = Math.floor(limit / ALIGNMENT) * ALIGNMENT;
    const begin = Math.min(INITIAL_PAGES * PAGE, ARENA_BYTE + this.limitBytes);
    this.arena = new Arena(ARENA_BYTE, begin, (bytes) => this.grow(bytes));
  }

  /**
   * @throws {NoDeviceError} The kernel files are missing, or this engine cannot run them.
   */
  static async open(options: CpuOptions = {}): Promise<CpuDevice> {
    const platform = await findPlatform();
    const relaxed = chooseRelaxedSimd(platform, options.relaxedSimd ?? "auto");
    let threads = options.threads ?? Math.min(platform.hardwareThreads, DEFAULT_MAX_THREADS);
    if (!(Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS)) {
      throw new RangeError(`CpuDevice.open: threads expected a whole number from 1 to ${MAX_THREADS}, got ${threads}`);
    }
    const { maximumBytes } = options;
    if (maximumBytes !== undefined && !(maximumBytes >= ALIGNMENT)) {
      throw new RangeError(`CpuDevice.open: maximumBytes expected at least ${ALIGNMENT}, got ${maximumBytes}`);
    }
    if (!platform.canWait || typeof SharedArrayBuffer === "undefined") threads = 1;
    const given = options.wasm?.module as WasmModule | undefined; // typed loosely for those who have no WebAssembly types
    const module = given ?? (await platform.loadKernels({ relaxed, shared: threads > 1 }));
    let opened = tryInstantiate(module, threads > 1);
    if (!opened && given) {
      // A module says itself whether its memory is shared; a given one decides about threads.
      opened = tryInstantiate(module, threads === 1);
      if (opened) threads = 1;
    }
    if (!opened) throw new NoDeviceError("the CPU kernels do not fit this engine: rebuild them with `npm run build`");
    const { memory, maximumPages, kernels } = opened;
    const device = new CpuDevice(memory, maximumPages, kernels, threads, relaxed, maximumBytes);
    await device.startWorkers(platform, module, memory);
    return device;
  }

  // —— memory

  get memory(): MemoryUse {
    return this.arena.use;
  }

  resetPeak(): void {
    this.arena.resetPeak();
  }

  allocate(byteLength: number, label?: string): Allocation {
    this.mustBeOpen();
    if (!(Number.isInteger(byteLength) && byteLength >= 0)) {
      throw new RangeError(`allocate${label ? ` (${label})` : ""}: expected a number of bytes, got ${byteLength}`);
    }
    const list = this.capturing;
    const rounded = Math.ceil(byteLength / 4) * 4;
    const at = list?.freed.get(arenaBytes(rounded))?.pop() ?? this.take(rounded, true, label);
    return new CpuAllocation(this, this.nextId++, rounded, at, list);
  }

  free(allocation: Allocation): void {
    const own = this.own(allocation);
    if (own.isFree) throw new DeviceError(`free: allocation ${own.id} was freed already`);
    own.isFree = true;
    if (this.end) return;
    if (own.list === undefined || own.list !== this.capturing) {
      this.arena.release(own.handle);
      return;
    }
    const size = arenaBytes(own.byteLength);
    const same = own.list.freed.get(size);
    if (same) same.push(own.handle);
    else own.list.freed.set(size, [own.handle]);
  }

  /** Where a slice begins in the Wasm memory. */
  address(slice: BufferSlice): number {
    const own = this.own(slice.allocation);
    if (own.isFree) throw new DeviceError(`allocation ${own.id} (${own.byteLength} bytes) is used after it was freed`);
    // + 3: a transfer of a tail of 16- or 8-bit elements is rounded up to a word; blocks end at multiples of 64.
    if (
      !(slice.byteOffset >= 0 && slice.byteLength >= 0 && slice.byteOffset + slice.byteLength <= own.byteLength + 3)
    ) {
      throw new DeviceError(
        `a slice of ${slice.byteLength} bytes from ${slice.byteOffset} leaves its allocation of ${own.byteLength} bytes`,
      );
    }
    return own.handle + slice.byteOffset;
  }

  /**
   * Scratch memory for kernels: `threads` areas of `bytesPerWorker` bytes (rounded up to 64), one behind the other; a
   * kernel uses `scratch + worker * bytes`. Kept by the device and grown on demand (it counts as pooled), and valid for
   * the launches that are recorded until the next flush, or in a capture until its list is disposed.
   */
  workerScratch(bytesPerWorker: number): BufferSlice {
    this.mustBeOpen();
    const bytes = arenaBytes(bytesPerWorker);
    let { scratch } = this;
    if (scratch === undefined || scratch.bytesPerWorker < bytes) {
      const byteLength = bytes * this.threads;
      const at = this.take(byteLength, false, "worker scratch");
      const allocation = new CpuAllocation(this, this.nextId++, byteLength, at, undefined);
      if (scratch) this.dropScratch(scratch);
      scratch = { slice: { allocation, byteOffset: 0, byteLength }, bytesPerWorker: bytes, users: 1 };
      this.scratch = scratch;
    }
    const list = this.capturing;
    if (list && !list.scratch.has(scratch)) {
      list.scratch.add(scratch);
      scratch.users += 1;
    }
    return scratch.slice;
  }

  write(to: BufferSlice, data: ArrayBufferView): void {
    this.handOver("write");
    const at = this.address(to);
    if (data.byteLength > to.byteLength || data.byteLength % 4 !== 0 || to.byteOffset % 4 !== 0) {
      throw new DeviceError(
        `write: expected a multiple of 4 bytes, at most ${to.byteLength}, at a multiple of 4; ` +
          `got ${data.byteLength} bytes at ${to.byteOffset}`,
      );
    }
    this.bytes(at, data.byteLength).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }

  async receive(to: BufferSlice, fill: (memory: Uint8Array) => Promise<void>): Promise<void> {
    this.handOver("receive");
    const at = this.address(to);
    const { byteLength } = to;
    if (typeof SharedArrayBuffer !== "undefined" && this.wasmMemory.buffer instanceof SharedArrayBuffer) {
      await fill(this.bytes(at, byteLength));
      this.mustBeOpen();
      return;
    }
    // Growing an unshared memory makes its views empty: nobody may hold one over an await.
    const memory = new Uint8Array(byteLength);
    await fill(memory);
    this.write(to, memory);
  }

  async read(from: BufferSlice): Promise<ArrayBuffer> {
    this.handOver("read");
    this.reportFailure();
    const at = this.address(from);
    const copy = new Uint8Array(from.byteLength);
    copy.set(this.bytes(at, from.byteLength));
    return copy.buffer;
  }

  copy(from: BufferSlice, to: BufferSlice): void {
    const { byteLength } = from;
    if (byteLength > to.byteLength || byteLength % 4 !== 0) {
      throw new DeviceError(`copy: expected a multiple of 4 bytes, at most ${to.byteLength}, got ${byteLength}`);
    }
    const distance = Math.abs(this.address(from) - this.address(to));
    // Overlapping blocks on several threads would read what others have written.
    const block = distance < byteLength ? byteLength : BLOCK_BYTES;
    this.run("copyBytes", {
      arguments: [from, to, byteLength, block],
      tasks: Math.ceil(byteLength / block) || 0,
      chunk: 1,
      cost: { bytes: 2 * byteLength, operations: 0 },
    });
  }

  clear(slice: BufferSlice): void {
    this.run("clearBytes", {
      arguments: [slice, slice.byteLength, BLOCK_BYTES],
      tasks: Math.ceil(slice.byteLength / BLOCK_BYTES),
      chunk: 1,
      cost: { bytes: slice.byteLength, operations: 0 },
    });
  }

  // —— launches

  /** Fork–joins so far. A flush is one, or none if it had no work for a second thread. */
  get forks(): number {
    return this.forkCount;
  }

  /** Launches so far, those of replays included, those of captures not. */
  get launches(): number {
    return this.launchCount;
  }

  hasKernel(name: string): boolean {
    return this.kernelNumbers.has(name);
  }

  /**
   * Records a launch.
   *
   * @throws {DeviceError} There is no such kernel, or an argument does not fit.
   */
  run(kernel: string, launch: CpuLaunch): void {
    this.mustBeOpen();
    const number = this.kernelNumbers.get(kernel);
    if (number === undefined) throw unknownKernel(kernel, this.kernels.names);
    const { arguments: values, tasks } = launch;
    const chunk = launch.chunk ?? Math.ceil(tasks / (4 * this.threads));
    if (!(Number.isInteger(tasks) && tasks >= 0 && tasks <= MAX_TASKS) || !(Number.isInteger(chunk) && chunk >= 0)) {
      throw new DeviceError(`${kernel}: expected 0 … ${MAX_TASKS} tasks, got ${tasks} in chunks of ${chunk}`, kernel);
    }
    if (values.length > MAX_ARGUMENTS) {
      throw new DeviceError(`${kernel}: at most ${MAX_ARGUMENTS} arguments, got ${values.length}`, kernel);
    }
    if (tasks === 0) return;
    const list = this.capturing?.recording ?? this.recording;
    if (!list.hasRoom(entryWords(values.length))) this.execute();
    // Words first: an argument that does not fit must not leave half an entry.
    const words = this.argumentWords;
    for (let index = 0; index < values.length; index++)
      words[index] = wordOf(values[index], kernel, index, this.addressOf);
    const first = list.add(number, values.length, tasks, Math.min(Math.max(chunk, 1), tasks), launch.cost);
    for (let index = 0; index < values.length; index++) list.words[first + index] = words[index]!;
    if (!this.capturing) this.launchCount += 1;
  }

  flush(): void {
    this.handOver("flush");
  }

  async idle(): Promise<void> {
    this.handOver("idle");
    this.reportFailure();
  }

  capture(f: () => void): CapturedList {
    this.mustBeOpen();
    if (this.capturing) throw new DeviceError("capture: captures do not nest");
    const list = new Captured(
      (one) => this.replay(one),
      (one) => this.releaseList(one),
    );
    this.capturing = list;
    try {
      const result: unknown = f();
      if (result instanceof Promise) throw new DeviceError("capture: the function must not be async");
    } catch (error) {
      list.dispose();
      throw error;
    } finally {
      this.capturing = undefined;
    }
    return list;
  }

  // —— scopes, profiles

  scope<T>(f: () => T): T {
    return this.scopes.scope(f);
  }

  track(resource: Disposable): void {
    this.scopes.track(resource);
  }

  async profile(f: () => void | Promise<void>): Promise<Profile> {
    this.handOver("profile");
    if (this.profiling) throw new DeviceError("profile: profiles do not nest");
    const entries = new Map<string, ProfileEntry>();
    this.profiling = entries;
    const begin = performance.now();
    try {
      await f();
      this.handOver("profile");
    } finally {
      this.profiling = undefined;
    }
    return { entries: [...entries.values()], seconds: (performance.now() - begin) / 1000 };
  }

  // —— the end

  get closed(): boolean {
    return this.end !== undefined;
  }

  /** Ends the threads and lets go of the memory. Recorded launches that were not flushed are dropped. */
  async close(): Promise<void> {
    await this.finish(new DeviceLostError("the CPU device was closed"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private async finish(end: DeviceLostError): Promise<void> {
    if (this.end) return;
    this.end = end;
    this.memoryOrNone = undefined;
    this.recording.words = new Int32Array(0);
    this.resolveLost(end);
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }

  // —— inside

  /** Argument words of the launch that is being recorded. */
  private readonly argumentWords = new Int32Array(MAX_ARGUMENTS);

  private async startWorkers(platform: Platform, module: WasmModule, memory: WasmMemory): Promise<void> {
    const starting = Array.from({ length: this.threads - 1 }, (_, index) =>
      platform.startThread({ module, memory, worker: index + 1 }),
    );
    const started = await Promise.allSettled(starting);
    for (const thread of started) if (thread.status === "fulfilled") this.workers.push(thread.value);
    const failed = started.find((thread) => thread.status === "rejected");
    if (failed) {
      await this.close();
      if (failed.reason instanceof NoDeviceError) throw failed.reason;
      throw new NoDeviceError(`a thread of the CPU device did not start: ${String(failed.reason)}`, undefined, {
        cause: failed.reason,
      });
    }
    for (const worker of this.workers) {
      const lose = (cause?: unknown) =>
        this.finish(new DeviceLostError("a worker thread of the CPU device ended", undefined, { cause }));
      worker.ended.then(() => lose(), lose);
    }
  }

  private mustBeOpen(): void {
    if (this.end) throw this.end;
  }

  private get wasmMemory(): WasmMemory {
    if (!this.memoryOrNone) throw this.end ?? new Error("internal: an open device without memory");
    return this.memoryOrNone;
  }

  private bytes(at: number, length: number): Uint8Array {
    return new Uint8Array(this.wasmMemory.buffer, at, length);
  }

  private launchWords(): Int32Array {
    return new Int32Array(this.wasmMemory.buffer, 0, ARENA_BYTE / 4);
  }

  private own(allocation: Allocation): CpuAllocation {
    if (allocation instanceof CpuAllocation && allocation.owner === this) return allocation;
    throw new DeviceError("an allocation of another device was given to the CPU device");
  }

  private take(byteLength: number, isLive: boolean, label: string | undefined): number {
    const at = this.arena.allocate(byteLength, isLive);
    if (at !== undefined) return at;
    const isOwnLimit = this.maximumBytes !== undefined && this.maximumBytes <= this.limitBytes;
    const reason = isOwnLimit
      ? "The limit is the option maximumBytes."
      : "A WebAssembly memory (wasm32) ends at 4 GiB: use smaller weights (int8, int4), a shorter context, or the WebGPU device.";
    const wanted = label ? `The allocation is ${label}. ` : "";
    throw new OutOfMemoryError(byteLength, this.arena.use.live, this.limitBytes, wanted + reason);
  }

  /** Grows the memory for the arena; by more than asked, while there is plenty, so that it happens rarely. */
  private grow(bytes: number): number | undefined {
    const memory = this.wasmMemory;
    const before = memory.buffer.byteLength;
    const limit = ARENA_BYTE + this.limitBytes;
    const wanted = Math.min(before, limit) + bytes;
    if (wanted > limit) return undefined;
    const generous = Math.min(Math.max(wanted, before + Math.min(before / 4, 64 * 1024 * 1024)), limit);
    for (const target of [generous, wanted]) {
      try {
        memory.grow(Math.ceil((target - before) / PAGE));
      } catch {
        continue; // the system has no more: perhaps it has the smaller piece
      }
      // Growing an unshared memory makes all views of it empty.
      this.recording.words = this.launchWords();
      return Math.min(memory.buffer.byteLength, limit);
    }
    return undefined;
  }

  /** Executes what is recorded, for `what`, which a capture cannot hold. */
  private handOver(what: string): void {
    this.mustBeOpen();
    if (this.capturing) throw new DeviceError(`${what}: not inside a capture, which records launches only`);
    if (this.recording.count > 0) this.execute();
  }

  private execute(): void {
    const { words, count, forked, costs } = this.recording;
    this.recording.clear();
    if (this.profiling) this.executeTimed(this.profiling, words, count, costs);
    else this.executePart(words, LIST, count, forked > 0);
    const fault = takeFault(words);
    if (!fault) return;
    const name = this.kernels.names[fault.kernel];
    this.failure ??= new DeviceError(`kernel ${name} ${fault.what}`, name);
  }

  private executePart(words: Int32Array, at: number, count: number, isForked: boolean): void {
    if (this.threads === 1 || !isForked) {
      walkAlone(words, this.kernels.functions, at, count);
      return;
    }
    this.forkCount += 1;
    forkJoin(words, this.kernels.functions, at, count);
  }

  private executeTimed(
    profile: Map<string, ProfileEntry>,
    words: Int32Array,
    count: number,
    costs: readonly (Cost | undefined)[],
  ): void {
    let at = LIST;
    for (let entry = 0; entry < count; entry++) {
      const begin = performance.now();
      this.executePart(words, at, 1, isForked(words, at));
      const seconds = (performance.now() - begin) / 1000;
      const kernel = this.kernels.names[kernelOf(words, at)]!;
      const sum = profile.get(kernel) ?? { kernel, calls: 0, seconds: 0, bytes: 0, operations: 0 };
      const cost = costs[entry];
      profile.set(kernel, {
        kernel,
        calls: sum.calls + 1,
        seconds: sum.seconds + seconds,
        bytes: sum.bytes + (cost?.bytes ?? 0),
        operations: sum.operations + (cost?.operations ?? 0),
      });
      at += lengthOf(words, at);
    }
  }

  /** Copies a captured list behind the recording: about 64 bytes a launch, with fresh counters. */
  private replay(list: Captured): void {
    this.mustBeOpen();
    if (this.capturing) throw new DeviceError("replay: not inside a capture");
    const { recording: from } = list;
    if (!this.recording.hasRoom(from.at)) this.handOver("replay");
    let next = from.begin;
    let done = 0;
    while (next < from.at) {
      const before = this.recording.count;
      next = this.recording.append(from, next);
      const added = this.recording.count - before;
      if (this.profiling) {
        for (let index = 0; index < added; index++) this.recording.costs[before + index] = from.costs[done + index];
      }
      done += added;
      if (next < from.at) this.handOver("replay");
    }
    this.launchCount += list.launches;
  }

  private releaseList(list: Captured): void {
    if (this.end) return;
    for (const addresses of list.freed.values()) for (const at of addresses) this.arena.release(at);
    for (const scratch of list.scratch) this.dropScratch(scratch);
  }

  private dropScratch(scratch: Scratch): void {
    scratch.users -= 1;
    if (scratch.users === 0) this.arena.release(this.own(scratch.slice.allocation).handle);
  }

  private reportFailure(): void {
    const { failure } = this;
    this.failure = undefined;
    if (failure) throw failure;
  }
}

function arenaBytes(bytes: number): number {
  return Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
}

function unknownKernel(name: string, names: readonly string[]): DeviceError {
  const near = nearNames(name, names);
  const advice = near.length > 0 ? ` Did you mean ${near.join(", ")}?` : "";
  return new DeviceError(
    `there is no CPU kernel ${name}.${advice} New kernels need \`node scripts/build-kernels.mjs\`.`,
    name,
  );
}
