/**
 * The expert layer on WebGPU: which kernels run.
 *
 * Weights that exceed a binding are split by experts: a launch for each piece leaves the pairs of other experts alone. The
 * weighted sum over the choices then follows in a launch of its own, as it does for many tokens.
 */
import { type BufferSlice, DeviceError, type WebGpuDevice, type WebGpuKernel } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import { tileOutputs } from "../matmul/gemm.wgsl.js";
import { halvesRowOctets } from "../matmul/gemm-subgroup-matrix.wgsl.js";
import {
  GEMV_TOKENS,
  gemvGroup,
  halvesOf,
  kept,
  MATRIX_MINIMUM,
  walkOf,
  xLoadOf,
} from "../matmul/matmul.launch-webgpu.js";
import { expertMatrixShapeOf, expertMatrixShapes } from "../matmul/matrix-shapes.js";
import { type MatrixShape, matrixOutputs } from "../matmul/matrix-tile.wgsl.js";
import { stagedWeights } from "../matmul/matrix-weights.wgsl.js";
import type { WeightMatrix } from "../matmul/weight-matrix.js";
import { weightParamValues } from "../matmul/weights/load.wgsl.js";
import {
  type BindingLimits,
  codesOf,
  type RowRange,
  rowBytes,
  rowUnit,
  scaleRowBytes,
  scalesFit,
  scalesOf,
} from "../matmul/weights/pieces.js";
import { groupPairs, groupVariants } from "./group.wgsl.js";
import { type ExpertMatrixVariant, expertMatrixKernel, expertMatrixLabel } from "./matrix-tiles.wgsl.js";
import { type MixVariant, mixVariants } from "./mix.wgsl.js";
import { normRouteVariants } from "./norm-route.launch-webgpu.js";
import type { MoePlan } from "./plan.js";
import {
  type ExpertRows,
  type ExpertRowsVariant,
  expertParams,
  expertRowsBindings,
  expertRowsKernel,
  expertRowsLabel,
  expertUnitRows,
} from "./rows.wgsl.js";
import {
  COMBINE_CHANNELS,
  combineKernel,
  combineLabel,
  combineParams,
  type ExpertTilesVariant,
  expertTilesKernel,
  expertTilesLabel,
  expertTilesParams,
  MAP_WORKGROUP,
  mapKernel,
  mapParams,
} from "./tiles.wgsl.js";

/**
 * Small experts are read again for each pair, from the cache, rather than in tiles that leave most of a GPU idle: as long as
 * the pairs read no more than this. A CPU is not idle.
 */
const ROWS_BYTES = 16 * 2 ** 20;
const ROWS_TOKENS = 128;

/** What is otherwise chosen by sizes and device, for measurements. */
export interface ForcedMoe {
  readonly matrixShape?: MatrixShape | false;
}

export function launchMoeWebGpu(device: WebGpuDevice, plan: MoePlan, forced: ForcedMoe = {}): void {
  const { T, topK, experts, gateUp, down } = plan;
  const expertBytes = (gateUp.codes.byteLength + down.codes.byteLength) / experts;
  const areSmall = T <= ROWS_TOKENS && T * topK * expertBytes <= ROWS_BYTES && !device.isSoftware;
  if (T <= GEMV_TOKENS || areSmall) launchRows(device, plan);
  else launchTiles(device, plan, forced.matrixShape ?? matrixShapeFor(device, plan));
}

/** The tile of the matrix units; false: tiles compute in float32. */
function matrixShapeFor(device: WebGpuDevice, { gateUp, down, T, H, I, experts, topK }: MoePlan): MatrixShape | false {
  const allowed = gateUp.precision === "f16" && down.precision === "f16" && Math.min(H, I, T) >= MATRIX_MINIMUM;
  const shape = { experts, tokens: (T * topK) / experts, rows: 2 * I };
  return (allowed && expertMatrixShapeOf(device, shape)) || false;
}

/** Experts that are bound in one launch. */
interface ExpertPiece {
  readonly firstExpert: number;
  readonly count: number;
  /** Bound rows: those of the experts, from the last place before them where a binding can begin. */
  readonly rows: RowRange;
  /** Bound rows of scales. */
  readonly scaleRows: RowRange;
}

