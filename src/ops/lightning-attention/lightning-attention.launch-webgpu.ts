/** Chooses and launches the WebGPU kernels of lightning attention. */
import type { WebGpuDevice, WebGpuKernel } from "../../device/index.js";
import { empty } from "../../tensor/index.js";
import {
  CHUNK_TOKENS,
  chunkScanGroups,
  chunkScanKernel,
  chunkSumsKernel,
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
/** More rows fill it soon; and each has memory for the states of all chunks. */
const CHUNKED_ROWS = 4;

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

/** @param busyWorkgroups with fewer, rows are cut into chunks. */
export function lightningOnWebGpu(
  device: WebGpuDevice,
  plan: LightningPlan,
  busyWorkgroups = device.isSoftware ? 0 : ENOUGH_WORKGROUPS,
): void {
  const { qkv, state, decay, out, heads, headDim, step } = plan;
  const rows = step.rowCount;
  const height = Math.min(rows, device.limits.maxWorkgroupsPerDimension);
  const grid = [height, Math.ceil(rows / height)] as const;
  if (step.isDecode) {
    device.run(
      kept(`decode ${headDim}`, () => decodeKernel({ headDim })),
      {
        buffers: [step.tokens, decay, qkv, state, out],
        params: lightningParams.write({ heads, rows, chunks: 0 }),
        grid: [heads * decodeSlices({ headDim }), ...grid],
        cost: costOf(plan),
      },
    );
    return;
  }
  const bytes = device.limits.maxWorkgroupStorageBytes >= LARGE_BYTES ? LARGE_BYTES : SMALL_BYTES;
  const wide = prefillTiling(headDim, bytes, 8);
  const workgroups = rows * heads * prefillSlices(wide);
  // Each row may have all tokens.
  const chunks = Math.ceil(step.tokenCount / CHUNK_TOKENS);
  if (workgroups < busyWorkgroups && chunks > 1 && rows <= CHUNKED_ROWS) {
    prefillChunks(device, plan, wide, chunks);
    return;
  }
  const v = workgroups >= ENOUGH_WORKGROUPS ? wide : prefillTiling(headDim, bytes, 4);
  device.run(
    kept(keyOf(v), () => prefillKernel(v)),
    {
      buffers: [step.rows, decay, qkv, state, out],
      params: lightningParams.write({ heads, rows, chunks: 0 }),
      grid: [heads * prefillSlices(v), ...grid],
      cost: costOf(plan),
    },
  );
}

function prefillChunks(device: WebGpuDevice, plan: LightningPlan, tiling: PrefillVariant, chunks: number): void {
  const { qkv, state, decay, out, heads, headDim, step } = plan;
  const rows = step.rowCount;
  const v = { ...tiling, chunked: true };
  const params = lightningParams.write({ heads, rows, chunks });
  const cost = costOf(plan);
  const sums = empty(device, [rows, chunks, heads, headDim * headDim], "f32", "lightning chunks");
  const stateCost = { bytes: 2 * sums.byteLength, operations: 3 * sums.size };
  device.run(
    kept(`sums ${headDim}`, () => chunkSumsKernel(headDim)),
    {
      buffers: [step.rows, decay, qkv, sums],
      params,
      grid: [heads, rows, chunks],
      cost: { bytes: (2 * qkv.byteLength) / 3 + sums.byteLength, operations: cost.operations / 2 },
    },
  );
  device.run(
    kept(`scan ${headDim}`, () => chunkScanKernel(headDim)),
    {
      buffers: [step.rows, decay, state, sums],
      params,
      grid: [chunkScanGroups(heads, headDim), rows],
      cost: stateCost,
    },
  );
  device.run(
    kept(keyOf(v), () => prefillKernel(v)),
    { buffers: [step.rows, decay, qkv, sums, out], params, grid: [heads * prefillSlices(v), rows, chunks], cost },
  );
  sums.dispose();
}

const keyOf = (v: PrefillVariant): string =>
  `prefill ${v.headDim} ${v.sliceQuads} ${v.pieceQuads}${v.chunked ? " chunked" : ""}`;

/** Both kernels at head sizes that stand for all: smallest, odd, multiples of four and of 32, the largest. */
export function lightningAttentionVariants(): WebGpuKernel[] {
  const found = new Map<string, WebGpuKernel>();
  for (const headDim of [1, 7, 8, 24, 64, 80, 96, 128, 250, 256]) {
    found.set(`decode ${headDim}`, decodeKernel({ headDim }));
    found.set(`sums ${headDim}`, chunkSumsKernel(headDim));
    found.set(`scan ${headDim}`, chunkScanKernel(headDim));
    for (const bytes of [SMALL_BYTES, LARGE_BYTES]) {
      for (const maxQuads of [4, 8]) {
        const v = prefillTiling(headDim, bytes, maxQuads);
        found.set(keyOf(v), prefillKernel(v));
        const chunked = { ...v, chunked: true };
        found.set(keyOf(chunked), prefillKernel(chunked));
      }
    }
  }
  return [...found.values()];
}
