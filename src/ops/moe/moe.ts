/**
 * A mixture of experts: each token goes through its k best expert networks, whose results are added up by weight.
 *
 *   z = x Wᵣᵀ;   e₁ … e_k, w₁ … w_k = routeExperts(z)
 *   y = Σ over j of w_j · W2[e_j] ( SiLU(W1[e_j] x) ⊙ (W3[e_j] x) )
 *   y ← (1 − c) · y + c · shared,  c = sigmoid(coefficient)   (with `shared`; without a coefficient y + shared)
 *   y ← alpha · residual + beta · y                           (if given)
 *
 * Axes      T tokens, H channels, I inner channels, E experts, k choices; row-major. x, shared, residual, result: [T, H].
 *           Expert e has rows 2 I e … of `gateUp` (I rows of W1, the gate, then I of W3) and rows H e … of `down` (W2).
 * Precision router, softmax and weights are float32; sums add up in float32, in the order of the choices (int8 and int4
 *           weights on the CPU for few tokens: see matmul.ts).
 * Source    MiniMax-01, arXiv 2501.08313, section 2; Shazeer et al. 2017, arXiv 1701.06538.
 * Gradient  moe.gradient.ts: of x and the routing for experts of any kind, of float32 experts.
 * Our choice no capacity limit, no token is dropped.
 *
 * Nothing depends on the routing but data: the same launches whatever it is, so that a step can be captured. Few tokens: one
 * product for each (token, choice), which reads the chosen experts alone. Many: tokens are sorted by expert on the device
 * (in their order, no atomics), and tiles of one expert's tokens are multiplied; the grid is that of the worst routing.
 */
import { activeTape, empty, record, ShapeError, sameShape, type Tensor } from "../../tensor/index.js";
import { add, blend, mix } from "../elementwise/elementwise.js";
import { matmul } from "../matmul/matmul.js";
import type { Residual } from "../matmul/plan.js";
import type { WeightMatrix } from "../matmul/weight-matrix.js";
import { type RowNorm, rmsNorm } from "../rms-norm/rms-norm.js";
import { type Routes, routeExperts } from "../route-experts/route-experts.js";
import { mixtureBackward } from "./moe.gradient.js";
import { canFoldRoutingCpu, launchMoeCpu } from "./moe.launch-cpu.js";
import { launchMoeWebGpu } from "./moe.launch-webgpu.js";
import { canFoldGate, canFoldRouting, launchNormRoute, launchNormRouteGate } from "./norm-route.launch-webgpu.js";
import type { MoePlan } from "./plan.js";

export interface MoeWeights {
  /** f32 [E, H]. */
  readonly router: WeightMatrix;
  /** [E · 2 I, H]: for each expert I gate rows, then I up rows. */
  readonly gateUp: WeightMatrix;
  /** [E · H, I]. */
  readonly down: WeightMatrix;
}

export interface MoeOptions {
  /** E. */
  readonly experts: number;
  /** k. */
  readonly topK: number;
  /** Divide the weights of the chosen experts by their sum. */
  readonly normalise: boolean;
  readonly residual?: Residual | undefined;
  readonly shared?: {
    /** f32 [T, H]. */
    readonly output: Tensor;
    /** f32 [T, 1], before the sigmoid. */
    readonly coefficient?: Tensor;
  };
}

/**
 * The expert layer; see the file's header.
 *
 * @param x f32 [T, H].
 * @returns f32 [T, H].
 * @throws {ShapeError} a shape does not fit.
 * @throws {RangeError} `topK` is not 1 … E.
 *
 * Cost: 6·T·k·H·I FLOPs; reads the experts that are chosen.
 */
export function moe(x: Tensor, w: MoeWeights, options: MoeOptions): Tensor {
  check(x, w, options);
  using logits = matmul(x, w.router);
  const routes = routeExperts(logits, options);
  using _experts = routes.experts;
  using _weights = routes.weights;
  if (!activeTape()) return mixture(x, w, routes, options);
  // Under a tape what follows the sum is operations of their own.
  const { residual, shared, ...rest } = options;
  let y = mixture(x, w, routes, rest);
  const next = (value: Tensor) => {
    y.dispose();
    y = value;
  };
  if (shared) next(shared.coefficient ? blend(y, shared.output, shared.coefficient) : add(y, shared.output));
  if (residual) next(mix(residual.tensor, y, residual.alpha, residual.beta));
  return y;
}

export interface NormedMoeOptions extends Omit<MoeOptions, "residual" | "shared"> {
  /** `normed`: the normed rows. */
  readonly residual?: Residual | (Omit<Residual, "tensor"> & { readonly tensor: "normed" });
}

/**
 * n = RMSNorm(x) and the expert layer of n: norm, router and routing (and the experts' first product, where the router is
 * small) in one launch where rows are few and short.
 *
 * @returns n and the result, both f32 [T, H].
 */
