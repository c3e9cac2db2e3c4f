/** Chooses and launches the products of a backward pass on WebGPU; what they compute is said in ./operands.ts. */
import type { WebGpuDevice, WebGpuKernel } from "../../../device/index.js";
import { empty, type Tensor } from "../../../tensor/index.js";
import { kept, MATRIX_MINIMUM } from "../matmul.launch-webgpu.js";
import { takesMatrixShape } from "../matrix-shapes.js";
import type { MatrixShape } from "../matrix-tile.wgsl.js";
import {
  CONTRACTION_DEPTH,
  CONTRACTION_TILE,
  type ContractionVariant,
  contractionKernel,
  contractionLabel,
  contractionParams,
  SINGLE_WORKGROUP,
  type SingleContractionVariant,
  SUM_PARTS_WORKGROUP,
  singleContractionKernel,
  singleContractionLabel,
  sumPartsKernel,
  sumPartsLabel,
  sumPartsParams,
} from "./contraction.wgsl.js";
import {
  type ContractionMatrixVariant,
  contractionMatrixKernel,
  contractionMatrixLabel,
  contractionWorkgroupBytes,
} from "./contraction-matrix.wgsl.js";
import type { Contraction, ContractionMode, Order } from "./operands.js";

/** Tiles that can be chosen. */
export const contractionShapes: readonly MatrixShape[] = [
  { tokens: 128, rows: 128, block: 64, depth: 32, buffers: 1 },
  { tokens: 128, rows: 64, block: 64, depth: 32, buffers: 1 },
  { tokens: 64, rows: 64, block: 32, depth: 32, buffers: 1 },
];
/**
 * What a result costs in each of them, against the first. Microseconds on an H100, parts of the sum as they are chosen:
 *
 *                                          M      N     K    128×128  128×64  64×64
 *   dW: columns, columns                 1536    384  16384    181      161    230
 *                                         512    384  16384     74       76     91
 *   8 experts: places, rows             33664    320    384    101       92     95
 *              places, columns          33664    160    384     61       58     59
 *              places, columns          33664    384    320     89       87     97
 *
 * Depths of 64 are slower in all of them.
 */
const shapeCosts: readonly number[] = [1, 0.95, 1.2];

/** Workgroups that keep a big GPU busy: two for each of an H100's 132 multiprocessors. */
const BUSY_GROUPS = 264;
/** A part of a sum is at least so long. */
const LEAST_PART = 512;

/** What is otherwise chosen by sizes and device, for tests and measurements. */
export interface ForcedContraction {
  readonly shape?: MatrixShape;
  readonly splits?: number;
  /** Tiles of float32 on a software adapter, too. */
  readonly tiles?: true;
}

/**
 * Whether products with these three extents run on matrix units, with operands as halves. A software adapter has none and
 * takes the halves all the same, so that tests come this way.
 */
export function contractsHalves(device: WebGpuDevice, precision: "f32" | "f16", extents: readonly number[]): boolean {
  const takes = device.isSoftware || shapesOf(device).length > 0;
  return takes && precision === "f16" && Math.min(...extents) >= MATRIX_MINIMUM;
}

function shapesOf(device: WebGpuDevice): readonly MatrixShape[] {
  return contractionShapes.filter(
    (shape) =>
      takesMatrixShape(device, shape) && contractionWorkgroupBytes(shape) <= device.limits.maxWorkgroupStorageBytes,
  );
}

/** The tile that computes the fewest results too many, larger ones being cheaper. */
function bestShape(device: WebGpuDevice, { M, N, experts }: Contraction): MatrixShape {
  const unit = experts?.mode === "places" ? experts.unit : undefined;
  let best: MatrixShape | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const shape of shapesOf(device)) {
    if (unit !== undefined && unit % shape.tokens !== 0) continue;
    const area = Math.ceil(M / shape.tokens) * shape.tokens * Math.ceil(N / shape.rows) * shape.rows;
    const cost = area * (shapeCosts[contractionShapes.indexOf(shape)] ?? 1);
    if (cost < least) [best, least] = [shape, cost];
  }
  if (!best) throw new Error("internal: a contraction of halves without matrix units");
  return best;
}

