/**
 * The expert layer on the CPU: which kernels run.
 *
 * Few pairs (token, choice): products by rows with the chosen experts, two launches in all (rows.as.ts). More: sort by expert,
 * then tiles (tiles.as.ts; integer-tiles.as.ts). Results are split, sums never, so they do not depend on the number of threads.
 */
import { type BufferSlice, type CpuDevice, f32 } from "../../device/index.js";
import { empty, sameShape, type Tensor } from "../../tensor/index.js";
import {
  isInteger,
  isOwn,
  kernelSuffix,
  MAX_TOKEN_BLOCK,
  MIN_TOKEN_BLOCK,
  maxRowTokens,
  PANEL_BYTES,
  prepareTokens,
  rowBlockOf,
  rowScratchBytes,
  rowTokens,
  scratchOf,
} from "../matmul/matmul.launch-cpu.js";
import type { WeightMatrix } from "../matmul/weight-matrix.js";
import { weightBytes } from "../matmul/weights/create.js";
import type { RowNorm } from "../rms-norm/rms-norm.js";
import type { MoePlan } from "./plan.js";

/** From more pairs on, their expert's rows no longer stay in the cache from one to the next. */
const MAX_ROW_PAIRS = 128;
/** Panels that a thread takes at a time: few, since experts differ in tokens. */
const PANEL_CHUNK = 4;
/** Most columns of a task of the products by rows. */
const MAX_COLUMN_BLOCK = 16;
/** `activation` of the epilogue. */
const SILU = 1;

/** Of integers: from more pairs on, sorting and preparing them is worth launches of its own. */
const MAX_INTEGER_PAIRS = 32;
/** Products of the router that each thread computes for itself: more are spread over the threads. */
const MAX_ROUTER_PRODUCTS = 32 * 1024;

export function launchMoeCpu(device: CpuDevice, plan: MoePlan): void {
  if (isFew(plan.gateUp, plan.down, plan)) launchRows(device, plan);
  else launchTiles(device, plan);
}

function isFew(
  gateUp: WeightMatrix,
  down: WeightMatrix,
  { T, topK, experts }: { readonly T: number; readonly topK: number; readonly experts: number },
): boolean {
  const pairs = T * topK;
  if (isInteger(gateUp.kind) && isInteger(down.kind)) return T === 1 || pairs <= MAX_INTEGER_PAIRS;
  const most = Math.min(maxRowTokens[gateUp.kind], maxRowTokens[down.kind]);
  // A float tile holds four tokens: with fewer of each expert, widening its rows is not paid back.
  return T <= most || pairs <= Math.min(MAX_ROW_PAIRS, Math.max(4, most) * experts);
}

/** Whether the launches of the experts can norm and route x, [T, H], themselves. Operands may still be wrong. */
export function canFoldRoutingCpu(
  { shape }: Tensor,
  norm: RowNorm,
  {
    router,
    gateUp,
    down,
  }: { readonly router: WeightMatrix; readonly gateUp: WeightMatrix; readonly down: WeightMatrix },
  { experts, topK }: { readonly experts: number; readonly topK: number },
): boolean {
  const [T = 0, H = 0] = shape;
  return (
    shape.length === 2 &&
    T >= 1 &&
    router.kind === "f32" &&
    H === router.columns &&
    H === router.rowStride &&
    experts === router.rows &&
    topK >= 1 &&
    topK <= experts &&
    Number.isInteger(topK) &&
    sameShape(norm.weight.shape, [H]) &&
    isOwn(T, H) &&
    T * experts * H <= MAX_ROUTER_PRODUCTS &&
    isFew(gateUp, down, { T, topK, experts })
  );
}

/** `EpilogueArgs` without bias, multiply and residual. */
function epilogueArguments(out: BufferSlice, outputs: number, gate: boolean) {
  return [out, undefined, undefined, undefined, f32(0), f32(1), outputs, gate ? SILU : 0, gate] as const;
}

/** `MixArgs`. */
function mixArguments({ out, routes, shared, residual, H, topK }: MoePlan) {
  const { tensor, alpha, beta } = residual ?? { tensor: undefined, alpha: 0, beta: 1 };
  return [out, routes.weights, shared?.output, shared?.coefficient, tensor, f32(alpha), f32(beta), H, topK] as const;
}

