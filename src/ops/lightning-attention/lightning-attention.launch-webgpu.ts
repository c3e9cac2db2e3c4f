/** Chooses and launches the WebGPU kernels of lightning attention. */
import type { WebGpuDevice, WebGpuKernel } from "../../device/index.js";
import {
  decodeKernel,
  decodeSlices,
  lightningParams,
  type PrefillVariant,
  prefillKernel,
  prefillSlices,
  prefillTiling,
} from "./lightning-attention.wgsl.js";
import { costOf, type LightningPlan } from "./plan.js";

/** Workgroup memory that the kernels are cut for: what every device has, and what nearly every GPU has. */
const SMALL_BYTES = 16 * 1024;
const LARGE_BYTES = 32 * 1024;
/** Fewer wide workgroups than this leave a big GPU idle (132 multiprocessors in an H100). */
const ENOUGH_WORKGROUPS = 128;

const kernels = new Map<string, WebGpuKernel>();

/** The same object for the same variant, so that the pipeline cache need not look at the text. */
function kept(key: string, make: () => WebGpuKernel): WebGpuKernel {
  let kernel = kernels.get(key);
  if (!kernel) {
    kernel = make();
    kernels.set(key, kernel);
  }
  return kernel;
}

export function lightningOnWebGpu(device: WebGpuDevice, plan: LightningPlan): void {
  const { qkv, state, decay, out, heads, step } = plan;
  const rows = step.rowCount;
  const { kernel, slices } = choose(device, plan);
  const height = Math.min(rows, device.limits.maxWorkgroupsPerDimension);
  device.run(kernel, {
    buffers: [step.isDecode ? step.tokens : step.rows, decay, qkv, state, out],
    params: lightningParams.write({ heads, rows }),
    grid: [heads * slices, height, Math.ceil(rows / height)],
    cost: costOf(plan),
  });
}

function choose(device: WebGpuDevice, plan: LightningPlan): { readonly kernel: WebGpuKernel; readonly slices: number } {
  const { heads, headDim, step } = plan;
  if (step.isDecode) {
    const v = { headDim };
    return { kernel: kept(`decode ${headDim}`, () => decodeKernel(v)), slices: decodeSlices(v) };
  }
  const bytes = device.limits.maxWorkgroupStorageBytes >= LARGE_BYTES ? LARGE_BYTES : SMALL_BYTES;
  const wide = prefillTiling(headDim, bytes, 8);
  const isEnough = step.rowCount * heads * prefillSlices(wide) >= ENOUGH_WORKGROUPS;
  const v = isEnough ? wide : prefillTiling(headDim, bytes, 4);
  return { kernel: kept(keyOf(v), () => prefillKernel(v)), slices: prefillSlices(v) };
}

const keyOf = (v: PrefillVariant): string => `prefill ${v.headDim} ${v.sliceQuads} ${v.pieceQuads}`;

/** Both kernels at head sizes that stand for all: smallest, odd, multiples of four and of 32, the largest. */
export function lightningAttentionVariants(): WebGpuKernel[] {
  const found = new Map<string, WebGpuKernel>();
  for (const headDim of [1, 7, 8, 24, 64, 80, 96, 128, 250, 256]) {
    found.set(`decode ${headDim}`, decodeKernel({ headDim }));
    for (const bytes of [SMALL_BYTES, LARGE_BYTES]) {
      for (const maxQuads of [4, 8]) {
        const v = prefillTiling(headDim, bytes, maxQuads);
        found.set(keyOf(v), prefillKernel(v));
      }
    }
  }
  return [...found.values()];
}