/** Records the launches of a checked contraction. */
export function contract(device: WebGpuDevice, c: Contraction, forced: ForcedContraction = {}): void {
  const { a, b, M, N, K, out, experts } = c;
  const isHalves = a.tensor.dtype === "u32";
  const mode: ContractionMode = experts?.mode ?? "plain";
  const unit = experts?.mode === "places" ? experts.unit : 1;
  const outStride = out.shape.at(-1) ?? N;
  const isSingle = device.isSoftware && !forced.tiles;
  const shape = isHalves && !isSingle ? (forced.shape ?? bestShape(device, c)) : undefined;
  const depth = shape?.depth ?? CONTRACTION_DEPTH;
  const grid = isSingle ? singleGrid(M * N, device.limits.maxWorkgroupsPerDimension) : tileGrid(shape, M, N);
  const perSum = mode === "sums" ? (experts?.count ?? 1) : 1;
  const splits = forced.splits ?? (mode === "places" ? 1 : splitsOf(device, grid[0] * grid[1] * perSum, K / perSum));
  const isSplit = splits > 1 || c.accumulate === true;
  const parts = isSplit ? empty(device, [splits * perSum, M, outStride], "f32", "contraction parts") : undefined;
  // Columns behind the result's are added up too.
  if (parts && outStride !== N) device.clear(parts);

  const strideOf = ({ shape: extents }: Tensor) => (extents.at(-1) ?? 0) / (isHalves ? 4 : 1);
  const strides = { aStride: strideOf(a.tensor), bStride: strideOf(b.tensor), outStride };
  const variant = { a: a.order, b: b.order, mode, unit };
  const buffers = [a.tensor, b.tensor, experts?.table, parts ?? out].filter((tensor) => tensor !== undefined);
  device.run(kernel(), {
    buffers,
    params: contractionParams.write({
      ...{ M, N, K, ...strides },
      step: Math.ceil(K / (splits * depth)) * depth,
      splits,
      experts: experts?.count ?? 0,
      expertLines: b.order === "rows" ? N : K,
    }),
    grid: [...grid, splits * perSum],
    cost: {
      bytes: buffers.reduce((sum, { byteLength }) => sum + byteLength, 0),
      operations: 2 * M * N * K,
    },
  });
  if (parts) {
    sumParts(device, parts, out, splits, c.accumulate === true);
    parts.dispose();
  }

  function kernel(): WebGpuKernel {
    if (isSingle) {
      const v: SingleContractionVariant = { ...variant, halves: isHalves };
      return kept(singleContractionLabel(v), () => singleContractionKernel(v));
    }
    if (shape) {
      const v: ContractionMatrixVariant = { ...variant, shape, subgroupSize: device.features.subgroupSize.min };
      return kept(contractionMatrixLabel(v), () => contractionMatrixKernel(v));
    }
    const v: ContractionVariant = { ...variant, quads: [...Object.values(strides), N].every((n) => n % 4 === 0) };
    return kept(contractionLabel(v), () => contractionKernel(v));
  }
}

function tileGrid(shape: MatrixShape | undefined, M: number, N: number): readonly [number, number] {
  const { tokens, rows } = shape ?? { tokens: CONTRACTION_TILE, rows: CONTRACTION_TILE };
  return [Math.ceil(N / rows), Math.ceil(M / tokens)];
}

function singleGrid(results: number, limit: number): readonly [number, number] {
  const groups = Math.ceil(results / SINGLE_WORKGROUP);
  return [Math.min(groups, limit), Math.ceil(groups / limit)];
}

/** Parts of each sum: one, unless the tiles leave most of a GPU idle. */
function splitsOf(device: WebGpuDevice, groups: number, K: number): number {
  if (device.isSoftware) return 1;
  return Math.max(1, Math.min(Math.ceil(BUSY_GROUPS / groups), Math.floor(K / LEAST_PART)));
}

function sumParts(device: WebGpuDevice, parts: Tensor, out: Tensor, count: number, accumulate: boolean): void {
  const quads = out.size % 4 === 0;
  const size = quads ? out.size / 4 : out.size;
  const groups = Math.ceil(size / SUM_PARTS_WORKGROUP);
  const height = Math.ceil(groups / device.limits.maxWorkgroupsPerDimension);
  const width = Math.ceil(groups / height);
  device.run(
    kept(sumPartsLabel(quads, accumulate), () => sumPartsKernel(quads, accumulate)),
    {
      buffers: [parts, out],
      params: sumPartsParams.write({ size, parts: count, width: width * SUM_PARTS_WORKGROUP }),
      grid: [width, height],
      cost: { bytes: parts.byteLength + out.byteLength, operations: parts.size },
    },
  );
}

const orders: readonly (readonly [Order, Order])[] = [
  ["rows", "rows"],
  ["rows", "columns"],
  ["columns", "columns"],
];

export function contractionVariants(): WebGpuKernel[] {
  const found: WebGpuKernel[] = [];
  const modes = ["plain", "places", "sums"] as const;
  for (const mode of modes) {
    for (const [a, b] of orders) {
      for (const quads of [true, false]) {
        const v = { a, b, mode, quads, unit: 64 };
        found.push({ label: contractionLabel(v), code: contractionKernel(v) });
      }
      for (const halves of [true, false]) {
        const v = { a, b, mode, halves, unit: 64 };
        found.push({ label: singleContractionLabel(v), code: singleContractionKernel(v) });
      }
    }
  }
  for (const quads of [true, false]) {
    for (const added of [true, false]) {
      found.push({ label: sumPartsLabel(quads, added), code: sumPartsKernel(quads, added) });
    }
  }
  return found;
}

/** Kernels for matrix units: to be compiled as modules only, where the device has none. */
export function contractionMatrixVariants(): WebGpuKernel[] {
  return (["plain", "places", "sums"] as const).flatMap((mode) =>
    orders.flatMap(([a, b]) =>
      contractionShapes.map((shape) => {
        const v: ContractionMatrixVariant = { a, b, mode, shape, unit: 128, subgroupSize: 32 };
        return { label: contractionMatrixLabel(v), code: contractionMatrixKernel(v) };
      }),
    ),
  );
}