function launchRows(device: CpuDevice, plan: MoePlan): void {
  const { x, gateUp, down, routes, T, H, I, experts, topK, fold } = plan;
  const pairs = T * topK;
  const hasTiles = pairs > 1;
  // Long runs of neighbouring rows, but work for all threads.
  const blockOf = (columns: number): number =>
    Math.max(4, Math.min(MAX_COLUMN_BLOCK, 4 * Math.floor(columns / (32 * device.threads))));
  using inner = empty(device, [pairs, I], "f32", "moe inner");
  using tokens = rowTokens(device, gateUp, fold?.x ?? x, T, fold && "own");
  const routingBytes = 4 * pairs + (fold ? 4 * (2 * pairs + experts + T * H) : 0);
  device.run(`moeGateUpRows${kernelSuffix[gateUp.kind]}`, {
    arguments: [
      ...epilogueArguments(inner, I, true),
      ...tokens.arguments,
      ...[fold?.norm.weight, f32(fold?.norm.eps ?? 0), fold?.router.codes, experts, fold?.normalise ?? false],
      ...[x, routes.weights, routes.experts, gateUp.codes, gateUp.scales],
      ...scratchOf(device, rowScratchBytes(gateUp, hasTiles) + routingBytes + tokens.scratchBytes),
      ...[pairs, topK, H, tokens.bytesPerToken, gateUp.rowStride, Math.log2(gateUp.group), blockOf(I)],
    ],
    tasks: Math.ceil(I / blockOf(I)),
    cost: costOf(plan, gateUp),
  });

  using inners = rowTokens(device, down, inner, pairs);
  const productBytes = 4 * pairs * (1 + blockOf(H));
  device.run(`moeDownRows${kernelSuffix[down.kind]}`, {
    arguments: [
      ...mixArguments(plan),
      ...[...inners.arguments, down.codes, down.scales, routes.experts],
      ...scratchOf(device, rowScratchBytes(down, hasTiles) + productBytes + inners.scratchBytes),
      ...[T, I, inners.bytesPerToken, down.rowStride, Math.log2(down.group), blockOf(H)],
    ],
    tasks: Math.ceil(H / blockOf(H)),
    cost: costOf(plan, down),
  });
}

function launchTiles(device: CpuDevice, plan: MoePlan): void {
  const { x, gateUp, down, routes, T, H, I, experts, topK } = plan;
  const pairs = T * topK;
  // Each expert that is used leaves at most three of its last four places empty.
  const slots = Math.ceil((pairs + 3 * Math.min(experts, pairs)) / 4) * 4;
  const ranges = empty(device, [experts, 2], "i32", "moe ranges");
  const order = empty(device, [slots], "i32", "moe order");
  const positions = empty(device, [pairs], "i32", "moe positions");
  device.run("moeGroup", {
    arguments: [routes.experts, ranges, order, positions, pairs, experts, slots],
    tasks: 1,
    cost: { bytes: 4 * (2 * pairs + slots), operations: 0 },
  });

  const inner = empty(device, [slots, I], "f32", "moe inner");
  const products = empty(device, [slots, H], "f32", "moe products");
  const multiplyIntegers = (from: Tensor, w: WeightMatrix, out: Tensor, outputs: number, gate: boolean): void => {
    using tokens = prepareTokens(device, w, from, gate ? T : slots);
    const fours = Math.ceil(outputs / 4);
    const tokenBlock = rowBlockOf(tokens.bytesPerToken);
    const blocks = Math.ceil(pairs / tokenBlock);
    device.run(`moeTiles${kernelSuffix[w.kind]}`, {
      arguments: [
        ...epilogueArguments(out, outputs, gate),
        ...[tokens.tokens, tokens.factors, w.codes, w.scales, ranges, order],
        ...scratchOf(device, rowScratchBytes(w, true)),
        ...[gate ? topK : 0, tokens.bytesPerToken, w.rowStride, Math.log2(w.group), fours, blocks, tokenBlock],
      ],
      tasks: experts * blocks * fours,
      // Few: experts differ in tokens.
      chunk: 2 * PANEL_CHUNK,
      cost: costOf(plan, w),
    });
  };
  const multiplyFloats = (from: Tensor, w: WeightMatrix, out: Tensor, outputs: number, gate: boolean): void => {
    const packed = empty(device, [slots, w.rowStride], "f32", "moe tokens");
    device.run("moePack", {
      arguments: [from, packed, order, w.columns, w.rowStride, slots, gate ? topK : 0],
      tasks: slots / 4,
      cost: { bytes: 8 * pairs * w.columns, operations: 0 },
    });
    const panels = Math.ceil(outputs / 8);
    let tokenBlock = MIN_TOKEN_BLOCK;
    while (tokenBlock < Math.min(MAX_TOKEN_BLOCK, pairs)) tokenBlock *= 2;
    const workerBytes = 2 * PANEL_BYTES + 2 * tokenBlock * 8 * 4;
    device.run(`moeTiles${kernelSuffix[w.kind]}`, {
      arguments: [
        ...epilogueArguments(out, outputs, gate),
        ...[packed, w.codes, w.scales, ranges, device.workerScratch(workerBytes), workerBytes],
        ...[slots, w.rowStride, Math.log2(w.group), panels, tokenBlock],
      ],
      tasks: experts * panels,
      chunk: PANEL_CHUNK,
      cost: costOf(plan, w),
    });
    packed.dispose();
  };
  const multiply = (w: WeightMatrix) => (isInteger(w.kind) ? multiplyIntegers : multiplyFloats);
  multiply(gateUp)(x, gateUp, inner, I, true);
  multiply(down)(inner, down, products, H, false);
  device.run("moeCombine", {
    arguments: [...mixArguments(plan), products, positions],
    tasks: T,
    cost: { bytes: 4 * H * (pairs + T), operations: 2 * pairs * H },
  });
  for (const temporary of [ranges, order, positions, inner, products]) temporary.dispose();
}

/** Bytes if each pair has an expert of its own as long as there are any. */
function costOf({ T, experts, topK }: MoePlan, w: WeightMatrix): { bytes: number; operations: number } {
  const pairs = T * topK;
  const rows = w.rows / experts;
  const used = Math.min(experts, pairs) / experts;
  return { bytes: weightBytes(w) * used + 4 * pairs * w.columns, operations: 2 * pairs * rows * w.columns };
}
