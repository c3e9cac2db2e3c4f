/** Norm, router and routing in one launch: when that can be, and the launch. */
import type { WebGpuDevice, WebGpuKernel } from "../../device/index.js";
import { empty, sameShape, type Tensor } from "../../tensor/index.js";
import { GEMV_TOKENS, kept } from "../matmul/matmul.launch-webgpu.js";
import type { WeightKind, WeightMatrix } from "../matmul/weight-matrix.js";
import { weightParamValues } from "../matmul/weights/load.wgsl.js";
import { rowBytes, scalesFit } from "../matmul/weights/pieces.js";
import type { RowNorm } from "../rms-norm/rms-norm.js";
import type { Routes } from "../route-experts/route-experts.js";
import {
  MAX_ROUTED_CHANNELS,
  MAX_ROUTED_EXPERTS,
  NORM_ROUTE_WORKGROUP,
  normRouteGateBindings,
  normRouteGateKernel,
  normRouteGateParams,
  normRouteKernel,
  normRouteParams,
} from "./norm-route.wgsl.js";

/** One workgroup walks a whole router: one that is larger is read faster by many. */
const MAX_ROUTER_WEIGHTS = 64 * 1024;
/** Every workgroup of the experts' first product walks it: only where that is less than waiting for a launch. */
const MAX_REPEATED_ROUTER_WEIGHTS = 8 * 1024;

interface Choice {
  readonly experts: number;
  readonly topK: number;
  readonly normalise: boolean;
}

/** Whether the launch takes these operands; false too where they do not fit each other, which is told elsewhere. */
export function canFoldRouting(
  device: WebGpuDevice,
  x: Tensor,
  norm: RowNorm,
  router: WeightMatrix,
  { experts, topK }: Choice,
): boolean {
  const [T = 0, H = 0] = x.shape;
  return (
    device.features.subgroups &&
    x.shape.length === 2 &&
    T >= 1 &&
    T <= GEMV_TOKENS &&
    H === router.columns &&
    H % 32 === 0 &&
    H <= MAX_ROUTED_CHANNELS &&
    experts === router.rows &&
    experts <= MAX_ROUTED_EXPERTS &&
    experts * H <= MAX_ROUTER_WEIGHTS &&
    topK >= 1 &&
    topK <= experts &&
    sameShape(norm.weight.shape, [H])
  );
}

/** Whether the launch can go on to the first product of the experts, where `canFoldRouting` holds. */
export function canFoldGate(device: WebGpuDevice, router: WeightMatrix, gateUp: WeightMatrix): boolean {
  const { limits } = device;
  return (
    router.kind === "f32" &&
    router.rows * router.columns <= MAX_REPEATED_ROUTER_WEIGHTS &&
    gateUp.rows * rowBytes(gateUp) <= limits.maxBindingBytes &&
    scalesFit(gateUp, limits) &&
    normRouteGateBindings(gateUp.kind) <= limits.maxStorageBuffers
  );
}

interface Routed {
  readonly normed: Tensor;
  readonly routes: Routes;
}

function emptyRoutes(device: WebGpuDevice, [T = 0, H = 0]: readonly number[], topK: number): Routed {
  const normed = empty(device, [T, H], "f32", "normed");
  const routes = {
    experts: empty(device, [T, topK], "i32", "experts"),
    weights: empty(device, [T, topK], "f32", "expert weights"),
  };
  return { normed, routes };
}

/** Subgroups of a workgroup where they have their largest size; where they are smaller, some rounds find less to do. */
function subgroupsOf(device: WebGpuDevice): number {
  return NORM_ROUTE_WORKGROUP / device.features.subgroupSize.max;
}

/** As `launchNormRoute`, and the first product of the chosen experts: `inner` [T k, I]. */
export function launchNormRouteGate(
  device: WebGpuDevice,
  x: Tensor,
  norm: RowNorm,
  { router, gateUp }: { readonly router: WeightMatrix; readonly gateUp: WeightMatrix },
  { experts, topK, normalise }: Choice,
): Routed & { readonly inner: Tensor } {
  const [T = 0, H = 0] = x.shape;
  const I = gateUp.rows / experts / 2;
  const { normed, routes } = emptyRoutes(device, x.shape, topK);
  const inner = empty(device, [T * topK, I], "f32", "moe inner");
  // A round for each choice, or one for all of few.
  const groupOutputs = Math.max(1, Math.floor(subgroupsOf(device) / topK));
  const results = [normed, routes.experts, routes.weights, inner];
  const buffers = [x, norm.weight, router.codes, gateUp.codes, gateUp.scales, ...results];
  device.run(gateKernelOf(gateUp.kind), {
    buffers: buffers.filter((buffer) => buffer !== undefined),
    params: normRouteGateParams.write({
      ...weightParamValues(gateUp),
      inputs: H,
      experts,
      topK,
      normalise: normalise ? 1 : 0,
      eps: norm.eps,
      rounds: Math.ceil(experts / subgroupsOf(device)),
      outputs: I,
      groupOutputs,
      gateRounds: Math.ceil((groupOutputs * topK) / subgroupsOf(device)),
    }),
    grid: [Math.ceil(I / groupOutputs), T],
    cost: {
      bytes: 2 * x.byteLength + router.codes.byteLength + (T * topK * gateUp.codes.byteLength) / experts,
      operations: 2 * T * H * (experts + 2 * topK * I),
    },
  });
  return { normed, routes, inner };
}

export function launchNormRoute(
  device: WebGpuDevice,
  x: Tensor,
  norm: RowNorm,
  router: WeightMatrix,
  { experts, topK, normalise }: Choice,
): Routed {
  const [T = 0, H = 0] = x.shape;
  const { normed, routes } = emptyRoutes(device, x.shape, topK);
  const buffers = [x, norm.weight, router.codes, router.scales, normed, routes.experts, routes.weights];
  device.run(kernelOf(router.kind), {
    buffers: buffers.filter((buffer) => buffer !== undefined),
    params: normRouteParams.write({
      ...weightParamValues(router),
      inputs: H,
      experts,
      topK,
      normalise: normalise ? 1 : 0,
      eps: norm.eps,
      rounds: Math.ceil(experts / subgroupsOf(device)),
    }),
    grid: [T],
    cost: { bytes: 2 * x.byteLength + router.codes.byteLength, operations: 2 * T * H * experts },
  });
  return { normed, routes };
}

function kernelOf(kind: WeightKind): WebGpuKernel {
  return kept(`moe norm-route ${kind}`, () => normRouteKernel(kind));
}

function gateKernelOf(kind: WeightKind): WebGpuKernel {
  return kept(`moe norm-route-gate ${kind}`, () => normRouteGateKernel(kind));
}

export function normRouteVariants(): WebGpuKernel[] {
  return (["f32", "f16", "bf16", "int8", "int4"] as const).flatMap((kind) => [kernelOf(kind), gateKernelOf(kind)]);
}
