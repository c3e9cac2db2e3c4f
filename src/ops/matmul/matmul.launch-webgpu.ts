/** Chooses and launches the WebGPU kernels of a checked product. */
import {
  type BufferSlice,
  DeviceError,
  KeptKernels,
  type WebGpuDevice,
  type WebGpuKernel,
} from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import type { Epilogue } from "./epilogue.wgsl.js";
import { type GemmVariant, gemmKernel, gemmLabel, type TileSize, tileOutputs } from "./gemm.wgsl.js";
import {
  HALVES_WORKGROUP,
  type HalvesEdge,
  halvesKernel,
  halvesLabel,
  halvesParams,
  halvesRowOctets,
  type MatrixGemmVariant,
  matrixGemmKernel,
  matrixGemmLabel,
} from "./gemm-subgroup-matrix.wgsl.js";
import { type GemvVariant, gemvKernel, gemvLabel, gemvThreads } from "./gemv.wgsl.js";
import {
  largestChunk,
  type StagedGemvVariant,
  stagedGemvBytes,
  stagedGemvKernel,
  stagedGemvLabel,
} from "./gemv-staged.wgsl.js";
import { type MatmulVariant, matmulParams, type XLoad } from "./matmul.wgsl.js";
import { matrixShapeOf, matrixShapes, takesMatrixShape } from "./matrix-shapes.js";
import { type MatrixShape, matrixOutputs } from "./matrix-tile.wgsl.js";
import { stagedWeights } from "./matrix-weights.wgsl.js";
import type { MatmulPlan } from "./plan.js";
import type { WeightKind, WeightMatrix } from "./weight-matrix.js";
import { weightParamValues } from "./weights/load.wgsl.js";
import {
  codesOf,
  type RowRange,
  rowBytes,
  rowPieces,
  rowUnit,
  scaleRowBytes,
  scalesFit,
  scalesOf,
} from "./weights/pieces.js";

/** Up to this many tokens the weights are walked once for all of them, row by row. */
export const GEMV_TOKENS = 8;
/** Up to this many, blocks of GEMV_TOKENS walk them once each, where tiles would leave most of a GPU idle. */
const GEMV_BLOCKS_TOKENS = 64;
/** Tiles that keep a big GPU busy (132 multiprocessors in an H100). */
const BUSY_TILES = 128;
/** A CPU is busy with one. */
const enoughTiles = (device: WebGpuDevice): number => (device.isSoftware ? 1 : BUSY_TILES);
/** Subgroups that do: four for each multiprocessor, and then some. */
const ENOUGH_SUBGROUPS = 1024;
/** Rows of at most this many 16-byte vectors are short: one for each lane of a common subgroup. */
const SHORT_ROW_VECTORS = 32;
/** From this many tokens, inputs and weight rows on, a tile of the matrix units is worth filling. */
export const MATRIX_MINIMUM = 64;

/** What is otherwise chosen by sizes and device, for tests and measurements. */
export interface ForcedChoice {
  /** Where there are fewer tiles, some tokens more than GEMV_TOKENS are no reason for them. */
  readonly busyTiles?: number;
  readonly matrixShape?: MatrixShape;
  /** Of few tokens: `false` keeps x in storage, a shape puts it into workgroup memory. */
  readonly staged?: false | Pick<StagedGemvVariant, "rows" | "workgroup" | "unroll" | "chunk">;
}

