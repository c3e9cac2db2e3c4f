/**
 * Bind groups by layout and slices. Making one costs more than a launch, so they are kept as long as their buffers live;
 * a block in the pool keeps its groups.
 */
import type { Block } from "./buffer-pool.js";
import type { KernelLayout } from "./pipelines.js";

/** A slice that is ready to be bound: aligned, whole words. */
export interface Binding {
  readonly block: Block;
  readonly offset: number;
  readonly size: number;
}

/** Prompts of ever new lengths would fill the cache without end; starting over is cheap at this size. */
const maxGroups = 16_384;

export class BindGroupCache {
  private readonly groups = new Map<string, GPUBindGroup>();

  constructor(
    private readonly device: GPUDevice,
    private readonly uniforms: GPUBuffer,
    private readonly counters: { bindGroups: number },
  ) {}

  get(layout: KernelLayout, bindings: readonly Binding[], paramBytes: number): GPUBindGroup {
    const key = bindGroupKey(layout, bindings, paramBytes);
    const known = this.groups.get(key);
    if (known) return known;
    if (this.groups.size >= maxGroups) this.groups.clear();
    const group = this.make(layout, bindings, paramBytes, this.uniforms);
    this.groups.set(key, group);
    for (const { block } of bindings) block.bindGroupKeys.add(key);
    return group;
  }

  /** A group outside of the cache, with a uniform buffer of the caller's; `paramsAt` counts in fixed layouts. */
  make(
    layout: KernelLayout,
    bindings: readonly Binding[],
    paramBytes: number,
    uniforms: GPUBuffer,
    paramsAt = 0,
  ): GPUBindGroup {
    this.counters.bindGroups += 1;
    const entries: GPUBindGroupEntry[] = bindings.map(({ block, offset, size }, i) => ({
      binding: i + 1,
      resource: { buffer: block.buffer, offset, size },
    }));
    if (layout.hasParams)
      entries.push({ binding: 0, resource: { buffer: uniforms, offset: paramsAt, size: paramBytes } });
    return this.device.createBindGroup({ layout: layout.group, entries });
  }

  forget(block: Block): void {
    for (const key of block.bindGroupKeys) this.groups.delete(key);
    block.bindGroupKeys.clear();
  }
}

export function bindGroupKey(layout: KernelLayout, bindings: readonly Binding[], paramBytes: number): string {
  let key = `${layout.id}:${paramBytes}`;
  for (const { block, offset, size } of bindings) key += `|${block.id},${offset},${size}`;
  return key;
}
