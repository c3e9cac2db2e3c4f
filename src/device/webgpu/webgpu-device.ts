/**
 * The WebGPU backend of the device contract.
 *
 * `run` appends to a list. `flush` writes the parameters of the whole list with one `writeBuffer`, encodes it in one compute
 * pass and submits once (on an H100 a launch costs 3 µs so, a pass of its own 7, a submission of its own 17).
 *
 * Errors   WebGPU does not throw. What can be checked here is, with a `DeviceError` that names the kernel; what only the
 *          driver knows rejects the next `read` or `idle`.
 * Loss     `lost` resolves, everything pending and later fails with `DeviceLostError`. Open a new device and load the model
 *          anew; nothing of the old one can be used.
 */
import { type Allocation, type BufferSlice, LENT_BYTES, type MemoryUse } from "../buffer.js";
import type { CapturedList, DeviceContract, Profile } from "../device.js";
import { DeviceError, DeviceLostError } from "../errors.js";
import { ScopeStack } from "../scope.js";
import { type OpenedGpu, openGpu, type WebGpuFeatures, type WebGpuLimits, type WebGpuOptions } from "./adapter.js";
import { BindGroupCache, type Binding } from "./bind-groups.js";
import { BufferPool, WebGpuAllocation } from "./buffer-pool.js";
import { Capture } from "./capture.js";
import { ErrorInbox } from "./error-inbox.js";
import { bufferUsage, mapMode } from "./flags.js";
import type { WebGpuKernel, WebGpuLaunch } from "./kernel.js";
import { Mover } from "./mover.js";
import { type KernelPipeline, PipelineCache } from "./pipelines.js";
import { Profiler } from "./profiler.js";
import { encode, type Launch, noOffsets, UniformPage } from "./recording.js";
import { ReadbackStaging, stagedWriteBytes, UploadStaging } from "./transfers.js";

export type { OptionalFeature, WebGpuFeatures, WebGpuLimits, WebGpuOptions } from "./adapter.js";
export type { WebGpuKernel, WebGpuLaunch } from "./kernel.js";

/** Launches of one submission: the device works on one while the next is being encoded. */
const maxLaunches = 128;
const uniformPageBytes = 512 * 1024;
const defaultMaxPooledBytes = 512 * 2 ** 20;

/** Adapters and devices in use: native objects must not be collected under way. */
const opened = new Set<OpenedGpu>();

/** What launches are checked against. */
type KernelPart = Pick<KernelPipeline, "kernel" | "layout">;

export interface WebGpuCounters {
  readonly bindGroups: number;
  readonly pipelines: number;
  /** GPUBuffers, staging included. */
  readonly buffers: number;
  readonly submissions: number;
  readonly dispatches: number;
}

export class WebGpuDevice implements DeviceContract {
  readonly kind = "webgpu";
  readonly label: string;
  readonly isSoftware: boolean;
  readonly features: WebGpuFeatures;
  readonly limits: WebGpuLimits;
  readonly lost: Promise<DeviceLostError>;
  /** The device underneath, for what this class does not offer. */
  readonly native: GPUDevice;

  private readonly counts = { bindGroups: 0, pipelines: 0, buffers: 0, submissions: 0, dispatches: 0 };
  private readonly inbox = new ErrorInbox();
  private readonly scopes = new ScopeStack();
  private readonly pool: BufferPool;
  private readonly pipelines: PipelineCache;
  private readonly groups: BindGroupCache;
  private readonly uniforms: GPUBuffer;
  private readonly page: UniformPage;
  private readonly uploads: UploadStaging;
  private readonly readbacks: ReadbackStaging;
  private readonly mover: Mover;
  private recording: Launch[] = [];
  private capturing: Capture | undefined;
  /** The kernels that a rehearsal came by. */
  private rehearsing: { readonly kernels: Set<WebGpuKernel>; readonly isCaptured: boolean } | undefined;
  private profiler: Profiler | undefined;
  private lostError: DeviceLostError | undefined;
  private resolveLost: (error: DeviceLostError) => void = () => undefined;
  /** Rejects what waits for the device. */
  private readonly waiting = new Set<(error: DeviceLostError) => void>();

  /** @throws {NoDeviceError} There is no adapter, or only a software one; says what was tried. */
  static async open(options: WebGpuOptions = {}): Promise<WebGpuDevice> {
    return new WebGpuDevice(await openGpu(options), options);
  }

