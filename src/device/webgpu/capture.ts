/**
 * A captured list: launches that are recorded once and replayed.
 *
 * The list has a uniform buffer of its own, written once. Blocks that were made and freed inside stay with the list, and
 * are reused inside it only; all other blocks that it uses are held, so that tensors freed later keep their memory to
 * themselves until the list is disposed.
 */
import type { CapturedList, Cost } from "../device.js";
import { type BindGroupCache, type Binding, bindGroupKey } from "./bind-groups.js";
import { type Block, type BufferPool, sizeClass, type WebGpuAllocation, wholeWords } from "./buffer-pool.js";
import { bufferUsage } from "./flags.js";
import type { KernelPipeline } from "./pipelines.js";
import { type Launch, noOffsets, UniformPage } from "./recording.js";

interface Draft {
  readonly kernel: KernelPipeline;
  readonly bindings: readonly Binding[];
  readonly paramBytes: number;
  readonly slot: number;
  readonly x: number;
  readonly y: number;
  readonly z: number;
  readonly cost: Cost | undefined;
}

/** A list in the making. */
export class Capture {
  private readonly page: UniformPage;
  private readonly drafts: Draft[] = [];
  /** All blocks that the list uses. */
  private readonly blocks = new Set<Block>();
  /** Of these, the ones that were allocated inside. */
  private readonly own = new Set<Block>();
  private readonly spare = new Map<number, Block[]>();

  constructor(
    private readonly pool: BufferPool,
    uniformAlignment: number,
  ) {
    this.page = new UniformPage(uniformAlignment, 64 * uniformAlignment, true);
  }

  launch(
    kernel: KernelPipeline,
    bindings: readonly Binding[],
    params: Uint8Array | undefined,
    grid: readonly [number, number, number],
    cost: Cost | undefined,
  ): void {
    const slot = params ? this.page.place(params, kernel) : -1;
    for (const { block } of bindings) this.hold(block);
    const [x, y, z] = grid;
    this.drafts.push({ kernel, bindings, paramBytes: params?.byteLength ?? 0, slot, x, y, z, cost });
  }

  allocate(bytes: number, label?: string): WebGpuAllocation {
    const spare = this.spare.get(sizeClass(wholeWords(bytes)))?.pop();
    const allocation = spare ? this.pool.passOn(spare, bytes, label) : this.pool.allocate(bytes, label);
    this.own.add(allocation.block);
    this.hold(allocation.block);
    return allocation;
  }

  /** Memory of the list itself is kept for its later launches; it counts as live until the list is disposed. */
  free(block: Block): void {
    this.pool.release(block);
    if (!this.own.has(block)) return;
    const list = this.spare.get(block.byteLength);
    if (list) list.push(block);
    else this.spare.set(block.byteLength, [block]);
  }

  finish(
    device: GPUDevice,
    groups: BindGroupCache,
    counters: { buffers: number },
    append: (launches: readonly Launch[]) => void,
  ): CapturedList {
    const uniforms = device.createBuffer({
      label: "captured parameters",
      size: Math.max(256, this.page.used),
      usage: bufferUsage.uniform | bufferUsage.copyTarget,
    });
    counters.buffers += 1;
    if (this.page.used > 0) device.queue.writeBuffer(uniforms, 0, this.page.bytes, 0, this.page.used);
    const made = new Map<string, GPUBindGroup>();
    const launches = this.drafts.map((draft): Launch => {
      const { layout } = draft.kernel;
      const paramsAt = layout.isFixed ? Math.max(0, draft.slot) : 0;
      const key = `${paramsAt}:${bindGroupKey(layout, draft.bindings, draft.paramBytes)}`;
      const group = made.get(key) ?? groups.make(layout, draft.bindings, draft.paramBytes, uniforms, paramsAt);
      made.set(key, group);
      return {
        label: draft.kernel.kernel.label,
        cost: draft.cost,
        pipeline: draft.kernel.pipeline,
        group,
        dynamicOffsets: draft.slot < 0 || layout.isFixed ? noOffsets : [draft.slot],
        x: draft.x,
        y: draft.y,
        z: draft.z,
      };
    });
    let isDisposed = false;
    const dispose = (): void => {
      if (isDisposed) return;
      isDisposed = true;
      this.abandon();
      // The buffer itself goes with its last use; replays that are recorded but not submitted may still need it.
    };
    return {
      launches: launches.length,
      replay: () => {
        if (isDisposed) throw new Error("replay: the captured list was disposed");
        append(launches);
      },
      dispose,
      [Symbol.dispose]: dispose,
    };
  }

  /** Gives all blocks back. */
  abandon(): void {
    this.spare.clear();
    for (const block of this.blocks) this.pool.letGo(block);
    this.blocks.clear();
  }

  private hold(block: Block): void {
    if (this.blocks.has(block)) return;
    this.blocks.add(block);
    this.pool.hold(block);
  }
}