/** Records the launches of `plan`: one, or one for each piece of weights that exceed a binding. */
export function launchMatmulWebGpu(device: WebGpuDevice, plan: MatmulPlan, forced: ForcedChoice = {}): void {
  const { x, w, T, K, N, gate } = plan;
  const unit = rowUnit(w, device.limits);
  // The up rows of a piece may begin up to unit − 1 rows after the place where their binding can begin.
  const pieces = rowPieces(w, device.limits, N, gate ? unit - 1 : 0);
  const allRows = { begin: 0, end: w.rows };
  const bindsAllScales = scalesFit(w, device.limits);
  if (gate && !bindsAllScales) {
    throw new DeviceError(
      `matmul: the scales of ${w.kind} [${w.rows}, ${w.columns}] exceed a binding of ${device.limits.maxBindingBytes} bytes; store gate and up weights apart`,
    );
  }
  const { kernel, grid, gemv, takesHalves } = chooseKernel(device, plan, forced);
  const halves = takesHalves ? halvesOf(device, x, stagedWeights[w.kind].swaps) : undefined;
  for (const piece of pieces) {
    const upBegin = Math.floor((N + piece.begin) / unit) * unit;
    const scaleRows = bindsAllScales ? allRows : piece;
    const buffers: readonly (BufferSlice | undefined)[] = [
      halves ?? x,
      codesOf(w, piece),
      gate ? codesOf(w, { begin: upBegin, end: N + piece.end }) : undefined,
      scalesOf(w, scaleRows),
      plan.bias,
      plan.multiply,
      plan.multiplyNorm?.weight,
      plan.residual?.tensor,
      plan.norm?.weight,
      plan.norm?.out,
      plan.out,
    ];
    const size = piece.end - piece.begin;
    const [width, height, depth] = grid(size);
    const folded = foldGrid([width, height], device.limits.maxWorkgroupsPerDimension, gemv !== undefined);
    device.run(kernel, {
      buffers: buffers.filter((buffer) => buffer !== undefined),
      params: matmulParams.write({
        ...weightParamValues(w),
        tokens: T,
        inputs: K,
        outputs: N,
        firstOutput: piece.begin,
        pieceOutputs: size,
        upRow: N + piece.begin - upBegin,
        scaleRow: piece.begin - scaleRows.begin,
        upScaleRow: gate ? upBegin : 0,
        alpha: plan.residual?.alpha ?? 0,
        beta: plan.residual?.beta ?? 1,
        eps: (plan.norm ?? plan.multiplyNorm)?.eps ?? 0,
        groupOutputs: gemv?.groupOutputs ?? 0,
        rounds: gemv?.rounds ?? 0,
        gridWidth: folded[0],
      }),
      grid: [...folded, depth],
      cost: cost(plan, piece),
    });
  }
  halves?.dispose();
}

/** x [T, K] rounded to halves, for the matrix units; the weights' kind says whether columns are swapped. */
export function halvesOf(device: WebGpuDevice, x: Tensor, swaps: boolean, edge: HalvesEdge = "held"): Tensor {
  const [T = 0, K = 0] = x.shape;
  const rowOctets = halvesRowOctets(K);
  const halves = empty(device, [T, rowOctets * 4], "u32", "matmul halves");
  const load = xLoadOf(K);
  const height = Math.min(T, device.limits.maxWorkgroupsPerDimension);
  device.run(
    kept(halvesLabel(load, swaps, edge), () => halvesKernel(load, swaps, edge)),
    {
      buffers: [x, halves],
      params: halvesParams.write({ tokens: T, inputs: K, rowOctets }),
      grid: [Math.ceil(rowOctets / HALVES_WORKGROUP), height, Math.ceil(T / height)],
      cost: { bytes: x.byteLength + halves.byteLength, operations: 0 },
    },
  );
  return halves;
}

interface Choice {
  readonly kernel: WebGpuKernel;
  /** Workgroups for a number of outputs. */
  readonly grid: (outputs: number) => readonly [number, number, number];
  readonly gemv?: { readonly groupOutputs: number; readonly rounds: number };
  readonly takesHalves?: true;
}

function chooseKernel(device: WebGpuDevice, plan: MatmulPlan, forced: ForcedChoice): Choice {
  const { busyTiles = enoughTiles(device) } = forced;
  const { w, T, K, N, gate } = plan;
  const variant: MatmulVariant = {
    kind: w.kind,
    x: xLoadOf(K),
    epilogue: {
      bias: plan.bias !== undefined,
      activation: plan.activation,
      gate,
      multiply: plan.multiply !== undefined,
      multiplyNorm: plan.multiplyNorm !== undefined,
      residual: plan.residual !== undefined,
    },
    norm: plan.norm !== undefined,
  };
  const staged = stagedGemv(device, plan, variant, forced);
  if (staged) {
    const groupOutputs = (staged.workgroup / staged.subgroupSize) * staged.rows;
    return {
      kernel: kept(stagedGemvLabel(staged), () => stagedGemvKernel(staged)),
      grid: (outputs) => [Math.ceil(outputs / groupOutputs), 1, Math.ceil(T / staged.tokens)],
      gemv: { groupOutputs, rounds: 1 },
    };
  }
  if (T <= GEMV_TOKENS || (T <= GEMV_BLOCKS_TOKENS && Math.ceil(T / 32) * Math.ceil(N / 32) < busyTiles)) {
    const v: GemvVariant = { ...variant, ...gemvShape(w, T, N, gate), subgroups: device.features.subgroups };
    const gemv = gemvGroup(v, device.features.subgroupSize);
    return {
      kernel: kept(gemvLabel(v), () => gemvKernel(v)),
      grid: (outputs) => [Math.ceil(outputs / gemv.groupOutputs), 1, Math.ceil(T / v.tokens)],
      gemv,
    };
  }
  if (plan.precision === "f16" && Math.min(T, K, w.rows) >= MATRIX_MINIMUM) {
    const shape = forced.matrixShape ?? matrixShapeOf(device, w.kind, T, w.rows);
    if (shape && takesMatrixShape(device, shape)) {
      const v: MatrixGemmVariant = { ...variant, shape, subgroupSize: device.features.subgroupSize.min };
      return {
        kernel: kept(`${matrixGemmLabel(v)} of ${v.subgroupSize}`, () => matrixGemmKernel(v)),
        grid: (outputs) => [Math.ceil(outputs / matrixOutputs(shape, gate)), Math.ceil(T / shape.tokens), 1],
        takesHalves: true,
      };
    }
  }
  const v: GemmVariant = { ...variant, tile: gemmTile(T, N, gate) };
  return {
    kernel: kept(gemmLabel(v), () => gemmKernel(v)),
    grid: (outputs) => [Math.ceil(outputs / tileOutputs(v.tile, gate)), Math.ceil(T / v.tile), 1],
  };
}

