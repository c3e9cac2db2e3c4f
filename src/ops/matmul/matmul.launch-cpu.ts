/**
 * The matrix product on the CPU: which kernels run, with which scratch memory.
 *
 * Integer weights, and few tokens of any kind: tokens are prepared for the weights' kind, then multiplied with four rows at a
 * time (gemv.as.ts). Else tokens are packed once, then tiles of four tokens times eight rows (gemm.as.ts). Results are split,
 * sums never, so they do not depend on the number of threads.
 */
import { type BufferSlice, type CpuDevice, f32 } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import type { Activation, MatmulPlan } from "./plan.js";
import type { WeightKind, WeightMatrix } from "./weight-matrix.js";
import { weightBytes } from "./weights/create.js";

/** Whether products are sums of integers, with tiles of their own. */
export function isInteger(kind: WeightKind): boolean {
  return kind === "int8" || kind === "int4";
}

/**
 * Most tokens for products by rows. Measured on a 4096 × 4096 product: bf16 rows take 2.1 ms a token for any number, tiles
 * 1.9 ms from three tokens and 0.9 ms in the end. Integer rows have tiles of their own, exact and faster than those of f32.
 */
export const maxRowTokens: Record<WeightKind, number> = {
  f32: 2,
  f16: 2,
  bf16: 2,
  int8: Number.POSITIVE_INFINITY,
  int4: Number.POSITIVE_INFINITY,
};
/** Of prepared tokens for a task of the products by rows. */
const ROW_BLOCK_BYTES = 256 * 1024;
/** `FOUR_BYTES` in rows.inline.as.ts. */
const FOUR_BYTES = 160;
/** `EPILOGUE_BYTES` in epilogue.inline.as.ts. */
const EPILOGUE_BYTES = 64;
/** Up to so many numbers, each thread prepares (and norms) the tokens for itself: cheaper than one more launch. */
const MAX_OWN_NUMBERS = 4096;
/** Most tokens of a task of the tiled product: 128 KiB of packed tokens for each block of columns stay in the L2 cache. */
export const MAX_TOKEN_BLOCK = 128;
export const MIN_TOKEN_BLOCK = 16;
/** 256 columns of eight rows; `PANEL_BYTES` in panel.inline.as.ts. */
export const PANEL_BYTES = 8192;

const activationCodes: Record<Activation, number> = { none: 0, silu: 1, sigmoid: 2, gelu: 3 };

/** Ends of the kernels' names. */
export const kernelSuffix: Record<WeightKind, string> = {
  f32: "F32",
  f16: "F16",
  bf16: "Bf16",
  int8: "Int8",
  int4: "Int4",
};

/** Bytes of a prepared token; int4 keeps four lane sums for each 32 columns behind it. */
const preparedBytes: Record<WeightKind, (rowStride: number) => number> = {
  f32: (rowStride) => rowStride * 4,
  f16: (rowStride) => rowStride * 4,
  bf16: (rowStride) => rowStride * 4,
  int8: (rowStride) => rowStride * 2,
  int4: (rowStride) => rowStride * 2 + rowStride / 2,
};

/** Whether each thread prepares so many tokens for itself. */
export const isOwn = (rows: number, columns: number): boolean => rows === 1 || rows * columns <= MAX_OWN_NUMBERS;

/** Whether the product norms the rows of `multiply`, [T, N]. */
export function canFoldMultiplyNormCpu(w: WeightMatrix, T: number, N: number): boolean {
  return T <= maxRowTokens[w.kind] && isOwn(T, N);
}

export function launchMatmulCpu(device: CpuDevice, plan: MatmulPlan): void {
  if (plan.T <= maxRowTokens[plan.w.kind]) launchRows(device, plan);
  else launchTiles(device, plan);
}

/** `EpilogueArgs` in epilogue.inline.as.ts. */
function epilogueArguments({ out, bias, multiply, residual, N, activation, gate }: MatmulPlan) {
  const { tensor, alpha, beta } = residual ?? { tensor: undefined, alpha: 0, beta: 1 };
  return [out, bias, multiply, tensor, f32(alpha), f32(beta), N, activationCodes[activation], gate] as const;
}

export interface PreparedTokens extends Disposable {
  readonly tokens: BufferSlice;
  /** What the products of each token are multiplied with; absent where the tokens are taken as they are. */
  readonly factors: BufferSlice | undefined;
  readonly bytesPerToken: number;
}

function needsPreparation(w: WeightMatrix): boolean {
  return w.kind !== "f32" || w.columns !== w.rowStride;
}

/** Brings T rows of K columns into the form in which products by rows with `w` want them; they may be normed first. */
export function prepareTokens(
  device: CpuDevice,
  w: WeightMatrix,
  x: Tensor,
  T: number,
  norm?: MatmulPlan["norm"],
): PreparedTokens {
  const K = w.columns;
  const bytesPerToken = preparedBytes[w.kind](w.rowStride);
  if (!needsPreparation(w) && !norm) {
    return { tokens: x, factors: undefined, bytesPerToken, [Symbol.dispose]: () => undefined };
  }
  const factorBytes = Math.ceil(T / 16) * 64;
  const scratch = empty(device, [factorBytes + T * bytesPerToken], "u8", "prepared tokens");
  const { allocation } = scratch;
  const factors = { allocation, byteOffset: 0, byteLength: factorBytes };
  const tokens = { allocation, byteOffset: factorBytes, byteLength: T * bytesPerToken };
  device.run(`matmulPrepare${kernelSuffix[w.kind]}`, {
    arguments: [x, tokens, factors, K, w.rowStride, bytesPerToken, norm?.weight, norm?.out, f32(norm?.eps ?? 0)],
    tasks: T,
    cost: { bytes: x.byteLength + T * bytesPerToken, operations: T * K },
  });
  return { tokens, factors, bytesPerToken, [Symbol.dispose]: () => scratch.dispose() };
}