/** @throws {DeviceError} a single expert does not fit a binding. */
function expertPieces(w: WeightMatrix, limits: BindingLimits, experts: number): ExpertPiece[] {
  const expertRows = w.rows / experts;
  const unit = rowUnit(w, limits);
  const bindsAllScales = scalesFit(w, limits);
  const rowLimit = Math.floor(limits.maxBindingBytes / Math.max(rowBytes(w), bindsAllScales ? 0 : scaleRowBytes(w)));
  const pieces: ExpertPiece[] = [];
  for (let firstExpert = 0; firstExpert < experts; ) {
    const begin = Math.floor((firstExpert * expertRows) / unit) * unit;
    const count = Math.min(experts, Math.floor((begin + rowLimit) / expertRows)) - firstExpert;
    if (count < 1) {
      throw new DeviceError(
        `moe: an expert of ${w.kind} [${expertRows}, ${w.columns}] exceeds a binding of ${limits.maxBindingBytes} bytes`,
      );
    }
    const rows = { begin, end: (firstExpert + count) * expertRows };
    const scaleRows = bindsAllScales ? { begin: 0, end: w.rows } : rows;
    pieces.push({ firstExpert, count, rows, scaleRows });
    firstExpert += count;
  }
  return pieces;
}

function pieceParams(w: WeightMatrix, { firstExpert, count, rows, scaleRows }: ExpertPiece, experts: number) {
  return {
    ...weightParamValues(w),
    inputs: w.columns,
    expertRows: w.rows / experts,
    firstRow: rows.begin,
    firstExpert,
    pieceExperts: count,
    scaleRow: rows.begin - scaleRows.begin,
  };
}

function launchRows(device: WebGpuDevice, plan: MoePlan): void {
  const { x, gateUp, down, out, T, H, I, experts, topK } = plan;
  const pairs = T * topK;
  const inner = plan.inner ?? empty(device, [pairs, I], "f32", "moe inner");
  for (const piece of plan.inner ? [] : expertPieces(gateUp, device.limits, experts)) {
    runRows(device, plan, {
      does: "gate",
      w: gateUp,
      piece,
      x,
      out: inner,
      outputs: I,
      targets: pairs,
      pairsPerX: topK,
    });
  }

  const pieces = expertPieces(down, device.limits, experts);
  const [piece] = pieces;
  const mix = mixOf(plan);
  const whole = { kind: down.kind, does: "sum", mix } as const;
  if (piece && pieces.length === 1 && expertRowsBindings(whole) <= device.limits.maxStorageBuffers) {
    runRows(device, plan, { does: "sum", w: down, piece, x: inner, out, outputs: H, targets: T, pairsPerX: 1 });
  } else {
    const products = empty(device, [pairs, H], "f32", "moe products");
    for (const piece of pieces) {
      runRows(device, plan, {
        does: "store",
        w: down,
        piece,
        x: inner,
        out: products,
        outputs: H,
        targets: pairs,
        pairsPerX: 1,
      });
    }
    combine(device, plan, products);
    products.dispose();
  }
  if (!plan.inner) inner.dispose();
}

interface RowsLaunch {
  readonly does: ExpertRows;
  readonly w: WeightMatrix;
  readonly piece: ExpertPiece;
  readonly x: Tensor;
  readonly out: Tensor;
  /** Outputs of an expert. */
  readonly outputs: number;
  readonly targets: number;
  readonly pairsPerX: number;
}