  private constructor(
    private readonly gpu: OpenedGpu,
    private readonly options: WebGpuOptions,
  ) {
    const { device } = gpu;
    opened.add(gpu);
    this.native = device;
    this.label = gpu.label;
    this.isSoftware = gpu.isSoftware;
    this.features = gpu.features;
    this.limits = gpu.limits;
    this.lost = new Promise((resolve) => {
      this.resolveLost = resolve;
    });
    device.lost.then(({ reason, message }) => {
      const why = reason === "destroyed" ? "was destroyed" : `was lost${message ? `: ${message.trim()}` : ""}`;
      this.lose(new DeviceLostError(`the device ${this.label} ${why}. Open a new one and load the model again.`));
    });
    this.pipelines = new PipelineCache(device, gpu.limits.maxStorageBuffers, this.inbox, this.counts, gpu.isSoftware);
    device.onuncapturederror = (event) => {
      // The error is told by the next read; not on the console too.
      event.preventDefault();
      this.inbox.addUncaptured(event.error.message, this.pipelines.isLabel);
    };
    this.uniforms = device.createBuffer({
      label: "parameters",
      size: uniformPageBytes,
      usage: bufferUsage.uniform | bufferUsage.copyTarget,
    });
    this.counts.buffers += 1;
    this.page = new UniformPage(gpu.uniformAlignment, uniformPageBytes, false);
    this.groups = new BindGroupCache(device, this.uniforms, this.counts);
    this.pool = new BufferPool({
      device,
      maxBufferBytes: gpu.limits.maxBufferBytes,
      maxPooledBytes: options.maxPooledBytes ?? defaultMaxPooledBytes,
      inbox: this.inbox,
      counters: this.counts,
      onDestroy: (block) => this.groups.forget(block),
    });
    this.uploads = new UploadStaging(device, this.counts);
    this.readbacks = new ReadbackStaging(device, this.counts);
    this.mover = new Mover(this);
  }

  get memory(): MemoryUse {
    return this.pool.memory;
  }

  get counters(): WebGpuCounters {
    return this.counts;
  }

  get closed(): boolean {
    return this.lostError !== undefined;
  }

  resetPeak(): void {
    this.pool.resetPeak();
  }

  allocate(byteLength: number, label?: string): WebGpuAllocation {
    this.assertOpen();
    if (!(byteLength >= 0)) throw new DeviceError(`allocate: ${byteLength} bytes${label ? ` for ${label}` : ""}`);
    return (this.capturing ?? this.pool).allocate(byteLength, label);
  }

  free(allocation: Allocation): void {
    // Tensors are disposed after a loss too, and that is no error.
    if (this.closed) return;
    const own = this.own(allocation, "free");
    own.isFreed = true;
    if (this.capturing) this.capturing.free(own.block);
    else this.pool.release(own.block);
    if (this.recording.length === 0) this.pool.destroyDoomed();
  }

  /** Compiles kernels in parallel. @throws {DeviceError} With the compiler's messages and lines. */
  async prepare(kernels: Iterable<WebGpuKernel>): Promise<void> {
    this.assertOpen();
    await this.unlessLost(this.pipelines.prepare(kernels));
  }

  /**
   * Compiles what `f` launches, beside each other and beside other work, without launching it: what `f` records or writes
   * leaves no trace but compiled kernels. Tensors that `f` makes must be freed in `f`; they hold nothing.
   *
   * @param isCaptured The launches will be captured: lists bind their parameters at fixed places.
   * @throws {DeviceError} A launch of `f` does not suit the device or the kernel, or a kernel does not compile.
   */
  async rehearse(f: () => void, isCaptured = false): Promise<void> {
    this.assertOpen();
    this.assertNotCapturing("rehearse");
    const kernels = new Set<WebGpuKernel>();
    this.rehearsing = { kernels, isCaptured };
    try {
      f();
    } finally {
      this.rehearsing = undefined;
    }
    await this.unlessLost(this.pipelines.prepare(kernels, isCaptured));
  }