export interface RowTokens extends Disposable {
  /** Three words: tokens that each thread prepares for itself; prepared tokens and factors. */
  readonly arguments: readonly (BufferSlice | undefined)[];
  readonly bytesPerToken: number;
  /** What each thread needs to prepare tokens. */
  readonly scratchBytes: number;
}

/** The tokens of a product by rows. "own": each thread norms and prepares them for itself, whatever their number. */
export function rowTokens(
  device: CpuDevice,
  w: WeightMatrix,
  x: Tensor,
  T: number,
  norm?: MatmulPlan["norm"] | "own",
): RowTokens {
  if (norm === "own" || ((norm || needsPreparation(w)) && isOwn(T, w.columns))) {
    const bytesPerToken = preparedBytes[w.kind](w.rowStride);
    const scratchBytes = T * (bytesPerToken + 4);
    return { arguments: [x, undefined, undefined], bytesPerToken, scratchBytes, [Symbol.dispose]: () => undefined };
  }
  const prepared = prepareTokens(device, w, x, T, norm);
  const { tokens, factors, bytesPerToken } = prepared;
  const dispose = () => prepared[Symbol.dispose]();
  return { arguments: [undefined, tokens, factors], bytesPerToken, scratchBytes: 0, [Symbol.dispose]: dispose };
}

/** Prepared tokens of a task: they stay in the L2 cache while all rows go by. Even. */
export function rowBlockOf(bytesPerToken: number): number {
  return Math.max(MIN_TOKEN_BLOCK, 2 * Math.floor(ROW_BLOCK_BYTES / bytesPerToken / 2));
}

/** Scratch of a worker for products by rows, before what `rowTokens` wants. */
export function rowScratchBytes(w: WeightMatrix, hasTiles: boolean): number {
  return 2 * FOUR_BYTES + (isInteger(w.kind) && hasTiles ? 16 * w.rowStride : 0);
}

/** A worker's scratch, in whole cache lines. */
export function scratchOf(device: CpuDevice, bytes: number): readonly [BufferSlice, number] {
  const whole = Math.ceil(bytes / 64) * 64;
  return [device.workerScratch(whole), whole];
}

function launchRows(device: CpuDevice, plan: MatmulPlan): void {
  const { x, w, T, K, N, norm, multiplyNorm } = plan;
  using tokens = rowTokens(device, w, x, T, norm);
  const { bytesPerToken } = tokens;
  // Prepared tokens are normed already.
  const ownNorm = tokens.scratchBytes > 0 ? norm : undefined;
  const fours = Math.ceil(N / 4);
  const tokenBlock = rowBlockOf(bytesPerToken);
  const normedBytes = 4 * T * ((ownNorm ? K : 0) + (multiplyNorm ? N : 0));
  const scratchBytes = rowScratchBytes(w, T > 1) + EPILOGUE_BYTES + tokens.scratchBytes + normedBytes;
  device.run(`matmulRows${kernelSuffix[w.kind]}`, {
    arguments: [
      ...epilogueArguments(plan),
      ...[...tokens.arguments, ownNorm?.weight, ownNorm?.out, f32(ownNorm?.eps ?? 0)],
      ...[multiplyNorm?.weight, f32(multiplyNorm?.eps ?? 0), w.codes, w.scales],
      ...scratchOf(device, scratchBytes),
      ...[K, T, bytesPerToken, w.rowStride, Math.log2(w.group), fours, tokenBlock],
    ],
    tasks: fours * Math.ceil(T / tokenBlock),
    cost: costOf(plan),
  });
}

function launchTiles(device: CpuDevice, plan: MatmulPlan): void {
  const { x, w, T, K, N, norm } = plan;
  const groups = Math.ceil(T / 4);
  const packed = empty(device, [groups * 4, w.rowStride], "f32", "matmul tokens");
  device.run("matmulPackTokens", {
    arguments: [x, packed, T, K, w.rowStride, norm?.weight, norm?.out, f32(norm?.eps ?? 0)],
    tasks: groups,
    cost: { bytes: x.byteLength + packed.byteLength, operations: 0 },
  });

  const panels = Math.ceil(N / 8);
  // A panel is widened again for each block of tokens: blocks are large, unless threads would stay idle.
  let tokenBlock = MAX_TOKEN_BLOCK;
  while (tokenBlock > MIN_TOKEN_BLOCK && panels * Math.ceil(T / tokenBlock) < 4 * device.threads) tokenBlock /= 2;
  const workerBytes = 2 * PANEL_BYTES + 2 * tokenBlock * 8 * 4;
  device.run(`matmulTiles${kernelSuffix[w.kind]}`, {
    arguments: [
      ...epilogueArguments(plan),
      ...[packed, w.codes, w.scales, device.workerScratch(workerBytes), workerBytes],
      ...[T, w.rowStride, Math.log2(w.group), panels, tokenBlock],
    ],
    tasks: panels * Math.ceil(T / tokenBlock),
    cost: costOf(plan),
  });
  packed.dispose();
}

function costOf({ x, w, out, T, K }: MatmulPlan) {
  return { bytes: weightBytes(w) + x.byteLength + out.byteLength, operations: 2 * T * K * w.rows };
}