function runRows(device: WebGpuDevice, plan: MoePlan, launch: RowsLaunch): void {
  const { does, w, piece, x, out, outputs, targets, pairsPerX } = launch;
  const { routes, T, topK, experts } = plan;
  const isSum = does === "sum";
  const v: ExpertRowsVariant = {
    kind: w.kind,
    x: xLoadOf(w.columns),
    does,
    walk: walkOf(w, 1),
    subgroups: device.features.subgroups,
    ...(isSum ? { mix: mixOf(plan) } : {}),
  };
  const shape = gemvGroup({ rows: expertUnitRows(does), subgroups: v.subgroups }, device.features.subgroupSize);
  const buffers: readonly (BufferSlice | undefined)[] = [
    x,
    routes.experts,
    codesOf(w, piece.rows),
    scalesOf(w, piece.scaleRows),
    ...(isSum ? [routes.weights, ...mixBuffers(plan)] : []),
    out,
  ];
  // As if the pairs were spread evenly over the pieces.
  const products = (T * topK * w.rows * piece.count) / experts ** 2;
  device.run(
    kept(expertRowsLabel(v), () => expertRowsKernel(v)),
    {
      buffers: buffers.filter((buffer) => buffer !== undefined),
      params: expertParams.write({
        ...pieceParams(w, piece, experts),
        ...mixParams(plan),
        outputs,
        choices: isSum ? topK : 1,
        pairsPerX,
        groupOutputs: shape.groupOutputs,
        rounds: shape.rounds,
      }),
      grid: [Math.ceil(outputs / shape.groupOutputs), targets],
      cost: {
        bytes: products * (rowBytes(w) + scaleRowBytes(w)) + x.byteLength + out.byteLength,
        operations: 2 * products * w.columns,
      },
    },
  );
}

function launchTiles(device: WebGpuDevice, plan: MoePlan, matrixShape: MatrixShape | false): void {
  const { x, gateUp, down, routes, T, H, I, experts, topK } = plan;
  const pairs = T * topK;
  const { order, starts } = groupPairs(device, routes.experts, experts);

  // Small tiles unless most experts fill large ones.
  const plainTile = pairs >= 48 * experts ? 64 : 32;
  const tile = matrixShape ? matrixShape.tokens : plainTile;
  const used = Math.min(experts, pairs);
  const tileCount = Math.floor((pairs + used * (tile - 1)) / tile);
  const tiles = empty(device, [tileCount, 2], "u32", "moe tiles");
  device.run(mapKernel, {
    buffers: [starts, tiles],
    params: mapParams.write({ experts, tile, tiles: tileCount }),
    grid: [Math.ceil(tileCount / MAP_WORKGROUP)],
    cost: { bytes: 8 * tileCount, operations: 0 },
  });

  const multiply = (
    w: WeightMatrix,
    from: Tensor,
    to: Tensor,
    { outputs, columns, kernel, tileOutputs }: TilesLaunch,
  ): void => {
    const operations = 2 * pairs * (w.rows / experts) * w.columns;
    for (const piece of expertPieces(w, device.limits, experts)) {
      const share = piece.count / experts;
      const buffers = [from, order, starts, tiles, codesOf(w, piece.rows), scalesOf(w, piece.scaleRows), to];
      device.run(kernel, {
        buffers: buffers.filter((buffer) => buffer !== undefined),
        params: expertTilesParams.write({ ...pieceParams(w, piece, experts), pieceOutputs: outputs, topK }),
        grid: [Math.ceil(columns / tileOutputs), tileCount],
        cost: {
          bytes: share * (w.codes.byteLength + from.byteLength + to.byteLength),
          operations: share * operations,
        },
      });
    }
  };
  const launchOf = (does: "gate" | "down", w: WeightMatrix): TilesLaunch => {
    const outputs = does === "gate" ? I : H;
    const gate = does === "gate";
    if (!matrixShape) {
      const v: ExpertTilesVariant = { kind: w.kind, x: xLoadOf(w.columns), does, tile: plainTile };
      const kernel = kept(expertTilesLabel(v), () => expertTilesKernel(v));
      return { outputs, columns: outputs, kernel, tileOutputs: tileOutputs(plainTile, gate) };
    }
    const v: ExpertMatrixVariant = {
      kind: w.kind,
      shape: matrixShape,
      subgroupSize: device.features.subgroupSize.min,
      does,
      swaps: gate && stagedWeights[down.kind].swaps,
    };
    const kernel = kept(`${expertMatrixLabel(v)} of ${v.subgroupSize}`, () => expertMatrixKernel(v));
    const columns = gate ? 8 * halvesRowOctets(I) : outputs;
    return { outputs, columns, kernel, tileOutputs: matrixOutputs(matrixShape, gate) };
  };
  const from = matrixShape ? halvesOf(device, x, stagedWeights[gateUp.kind].swaps) : undefined;
  const inner = matrixShape
    ? empty(device, [pairs, 4 * halvesRowOctets(I)], "u32", "moe inner")
    : empty(device, [pairs, I], "f32", "moe inner");
  const products = empty(device, [pairs, H], "f32", "moe products");
  multiply(gateUp, from ?? x, inner, launchOf("gate", gateUp));
  multiply(down, inner, products, launchOf("down", down));
  combine(device, plan, products);
  for (const temporary of [order, starts, tiles, inner, products]) temporary.dispose();
  from?.dispose();
}