  /**
   * Records a launch.
   *
   * @throws {DeviceError} The grid, a slice or the parameters do not suit the device or the kernel.
   */
  run(kernel: WebGpuKernel, launch: WebGpuLaunch): void {
    this.assertOpen();
    if (this.rehearsing) {
      const { kernels, isCaptured } = this.rehearsing;
      const part = { kernel, layout: this.pipelines.layoutOf(kernel, isCaptured) };
      const isMixed = part.layout.hasWrites && this.isReadAndWritten(part, this.bind(part, launch.buffers));
      for (const wanted of this.pipelines.wanted(kernel, isMixed)) kernels.add(wanted);
      return;
    }
    let pipeline = this.capturing ? this.pipelines.getFixed(kernel) : this.pipelines.get(kernel);
    const bindings = this.bind(pipeline, launch.buffers);
    if (pipeline.layout.hasWrites && this.isReadAndWritten(pipeline, bindings)) {
      pipeline = this.pipelines.writable(pipeline);
    }
    const { params } = launch;
    if (pipeline.layout.hasParams !== (params !== undefined)) {
      const problem = params ? "has no uniform binding, but got params" : "needs params";
      throw new DeviceError(`kernel "${kernel.label}" ${problem}`, kernel.label);
    }
    const grid = this.checkGrid(kernel, launch.grid);
    if (this.capturing) {
      this.capturing.launch(pipeline, bindings, params, grid, launch.cost);
      return;
    }
    const slot = params ? this.placeParams(pipeline, params) : -1;
    this.record({
      label: kernel.label,
      cost: launch.cost,
      pipeline: pipeline.pipeline,
      group: this.groups.get(pipeline.layout, bindings, params?.byteLength ?? 0),
      dynamicOffsets: slot < 0 ? noOffsets : [slot],
      x: grid[0],
      y: grid[1],
      z: grid[2],
    });
  }

  write(to: BufferSlice, data: ArrayBufferView): void {
    this.assertOpen();
    this.assertNotCapturing("write");
    const { block } = this.own(to.allocation, "write");
    const size = data.byteLength;
    if (size > to.byteLength) throw new DeviceError(`write: ${size} bytes into a slice of ${to.byteLength}`);
    this.checkWords("write", { allocation: to.allocation, byteOffset: to.byteOffset, byteLength: size });
    if (size === 0 || this.rehearsing) return;
    this.submit();
    this.uploads.write(block.buffer, to.byteOffset, new Uint8Array(data.buffer, data.byteOffset, size));
  }

  async receive(to: BufferSlice, fill: (memory: Uint8Array) => Promise<void>): Promise<void> {
    this.assertOpen();
    const { byteLength } = to;
    if (byteLength < stagedWriteBytes || byteLength > LENT_BYTES) {
      const memory = new Uint8Array(byteLength);
      await fill(memory);
      this.write(to, memory);
      return;
    }
    this.checkWords("receive", to);
    const staging = await this.unlessLost(this.uploads.take());
    try {
      await fill(new Uint8Array(staging.getMappedRange(0, byteLength)));
      this.assertOpen();
      this.assertNotCapturing("receive");
      const { block } = this.own(to.allocation, "receive");
      this.submit();
      this.uploads.send(staging, byteLength, block.buffer, to.byteOffset);
    } catch (error) {
      if (!this.closed) this.uploads.putBack(staging);
      throw error;
    }
  }

  async read(from: BufferSlice): Promise<ArrayBuffer> {
    this.assertOpen();
    this.assertNotCapturing("read");
    const { block } = this.own(from.allocation, "read");
    const { byteOffset, byteLength } = from;
    this.checkWords("read", from);
    this.submit();
    if (byteLength === 0) return new ArrayBuffer(0);
    const staging = this.readbacks.take(byteLength);
    const encoder = this.native.createCommandEncoder({ label: "read" });
    encoder.copyBufferToBuffer(block.buffer, byteOffset, staging, 0, byteLength);
    this.native.queue.submit([encoder.finish()]);
    this.counts.submissions += 1;
    await this.unlessLost(staging.mapAsync(mapMode.read, 0, byteLength));
    const copy = staging.getMappedRange(0, byteLength).slice(0);
    staging.unmap();
    this.readbacks.give(staging);
    await this.unlessLost(this.inbox.settle());
    return copy;
  }

  copy(from: BufferSlice, to: BufferSlice): void {
    this.mover.copy(from, to);
  }

  clear(slice: BufferSlice): void {
    this.mover.clear(slice);
  }

  flush(): void {
    this.assertOpen();
    this.assertNotCapturing("flush");
    this.submit();
  }

  async idle(): Promise<void> {
    this.assertOpen();
    this.assertNotCapturing("idle");
    this.submit();
    await this.unlessLost(this.native.queue.onSubmittedWorkDone());
    await this.unlessLost(this.inbox.settle());
  }