export function normedMoe(
  x: Tensor,
  norm: RowNorm,
  w: MoeWeights,
  { residual, ...options }: NormedMoeOptions,
): { readonly normed: Tensor; readonly product: Tensor } {
  const { device } = x;
  if (activeTape()) return separately();
  if (device.kind === "cpu") {
    if (!canFoldRoutingCpu(x, norm, w, options)) return separately();
    check(x, w, options);
    const [T = 0, H = 0] = x.shape;
    const { topK, normalise } = options;
    const normed = empty(device, [T, H], "f32", "normed");
    using experts = empty(device, [T, topK], "i32", "experts");
    using weights = empty(device, [T, topK], "f32", "expert weights");
    const fold = { x, norm, router: w.router, normalise };
    return { normed, product: mixture(normed, w, { experts, weights }, withResidual(normed), { fold }) };
  }
  if (!canFoldRouting(device, x, norm, w.router, options)) return separately();
  check(x, w, options);
  const foldsGate = canFoldGate(device, w.router, w.gateUp);
  const { normed, routes, inner } = foldsGate
    ? launchNormRouteGate(device, x, norm, w, options)
    : { ...launchNormRoute(device, x, norm, w.router, options), inner: undefined };
  using _experts = routes.experts;
  using _weights = routes.weights;
  using _inner = inner;
  return { normed, product: mixture(normed, w, routes, withResidual(normed), { inner }) };

  function withResidual(normed: Tensor): MoeOptions {
    return { ...options, residual: residualOf(residual, normed) };
  }

  function separately() {
    const normed = rmsNorm(x, norm.weight, norm);
    return { normed, product: moe(normed, w, withResidual(normed)) };
  }
}

function residualOf(residual: NormedMoeOptions["residual"], normed: Tensor): Residual | undefined {
  return residual && { ...residual, tensor: residual.tensor === "normed" ? normed : residual.tensor };
}

/** What an earlier launch has done, or the launch itself is to do before: see MoePlan. */
type Folded = Pick<MoePlan, "inner" | "fold">;

/** The experts that `routes` names; all operands are checked but the residual. */
function mixture(x: Tensor, w: MoeWeights, routes: Routes, options: MoeOptions, folded: Folded = {}): Tensor {
  const { experts: E, topK, residual, shared } = options;
  const { gateUp, down } = w;
  const [T = 0, H = 0] = x.shape;
  const I = down.columns;
  checkOperand("residual", residual?.tensor, [T, H], x);
  const { device } = x;
  const out = empty(device, [T, H], "f32", "moe");
  const plan: MoePlan = { x, ...folded, gateUp, down, routes, out, T, H, I, experts: E, topK, residual, shared };
  if (device.kind === "cpu") launchMoeCpu(device, plan);
  else launchMoeWebGpu(device, plan);

  const inputs = [x, routes.weights, gateUp.codes, down.codes];
  record("moe", inputs, [out], mixtureBackward(plan));
  return out;
}

function check(x: Tensor, { router, gateUp, down }: MoeWeights, { experts: E, shared }: MoeOptions): void {
  const [T, H] = x.shape;
  if (T === undefined || H === undefined || x.shape.length !== 2 || T < 1) {
    throw new ShapeError("moe", "x", "[T ≥ 1, H]", x.shape);
  }
  const I = down.columns;
  checkWeights("router", router, E, H, "[E, H]", x);
  checkWeights("down", down, E * H, I, "[E·H, I]", x);
  checkWeights("gateUp", gateUp, E * 2 * I, H, "[E·2·I, H]", x);
  checkOperand("x", x, [T, H], x);
  checkOperand("shared output", shared?.output, [T, H], x);
  checkOperand("shared coefficient", shared?.coefficient, [T, 1], x);
}

function checkWeights(name: string, w: WeightMatrix, rows: number, columns: number, axes: string, x: Tensor): void {
  if (w.device !== x.device) throw new TypeError(`moe: ${name} lives on another device than x`);
  if (w.rows !== rows || w.columns !== columns) {
    throw new ShapeError("moe", name, `[${rows}, ${columns}] (${axes})`, [w.rows, w.columns]);
  }
}

function checkOperand(name: string, tensor: Tensor | undefined, shape: readonly number[], x: Tensor): void {
  if (tensor === undefined) return;
  if (tensor.dtype !== "f32") throw new TypeError(`moe: ${name} expected f32, got ${tensor.dtype}`);
  if (tensor.device !== x.device) throw new TypeError(`moe: ${name} lives on another device than x`);
  if (!sameShape(tensor.shape, shape)) throw new ShapeError("moe", name, `[${shape.join(", ")}]`, tensor.shape);
}