/** The tiles of one of the two products. */
interface TilesLaunch {
  /** Of an expert. */
  readonly outputs: number;
  /** Those of a row of the result, filled up. */
  readonly columns: number;
  readonly kernel: WebGpuKernel;
  readonly tileOutputs: number;
}

/** out = mix(weighted sums of `products` [T, k, H]). */
function combine(device: WebGpuDevice, plan: MoePlan, products: Tensor): void {
  const { routes, out, T, H, topK } = plan;
  const mix = mixOf(plan);
  const height = Math.min(T, device.limits.maxWorkgroupsPerDimension);
  device.run(
    kept(combineLabel(mix), () => combineKernel(mix)),
    {
      buffers: [products, routes.weights, ...mixBuffers(plan), out],
      params: combineParams.write({ tokens: T, topK, ...mixParams(plan) }),
      grid: [Math.ceil(H / COMBINE_CHANNELS), height, Math.ceil(T / height)],
      cost: { bytes: products.byteLength + out.byteLength, operations: 2 * T * topK * H },
    },
  );
}

function mixOf({ shared, residual }: MoePlan): MixVariant {
  return { shared: shared ? (shared.coefficient ? "mixed" : "plain") : "none", residual: residual !== undefined };
}

/** What a mix binds before its result. */
function mixBuffers({ shared, residual }: MoePlan): BufferSlice[] {
  return [shared?.output, shared?.coefficient, residual?.tensor].filter((tensor) => tensor !== undefined);
}

function mixParams({ H, residual }: MoePlan) {
  return { channels: H, alpha: residual?.alpha ?? 0, beta: residual?.beta ?? 1 };
}

/** All kernels; each snippet with each kind and shape, not every combination. */
export function moeVariants(): WebGpuKernel[] {
  const found: WebGpuKernel[] = [...groupVariants(), mapKernel, ...normRouteVariants()];
  const add = (label: string, code: string): void => void found.push({ label, code });
  for (const mix of mixVariants) add(combineLabel(mix), combineKernel(mix));
  for (const kind of ["f32", "f16", "bf16", "int8", "int4"] as const) {
    for (const x of ["whole", "quads", "scalars"] as const) {
      for (const subgroups of [true, false]) {
        for (const does of ["gate", "store"] as const) {
          for (const walk of ["vectors", "quads"] as const) {
            const v: ExpertRowsVariant = { kind, x, does, walk, subgroups };
            add(expertRowsLabel(v), expertRowsKernel(v));
          }
        }
        for (const mix of mixVariants) {
          // Each mix with one of the loads is enough.
          if (x !== "whole" && mix.shared !== "mixed") continue;
          const v: ExpertRowsVariant = { kind, x, does: "sum", mix, walk: subgroups ? "quads" : "vectors", subgroups };
          add(expertRowsLabel(v), expertRowsKernel(v));
        }
      }
      for (const does of ["gate", "down"] as const) {
        for (const tile of [32, 64] as const) {
          const v: ExpertTilesVariant = { kind, x, does, tile };
          add(expertTilesLabel(v), expertTilesKernel(v));
        }
      }
    }
  }
  return found;
}

/** Kernels for matrix units: to be compiled as modules only, where the device has none. */
export function moeMatrixVariants(): WebGpuKernel[] {
  return expertMatrixShapes.flatMap((shape) =>
    (["f32", "f16", "bf16", "int8", "int4"] as const).flatMap((kind) =>
      (
        [
          ["gate", false],
          ["gate", true],
          ["down", false],
        ] as const
      ).map(([does, swaps]) => {
        const v: ExpertMatrixVariant = { kind, shape, subgroupSize: 32, does, swaps };
        return { label: expertMatrixLabel(v), code: expertMatrixKernel(v) };
      }),
    ),
  );
}