  capture(f: () => void): CapturedList {
    this.assertOpen();
    this.assertNotCapturing("capture");
    const capture = new Capture(this.pool, this.gpu.uniformAlignment);
    this.capturing = capture;
    try {
      f();
    } catch (error) {
      capture.abandon();
      throw error;
    } finally {
      this.capturing = undefined;
    }
    return capture.finish(this.native, this.groups, this.counts, (launches) => {
      this.assertOpen();
      this.assertNotCapturing("replay");
      for (const launch of launches) this.record(launch);
    });
  }

  scope<T>(f: () => T): T {
    return this.scopes.scope(f);
  }

  track(resource: Disposable): void {
    this.scopes.track(resource);
  }

  async profile(f: () => void | Promise<void>): Promise<Profile> {
    if (!this.features.timestamps) {
      throw new DeviceError(`profile: ${this.label} has no timestamp queries (WebGPU feature "timestamp-query")`);
    }
    if (this.profiler) throw new DeviceError("profile: already profiling");
    await this.idle();
    const profiler = new Profiler(this.native, this.counts);
    this.profiler = profiler;
    const begin = performance.now();
    try {
      await f();
      await this.idle();
    } finally {
      this.profiler = undefined;
    }
    const seconds = (performance.now() - begin) / 1000;
    return { entries: await this.unlessLost(profiler.entries()), seconds };
  }