/** What follows or precedes a product, as its options say. */
interface Operands {
  readonly bias?: unknown;
  readonly gate?: boolean;
  readonly multiply?: unknown;
  readonly residual?: unknown;
}

/** Longer rows take longer than a launch of their own. */
const FOLDED_NORM_CHANNELS = 2048;
/** Each unit norms the factor's rows again: more of them than this cost more than a launch. */
const FOLDED_FACTOR_TOKENS = 4;

/** Whether a product of T tokens can norm x on the way. */
export function canFoldNorm(device: WebGpuDevice, w: WeightMatrix, T: number, o: Operands): boolean {
  const bound = 5 + [o.gate, w.scales, o.bias, o.multiply, o.residual].filter(Boolean).length;
  return (
    device.features.subgroups &&
    T <= GEMV_TOKENS &&
    w.columns <= FOLDED_NORM_CHANNELS &&
    xLoadOf(w.columns) === "whole" &&
    bound <= device.limits.maxStorageBuffers
  );
}

/** Whether a product of T tokens can norm the rows of its factor. */
export function canFoldMultiplyNorm(device: WebGpuDevice, w: WeightMatrix, T: number, o: Operands): boolean {
  return (
    device.features.subgroups &&
    T <= FOLDED_FACTOR_TOKENS &&
    w.rows <= FOLDED_NORM_CHANNELS &&
    w.rows % 4 === 0 &&
    !o.gate &&
    !o.bias &&
    !o.residual
  );
}

/** How tokens of K columns are loaded. */
export function xLoadOf(K: number): XLoad {
  if (K % 32 === 0) return "whole";
  return K % 4 === 0 ? "quads" : "scalars";
}

type GemvShape = Pick<GemvVariant, "tokens" | "rows" | "walk">;

function gemvShape(w: WeightMatrix, T: number, N: number, gate: boolean): GemvShape {
  const tokens = tokensOf(T);
  let rows = mostRows(w.kind, tokens, gate);
  while (rows > 1 && (N / rows) * Math.ceil(T / tokens) < ENOUGH_SUBGROUPS) rows = rows === 4 ? 2 : 1;
  return { tokens, rows, walk: walkOf(w, tokens) };
}

/**
 * The kernel that keeps x in workgroup memory, where it is the faster one: rows of int8 and int4 that are long.
 *
 * Microseconds on an H100, x in storage against x in workgroup memory, in one run (workgroups of 256 or 1024 threads, and
 * more rows or vectors at a time, are slower):
 *
 *   K → N            tokens      int8             int4
 *   4096 → 11008          1    29.8, 28.6       27.2, 21.5
 *                         2    29.9, 31.5       38.2, 26.1
 *                         4    49.8, 38.9       75.7, 34.0
 *                         8    82.0, 57.9      134.8, 58.5
 *   11008 → 4096          1    43.9, 25.6       30.1, 19.9
 *   4096 → 4096           1    19.0, 12.1       15.7, 11.3
 */
