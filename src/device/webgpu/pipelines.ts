/**
 * Pipelines by WGSL text, with explicit layouts that kernels of the same bindings share.
 *
 * WebGPU does not throw: a bad kernel gives an invalid pipeline, and the compiler's messages come later.
 */
import { DeviceError } from "../errors.js";
import { type Access, type Bindings, parseBindings, withAllWritable } from "./bindings.js";
import type { ErrorInbox } from "./error-inbox.js";
import { computeStage } from "./flags.js";
import type { WebGpuKernel } from "./kernel.js";

export interface KernelLayout extends Bindings {
  readonly id: number;
  /** Parameters are bound at the place where they lie, not at a dynamic offset. */
  readonly isFixed: boolean;
  readonly hasWrites: boolean;
  readonly group: GPUBindGroupLayout;
  readonly pipeline: GPUPipelineLayout;
}

export interface KernelPipeline {
  readonly kernel: WebGpuKernel;
  readonly layout: KernelLayout;
  readonly pipeline: GPUComputePipeline;
  /** Where the kernel's last parameters lie in the uniform page, while the page is the one numbered `lastPage`. */
  lastSlot: number;
  lastPage: number;
  /** The same with all bindings writable; see `PipelineCache.writable`. */
  writable: KernelPipeline | undefined;
}

/** The pipelines of kernels whose layouts agree in `isFixed`. */
class Shelf {
  readonly byKernel = new WeakMap<WebGpuKernel, KernelPipeline>();
  readonly byCode = new Map<string, KernelPipeline>();

  constructor(readonly isFixed: boolean) {}

  find(kernel: WebGpuKernel): KernelPipeline | undefined {
    const known = this.byKernel.get(kernel) ?? this.byCode.get(kernel.code);
    if (known) this.byKernel.set(kernel, known);
    return known;
  }
}

export class PipelineCache {
  private readonly moving = new Shelf(false);
  private readonly fixed = new Shelf(true);
  private readonly layouts = new Map<string, KernelLayout>();
  private readonly labels = new Set<string>();

  constructor(
    private readonly device: GPUDevice,
    private readonly maxStorageBuffers: number,
    private readonly inbox: ErrorInbox,
    private readonly counters: { pipelines: number },
    /** Compiling takes longer than a dynamic offset ever will: captured lists take what is there. */
    private readonly compilesSlowly: boolean,
  ) {}

  readonly isLabel = (label: string): boolean => this.labels.has(label);

  /** The kernel's pipeline, compiled now if it is new. @throws {DeviceError} As `layoutOf`. */
  get(kernel: WebGpuKernel): KernelPipeline {
    return this.moving.find(kernel) ?? this.compile(kernel, this.moving);
  }

  /**
   * The kernel's pipeline for captured lists, whose parameters never move: a launch without a dynamic offset costs the host
   * a sixth less.
   */
  getFixed(kernel: WebGpuKernel): KernelPipeline {
    const known = this.fixed.find(kernel) ?? (this.compilesSlowly ? this.moving.find(kernel) : undefined);
    return known ?? this.compile(kernel, this.fixed);
  }

  private compile(kernel: WebGpuKernel, shelf: Shelf): KernelPipeline {
    const layout = this.layoutOf(kernel, shelf.isFixed);
    this.device.pushErrorScope("validation");
    const module = this.device.createShaderModule({ label: kernel.label, code: kernel.code });
    const pipeline = this.device.createComputePipeline(descriptor(kernel, layout, module));
    const scope = this.device.popErrorScope();
    this.inbox.watch(
      scope.then(async (error) => {
        if (!error) return;
        // Forgotten, so that using the kernel again tells the same error again.
        shelf.byCode.delete(kernel.code);
        shelf.byKernel.delete(kernel);
        this.inbox.addCause(await compilationError(kernel, module, error.message));
      }),
    );
    return this.add(shelf, kernel, layout, pipeline);
  }

  /**
   * Compiles many kernels beside each other.
   *
   * @throws {DeviceError} With the messages of the first kernel that does not compile.
   */
  async prepare(kernels: Iterable<WebGpuKernel>, isFixed = false): Promise<void> {
    // See `getFixed`.
    const shelf = isFixed && !this.compilesSlowly ? this.fixed : this.moving;
    const wanted = new Map<string, WebGpuKernel>();
    for (const kernel of kernels) if (!shelf.byCode.has(kernel.code)) wanted.set(kernel.code, kernel);
    const results = await Promise.allSettled(Array.from(wanted.values(), (kernel) => this.prepareOne(kernel, shelf)));
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }

  /** What `get` (or, with `isMixed`, `writable`) will be asked for. */
  wanted(kernel: WebGpuKernel, isMixed: boolean): WebGpuKernel[] {
    return isMixed ? [kernel, withAllWritable(kernel)] : [kernel];
  }