  async close(): Promise<void> {
    if (this.closed) return;
    // Dawn takes work after destroy(), so the flag comes first.
    this.lose(new DeviceLostError(`the device ${this.label} was closed`));
    this.native.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private lose(error: DeviceLostError): void {
    if (this.lostError) return;
    this.lostError = error;
    this.recording = [];
    for (const reject of this.waiting) reject(error);
    this.waiting.clear();
    this.resolveLost(error);
    opened.delete(this.gpu);
  }

  /** The promise's outcome, or the loss of the device if that comes first. */
  private unlessLost<T>(promise: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.lostError) {
        promise.catch(() => undefined);
        reject(this.lostError);
        return;
      }
      // One race on `lost` for each read would pile up reactions for the life of the device.
      this.waiting.add(reject);
      promise.then(
        (value) => {
          this.waiting.delete(reject);
          resolve(value);
        },
        async (error: unknown) => {
          // A lost device makes maps fail just before it says why.
          if (error instanceof Error && error.name === "AbortError") await this.native.lost;
          this.waiting.delete(reject);
          reject(
            this.lostError ??
              (error instanceof DeviceError ? error : new DeviceError(String(error), undefined, { cause: error })),
          );
        },
      );
    });
  }

  private assertOpen(): void {
    if (this.lostError) throw this.lostError;
  }

  private assertNotCapturing(what: string): void {
    if (this.capturing) throw new DeviceError(`${what} inside capture: a captured list holds launches only`);
    if (this.rehearsing && what !== "write")
      throw new DeviceError(`${what} inside rehearse: nothing is launched there`);
  }

  private own(allocation: Allocation, what: string): WebGpuAllocation {
    if (!(allocation instanceof WebGpuAllocation) || allocation.pool !== this.pool) {
      throw new DeviceError(`${what}: the memory belongs to another device, not to ${this.label}`);
    }
    if (allocation.isFreed) {
      throw new DeviceError(`${what}: the memory${allocation.label ? ` of ${allocation.label}` : ""} was freed before`);
    }
    return allocation;
  }

  /** What a transfer can move. */
  private checkWords(what: string, slice: BufferSlice): void {
    const { byteOffset, byteLength } = slice;
    if (byteLength % 4 !== 0 || byteOffset % 4 !== 0) {
      throw new DeviceError(`${what}: ${byteLength} bytes at offset ${byteOffset}; both must be multiples of 4`);
    }
    this.checkRange(what, slice, byteLength);
  }

  private checkRange(what: string, slice: BufferSlice, bytes: number): void {
    const { byteOffset, allocation } = slice;
    if (!(byteOffset >= 0 && byteOffset + bytes <= allocation.byteLength)) {
      throw new DeviceError(
        `${what}: bytes ${byteOffset} … ${byteOffset + bytes} are outside of the allocation of ${allocation.byteLength} bytes`,
      );
    }
  }

  private bind(pipeline: KernelPart, slices: readonly BufferSlice[]): Binding[] {
    const { label } = pipeline.kernel;
    const { offsetAlignment, maxBindingBytes } = this.limits;
    const wanted = pipeline.layout.storage.length;
    if (slices.length !== wanted) {
      throw new DeviceError(`kernel "${label}" expected ${wanted} buffers, got ${slices.length}`, label);
    }
    return slices.map((slice, i) => {
      const what = `kernel "${label}", buffer ${i + 1}`;
      const { block } = this.own(slice.allocation, what);
      const offset = slice.byteOffset;
      // Tails of 8- and 16-bit elements: allocations are whole words.
      const size = Math.max(4, Math.ceil(slice.byteLength / 4) * 4);
      if (offset % offsetAlignment !== 0) {
        throw new DeviceError(
          `${what}: byte offset ${offset} is no multiple of ${offsetAlignment}. Copy the slice, or choose shapes whose rows are multiples of ${offsetAlignment} bytes.`,
          label,
        );
      }
      if (size > maxBindingBytes) {
        throw new DeviceError(
          `${what}: ${size} bytes are more than one binding can hold (${maxBindingBytes}); bind it in pieces`,
          label,
        );
      }
      this.checkRange(what, slice, size);
      return { block, offset, size };
    });
  }

  /**
   * Whether one buffer is bound both to be read and to be written, which WebGPU forbids even for ranges that are apart.
   *
   * @throws {DeviceError} The ranges overlap.
   */
  private isReadAndWritten(pipeline: KernelPart, bindings: readonly Binding[]): boolean {
    const { storage } = pipeline.layout;
    let isMixed = false;
    for (const [i, a] of bindings.entries()) {
      if (storage[i] !== "read_write") continue;
      for (const [j, b] of bindings.entries()) {
        if (i === j || a.block !== b.block) continue;
        if (a.offset < b.offset + b.size && b.offset < a.offset + a.size) {
          const { label } = pipeline.kernel;
          throw new DeviceError(
            `kernel "${label}": buffer ${i + 1}, which is written, overlaps buffer ${j + 1}. WebGPU forbids that: use a kernel that works in place, or another tensor for the result.`,
            label,
          );
        }
        if (storage[j] === "read") isMixed = true;
      }
    }
    return isMixed;
  }

  private checkGrid(kernel: WebGpuKernel, grid: WebGpuLaunch["grid"]): [number, number, number] {
    const [x, y = 1, z = 1] = grid;
    const max = this.limits.maxWorkgroupsPerDimension;
    for (const n of [x, y, z]) {
      if (!(Number.isInteger(n) && n >= 1 && n <= max)) {
        throw new DeviceError(
          `kernel "${kernel.label}": grid [${x}, ${y}, ${z}] expected whole numbers from 1 to ${max}`,
          kernel.label,
        );
      }
    }
    return [x, y, z];
  }

  private placeParams(pipeline: KernelPipeline, params: Uint8Array): number {
    const slot = this.page.place(params, pipeline);
    if (slot >= 0) return slot;
    this.submit();
    const again = this.page.place(params, pipeline);
    if (again < 0) {
      const { label } = pipeline.kernel;
      throw new DeviceError(`kernel "${label}": ${params.byteLength} bytes of params are too many`, label);
    }
    return again;
  }

  private record(launch: Launch): void {
    this.recording.push(launch);
    if (this.options.debug) {
      this.native.pushErrorScope("validation");
      this.submit();
      const scope = this.native.popErrorScope();
      this.inbox.watch(
        scope.then((error) => {
          if (!error) return;
          this.inbox.addCause(new DeviceError(`kernel "${launch.label}": ${error.message.trim()}`, launch.label));
        }),
      );
    } else if (this.recording.length >= maxLaunches) this.submit();
  }

  private submit(): void {
    const launches = this.recording;
    if (launches.length > 0) {
      this.recording = [];
      const { queue } = this.native;
      if (this.page.used > 0) {
        queue.writeBuffer(this.uniforms, 0, this.page.bytes, 0, this.page.used);
        this.page.reset();
      }
      this.counts.dispatches += launches.length;
      if (this.profiler) this.profiler.submit(launches);
      else {
        const encoder = this.native.createCommandEncoder();
        const pass = encoder.beginComputePass();
        encode(pass, launches);
        pass.end();
        queue.submit([encoder.finish()]);
        this.counts.submissions += 1;
      }
    }
    this.pool.destroyDoomed();
  }
}
