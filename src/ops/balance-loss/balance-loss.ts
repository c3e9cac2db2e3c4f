/**
 * The load-balancing loss of a router: least where all experts are chosen alike.
 *
 *   p[n] = softmax(logits[n]);   f[e] = how often e is among the k largest of p[n], over N;   m[e] = Σ_n p[n, e] / N
 *   loss = coefficient · E · Σ over e of f[e] · m[e]
 *   dlogits[n, e] = coefficient · E / N · p[n, e] · (f[e] − Σ over i of p[n, i] f[i])      (f is constant)
 *
 * Axes      n runs over the tokens of all layers, N of them; E experts; k choices. logits: f32 [T, E] of each layer.
 * Precision float32; sums in blocks of BLOCK tokens, in order.
 * Source    Fedus et al. 2021, arXiv 2101.03961, section 2.2, for several choices and all layers together as transformers'
 *           load_balancing_loss_func has it (MiniMaxForCausalLM): k where all are chosen alike, times the coefficient.
 */
import { type Device, f32 } from "../../device/index.js";
import { type Backward, empty, type Keep, record, ShapeError, type Tensor, withTape } from "../../tensor/index.js";
import { routeExperts } from "../route-experts/route-experts.js";
import { type BalancePass, BLOCK, balanceKernel, balanceParams } from "./balance-loss.wgsl.js";

export interface BalanceOptions {
  /** k. */
  readonly topK: number;
  readonly coefficient: number;
}

/**
 * @param logits of each layer, [T, E] before the softmax.
 * @returns f32 [1].
 * @throws {ShapeError} no layer, or layers of different numbers of experts.
 */
export function balanceLoss(logits: readonly Tensor[], { topK, coefficient }: BalanceOptions): Tensor {
  const [first] = logits;
  if (!first) throw new ShapeError("balanceLoss", "logits", "at least one layer", []);
  const [, E = 0] = first.shape;
  const odd = logits.find(({ shape }) => shape.length !== 2 || shape[1] !== E);
  if (odd) throw new ShapeError("balanceLoss", "logits", `[T, E=${E}] in each layer`, odd.shape);
  const { device } = first;
  const tokens = logits.reduce((sum, { shape: [T = 0] }) => sum + T, 0);
  const blocks = logits.map(({ shape: [T = 0] }) => Math.ceil(T / BLOCK));
  const allBlocks = blocks.reduce((a, b) => a + b, 0);
  // Of each block: sums of probabilities, then counts.
  using parts = empty(device, [allBlocks, 2, E]);
  using shares = empty(device, [E]);
  const loss = empty(device, [1]);
  const sizes = { experts: E, topK, all: tokens, coefficient };
  let firstBlock = 0;
  for (const [layer, z] of logits.entries()) {
    const [T = 0] = z.shape;
    const routes = withTape(undefined, () => routeExperts(z, { topK, normalise: false }));
    launch(device, "sums", [z, routes.experts, parts], { ...sizes, tokens: T, first: firstBlock }, blocks[layer] ?? 0);
    routes.experts.dispose();
    routes.weights.dispose();
    firstBlock += blocks[layer] ?? 0;
  }
  launch(device, "loss", [parts, shares, loss], { ...sizes, tokens: 0, first: allBlocks }, 1);
  record("balanceLoss", logits, [loss], backward(logits, shares, sizes));
  return loss;
}

interface Sizes {
  readonly experts: number;
  readonly topK: number;
  /** N. */
  readonly all: number;
  readonly coefficient: number;
}

function backward(logits: readonly Tensor[], shares: Tensor, sizes: Sizes): (keep: Keep) => Backward {
  return (keep) => {
    const layers = keep(...logits);
    const [shares_] = keep(shares);
    return ([dLoss], needs) => {
      if (!dLoss) return [];
      return layers.map((z, layer) => {
        if (!needs[layer]) return undefined;
        const [T = 0] = z.shape;
        const dz = empty(z.device, z.shape);
        launch(z.device, "gradient", [z, shares_, dLoss, dz], { ...sizes, tokens: T, first: 0 }, Math.ceil(T / BLOCK));
        return dz.handOver();
      });
    };
  };
}

function launch(
  device: Device,
  pass: BalancePass,
  buffers: readonly Tensor[],
  sizes: Sizes & { readonly tokens: number; readonly first: number },
  blocks: number,
): void {
  const { tokens, first, experts, topK, all, coefficient } = sizes;
  const cost = {
    bytes: buffers.reduce((sum, { byteLength }) => sum + byteLength, 0),
    operations: 4 * tokens * experts,
  };
  const factor = (coefficient * experts) / all;
  if (device.kind === "cpu") {
    const name = { sums: "balanceSums", loss: "balanceLoss", gradient: "balanceGradient" }[pass];
    device.run(name, {
      arguments: [...buffers, tokens, first, experts, topK, all, f32(factor)],
      tasks: pass === "loss" ? 1 : blocks,
      cost,
    });
    return;
  }
  const width = Math.min(blocks, device.limits.maxWorkgroupsPerDimension);
  device.run(balanceKernel(pass), {
    buffers,
    params: balanceParams.write({ tokens, first, experts, topK, all, factor }),
    grid: [width, Math.ceil(blocks / width)],
    cost,
  });
}