  private async prepareOne(kernel: WebGpuKernel, shelf: Shelf): Promise<void> {
    const layout = this.layoutOf(kernel, shelf.isFixed);
    // A bad module is reported to the scope and again by the rejection below.
    this.device.pushErrorScope("validation");
    const module = this.device.createShaderModule({ label: kernel.label, code: kernel.code });
    const compiling = this.device.createComputePipelineAsync(descriptor(kernel, layout, module));
    await Promise.allSettled([this.device.popErrorScope(), compiling]);
    try {
      const pipeline = await compiling;
      if (!shelf.byCode.has(kernel.code)) this.add(shelf, kernel, layout, pipeline);
    } catch (error) {
      throw await compilationError(kernel, module, error instanceof Error ? error.message : String(error));
    }
  }

  /**
   * The kernel with every storage variable `read_write`. WebGPU forbids one buffer to be bound as `read` and as
   * `read_write` in the same launch even where the ranges are apart, as two slices of one tensor are.
   */
  writable(entry: KernelPipeline): KernelPipeline {
    entry.writable ??= entry.layout.isFixed
      ? this.getFixed(withAllWritable(entry.kernel))
      : this.get(withAllWritable(entry.kernel));
    return entry.writable;
  }

  private add(shelf: Shelf, kernel: WebGpuKernel, layout: KernelLayout, pipeline: GPUComputePipeline): KernelPipeline {
    const entry: KernelPipeline = { kernel, layout, pipeline, lastSlot: 0, lastPage: -1, writable: undefined };
    this.counters.pipelines += 1;
    this.labels.add(kernel.label);
    shelf.byKernel.set(kernel, entry);
    shelf.byCode.set(kernel.code, entry);
    return entry;
  }

  /** @throws {DeviceError} Its bindings depart from the convention. */
  layoutOf(kernel: WebGpuKernel, isFixed: boolean): KernelLayout {
    const bindings = parseBindings(kernel);
    const { storage, hasParams } = bindings;
    if (storage.length > this.maxStorageBuffers) {
      throw new DeviceError(
        `kernel "${kernel.label}" binds ${storage.length} storage buffers; this device allows ${this.maxStorageBuffers}`,
        kernel.label,
      );
    }
    const key = `${hasParams ? (isFixed ? "f" : "u") : ""}${storage.map((access) => (access === "read" ? "r" : "w")).join("")}`;
    let layout = this.layouts.get(key);
    if (!layout) {
      const group = this.device.createBindGroupLayout({
        label: key,
        entries: layoutEntries(hasParams, isFixed, storage),
      });
      layout = {
        ...bindings,
        id: this.layouts.size,
        isFixed,
        hasWrites: storage.includes("read_write"),
        group,
        pipeline: this.device.createPipelineLayout({ label: key, bindGroupLayouts: [group] }),
      };
      this.layouts.set(key, layout);
    }
    return layout;
  }
}

function layoutEntries(hasParams: boolean, isFixed: boolean, storage: readonly Access[]): GPUBindGroupLayoutEntry[] {
  const entries: GPUBindGroupLayoutEntry[] = storage.map((access, i) => ({
    binding: i + 1,
    visibility: computeStage,
    buffer: { type: access === "read" ? "read-only-storage" : "storage" },
  }));
  if (hasParams) {
    entries.unshift({ binding: 0, visibility: computeStage, buffer: { type: "uniform", hasDynamicOffset: !isFixed } });
  }
  return entries;
}

function descriptor(kernel: WebGpuKernel, layout: KernelLayout, module: GPUShaderModule): GPUComputePipelineDescriptor {
  return { label: kernel.label, layout: layout.pipeline, compute: { module, entryPoint: "main" } };
}

async function compilationError(kernel: WebGpuKernel, module: GPUShaderModule, fallback: string): Promise<DeviceError> {
  const { messages } = await module.getCompilationInfo();
  const errors = messages
    .filter((message) => message.type === "error")
    .map((message) => describeMessage(kernel, message));
  const text = errors.length > 0 ? errors.join("\n") : fallback.trim();
  return new DeviceError(`kernel "${kernel.label}" does not compile:\n${text}`, kernel.label);
}

/** "line 3:7: error: unresolved value 'foo'" and the line itself. */
export function describeMessage(kernel: WebGpuKernel, message: GPUCompilationMessage): string {
  const line = kernel.code.split("\n")[message.lineNum - 1];
  const at = `line ${message.lineNum}:${message.linePos}: ${message.type}: ${message.message}`;
  return line === undefined ? at : `${at}\n    ${line.trim()}`;
}