function stagedGemv(
  device: WebGpuDevice,
  { w, T, N, norm, multiplyNorm }: MatmulPlan,
  variant: MatmulVariant,
  forced: ForcedChoice,
): StagedGemvVariant | undefined {
  const { features, limits } = device;
  const { min, max } = features.subgroupSize;
  if (forced.staged === false || T > GEMV_TOKENS || norm || multiplyNorm || !features.subgroups || min !== max) {
    return undefined;
  }
  const isNarrow = w.kind === "int8" || w.kind === "int4";
  const isLong = weightParamValues(w).rowVectors > 2 * SHORT_ROW_VECTORS;
  if (!forced.staged && !(isNarrow && isLong && !device.isSoftware)) return undefined;
  const tokens = tokensOf(T);
  const isSingle = tokens === 1 && w.kind === "int8";
  const fewRows = isSingle || N / 2 < ENOUGH_SUBGROUPS;
  const v: StagedGemvVariant = {
    ...variant,
    tokens,
    rows: fewRows ? 1 : 2,
    unroll: isSingle ? 2 : 1,
    workgroup: Math.min(STAGED_WORKGROUP, limits.maxInvocations),
    subgroupSize: min,
    chunk: largestChunk({ kind: w.kind, tokens }),
    ...forced.staged,
  };
  const fits = v.chunk % (v.unroll * min) === 0 && stagedGemvBytes(v) <= limits.maxWorkgroupStorageBytes;
  return fits && v.workgroup <= limits.maxInvocations ? v : undefined;
}

/** Threads of a workgroup that shares a row of x. */
const STAGED_WORKGROUP = 512;

function tokensOf(T: number): GemvVariant["tokens"] {
  return T === 1 ? 1 : T === 2 ? 2 : T <= 4 ? 4 : 8;
}

/** More rows of codes share a load of x, which the narrow kinds need most; measured on an H100. */
function mostRows(kind: WeightKind, tokens: number, gate: boolean): GemvShape["rows"] {
  const isWide = kind === "f32" || (tokens === 1 && kind !== "int8" && kind !== "int4");
  if (gate) return isWide ? 1 : 2;
  return isWide ? 2 : 4;
}

/**
 * How one-row products of so many tokens walk along K, as measured on an H100: by quads with halves (37 µs against 63 for
 * 4096 → 11008), with int8 for several tokens and with int4 where rows are short; else by vectors.
 */
export function walkOf(w: WeightMatrix, tokens: number): GemvShape["walk"] {
  const isShort = weightParamValues(w).rowVectors <= SHORT_ROW_VECTORS;
  switch (w.kind) {
    case "f32":
      return "vectors";
    case "f16":
    case "bf16":
      return "quads";
    case "int8":
      return tokens > 1 && isShort ? "quads" : "vectors";
    case "int4":
      return isShort ? "quads" : "vectors";
  }
}

/** Outputs of a workgroup: one round where subgroups have their largest size. */
export function gemvGroup(
  v: Pick<GemvVariant, "rows" | "subgroups">,
  size: { readonly min: number; readonly max: number },
): { groupOutputs: number; rounds: number } {
  if (!v.subgroups) return { groupOutputs: v.rows, rounds: 1 };
  const units = (subgroup: number): number => Math.max(1, Math.floor(gemvThreads.subgroups / subgroup));
  // A subgroup of the largest size takes one row block; smaller and therefore more subgroups find less to do.
  const groupOutputs = units(Math.max(size.min, Math.min(size.max, 32))) * v.rows;
  return { groupOutputs, rounds: Math.ceil(groupOutputs / (units(size.max) * v.rows)) };
}

/** Small tiles where large ones would leave most of a GPU idle, or hang over the edge. */
function gemmTile(T: number, N: number, gate: boolean): TileSize {
  const tiles = Math.ceil(T / 64) * Math.ceil(N / tileOutputs(64, gate));
  return T > 32 && tiles >= 2 * BUSY_TILES ? 64 : 32;
}

/** One dimension of workgroups as two that fit; tiles are addressed by x and y themselves and never that many. */
function foldGrid(
  [width, height]: readonly [number, number],
  limit: number,
  folds: boolean,
): readonly [number, number] {
  if (width <= limit && height <= limit) return [width, height];
  if (!folds)
    throw new DeviceError(`matmul: ${width} × ${height} tiles exceed the device's ${limit} workgroups a dimension`);
  return [limit, Math.ceil(width / limit)];
}

function cost(
  { T, K, w, gate, bias, multiply, residual }: MatmulPlan,
  piece: RowRange,
): { bytes: number; operations: number } {
  const outputs = piece.end - piece.begin;
  const rows = gate ? 2 * outputs : outputs;
  const results = 1 + (multiply ? 1 : 0) + (residual ? 1 : 0);
  const values = T * K + T * outputs * results + (bias ? rows : 0);
  return { bytes: rows * (rowBytes(w) + scaleRowBytes(w)) + 4 * values, operations: 2 * T * K * rows };
}

