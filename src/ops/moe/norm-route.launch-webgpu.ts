/** Norm, router and routing in one launch: when that can be, and the launch. */
import type { WebGpuDevice, WebGpuKernel } from "../../device/index.js";
import { empty, sameShape, type Tensor } from "../../tensor/index.js";
import { GEMV_TOKENS, kept } from "../matmul/matmul.launch-webgpu.js";
import type { WeightKind, WeightMatrix } from "../matmul/weight-matrix.js";
import { weightParamValues } from "../matmul/weights/load.wgsl.js";
import type { RowNorm } from "../rms-norm/rms-norm.js";
import type { Routes } from "../route-experts/route-experts.js";
import {
  MAX_ROUTED_CHANNELS,
  MAX_ROUTED_EXPERTS,
  NORM_ROUTE_WORKGROUP,
  normRouteKernel,
  normRouteParams,
} from "./norm-route.wgsl.js";

/** One workgroup walks a whole router: one that is larger is read faster by many. */
const MAX_ROUTER_WEIGHTS = 64 * 1024;

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

export function launchNormRoute(
  device: WebGpuDevice,
  x: Tensor,
  norm: RowNorm,
  router: WeightMatrix,
  { experts, topK, normalise }: Choice,
): { readonly normed: Tensor; readonly routes: Routes } {
  const [T = 0, H = 0] = x.shape;
  const normed = empty(device, [T, H], "f32", "normed");
  const routes = {
    experts: empty(device, [T, topK], "i32", "experts"),
    weights: empty(device, [T, topK], "f32", "expert weights"),
  };
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
      rounds: Math.ceil(experts / (NORM_ROUTE_WORKGROUP / device.features.subgroupSize.max)),
    }),
    grid: [T],
    cost: { bytes: 2 * x.byteLength + router.codes.byteLength, operations: 2 * T * H * experts },
  });
  return { normed, routes };
}

function kernelOf(kind: WeightKind): WebGpuKernel {
  return kept(`moe norm-route ${kind}`, () => normRouteKernel(kind));
}

export function normRouteVariants(): WebGpuKernel[] {
  return (["f32", "f16", "bf16", "int8", "int4"] as const).map(kernelOf);
}