const kernels = new KeptKernels();

/** The kernel of a label, its text made once. */
export function kept(label: string, code: () => string): WebGpuKernel {
  return kernels.get(label, () => ({ label, code: code() }));
}

const kinds: readonly WeightKind[] = ["f32", "f16", "bf16", "int8", "int4"];
const plain: Epilogue = { bias: false, activation: "none", gate: false, multiply: false, residual: false };
const gated: Epilogue = { ...plain, activation: "silu", gate: true };
const full: Epilogue = { bias: true, activation: "gelu", gate: false, multiply: true, residual: true };
const normedFactor: Epilogue = { ...plain, activation: "sigmoid", multiply: true, multiplyNorm: true };
const fullGated: Epilogue = { ...full, activation: "sigmoid", gate: true };

/**
 * Kernels that cover each kind, load of x, shape, activation and flag. Snippets are chosen independently of each other, so
 * that not every combination is listed.
 */
export function matmulVariants(): WebGpuKernel[] {
  const found: WebGpuKernel[] = [];
  for (const x of ["whole", "quads", "scalars"] as const) {
    for (const swaps of [false, true]) found.push({ label: halvesLabel(x, swaps), code: halvesKernel(x, swaps) });
    found.push({ label: halvesLabel(x, false, "not finite"), code: halvesKernel(x, false, "not finite") });
  }
  const add = (label: string, code: string): void => void found.push({ label, code });
  for (const kind of kinds) {
    for (const epilogue of [plain, gated, full, fullGated]) {
      for (const x of ["whole", "quads", "scalars"] as const) {
        for (const subgroups of [true, false]) {
          for (const tokens of [1, 2, 4, 8] as const) {
            // Each shape with one of the loads is enough.
            if (x !== "whole" && tokens !== 2) continue;
            const most = mostRows(kind, tokens, epilogue.gate);
            for (const rows of most === 1 ? ([1] as const) : ([1, most] as const)) {
              const walk = kind !== "f32" && (rows === 1 || tokens === 4) ? "quads" : "vectors";
              const v: GemvVariant = { kind, x, epilogue, subgroups, tokens, rows, walk };
              add(gemvLabel(v), gemvKernel(v));
            }
          }
        }
        for (const tile of [32, 64] as const) {
          const v: GemmVariant = { kind, x, epilogue, tile };
          add(gemmLabel(v), gemmKernel(v));
        }
      }
    }
  }
  for (const kind of ["int8", "int4"] as const) {
    for (const epilogue of [plain, gated, full, fullGated]) {
      for (const tokens of [1, 2, 4, 8] as const) {
        for (const rows of [1, 2] as const) {
          const unroll = tokens === 1 && kind === "int8" ? 2 : 1;
          const x = rows === 1 ? "whole" : tokens > 2 ? "quads" : "scalars";
          const v: StagedGemvVariant = {
            kind,
            x,
            epilogue,
            tokens,
            rows,
            unroll,
            workgroup: 256,
            subgroupSize: 32,
            chunk: largestChunk({ kind, tokens }),
          };
          add(stagedGemvLabel(v), stagedGemvKernel(v));
        }
      }
    }
  }
  for (const kind of kinds) {
    for (const tokens of [1, 2, 4, 8] as const) {
      const walk = tokens === 1 ? "vectors" : "quads";
      const shape = { kind, x: "whole", subgroups: true, tokens, rows: mostRows(kind, tokens, true), walk } as const;
      for (const v of [
        { ...shape, epilogue: gated, norm: true },
        { ...shape, epilogue: normedFactor },
      ] satisfies GemvVariant[]) {
        add(gemvLabel(v), gemvKernel(v));
      }
    }
  }
  return found;
}

/** Kernels for matrix units: to be compiled as modules only, where the device has none. */
export function matmulMatrixVariants(): WebGpuKernel[] {
  return kinds.flatMap((kind) =>
    matrixShapes.flatMap((shape) =>
      ([plain, gated, full, fullGated] as const).map((epilogue) => {
        const v: MatrixGemmVariant = { kind, epilogue, shape, subgroupSize: 32 };
        return { label: matrixGemmLabel(v), code: matrixGemmKernel(v) };
      }),
    ),
  );
}
