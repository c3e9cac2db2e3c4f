/**
 * The gradient of the weighted sum of experts, with a = SiLU(g) ⊙ u of each (token t, choice j) = pair p:
 *
 *   dA[p] = W2[e]ᵀ dy[t];           dw[p] = a[p] · dA[p]                       (to the routing)
 *   dg, du = w[p] · dA ⊙ gradients of SiLU(g) ⊙ u
 *   dx[t] = Σ over the token's pairs of W1[e]ᵀ dg + W3[e]ᵀ du
 *   dW1, dW3 of expert e = Σ over its pairs of dg xᵀ, du xᵀ;   dW2 = Σ w[p] dy aᵀ
 *
 * g and u are computed again; nothing but the operands is kept. Sums over an expert's pairs go in the tokens' order, so every
 * device and every number of threads adds alike.
 *
 * Axes      as in moe.ts; pairs p = t·k + j.
 * Precision float32.
 */
import { type Backward, empty, type Keep, type Tensor } from "../../tensor/index.js";
import { type ExpertPass, expertKernel, expertParams } from "./moe.gradient.wgsl.js";
import type { MoePlan } from "./plan.js";

/** For `record`, with the inputs [x, weights of the routes, codes of gateUp, codes of down]. */
export function mixtureBackward(plan: MoePlan): (keep: Keep) => Backward {
  const { T, H, I, experts: E, topK, gateUp, down } = plan;
  return (keep) => {
    const [x, weights, experts, gateUpCodes, downCodes] = keep(
      plan.x,
      plan.routes.weights,
      plan.routes.experts,
      gateUp.codes,
      down.codes,
    );
    return ([dy]) => {
      if (!dy) return [];
      const { device } = x;
      const pairs = T * topK;
      using starts = empty(device, [E + 1], "i32");
      using lists = empty(device, [pairs], "i32");
      using hidden = empty(device, [pairs, 2 * I]);
      using dHidden = empty(device, [pairs, 2 * I]);
      using inner = empty(device, [pairs, I]);
      const dWeights = empty(device, [T, topK]);
      const dx = empty(device, [T, H]);
      const dGateUp = empty(device, gateUpCodes.shape);
      const dDown = empty(device, downCodes.shape);
      const sizes = { T, H, I, E, topK, strideH: gateUp.rowStride, strideI: down.rowStride };
      const run = (
        pass: ExpertPass,
        buffers: readonly Tensor[],
        tasks: number,
        perTask: number,
        operations: number,
      ) => {
        const cost = { bytes: buffers.reduce((sum, { byteLength }) => sum + byteLength, 0), operations };
        if (device.kind === "cpu") {
          const values = [T, H, I, E, topK, sizes.strideH, sizes.strideI];
          const name = `moe${pass[0]!.toUpperCase()}${pass.slice(1)}`;
          device.run(name, { arguments: [...buffers, ...values], tasks, cost });
          return;
        }
        const isGroup = pass === "inner";
        const groups = isGroup ? tasks : Math.ceil((tasks * perTask) / 64);
        const width = Math.min(groups, 65_535);
        device.run(expertKernel(pass), {
          buffers,
          params: expertParams.write(sizes),
          grid: [width, Math.ceil(groups / width)],
          cost,
        });
      };
      const product = 2 * pairs * H * I;
      run("lists", [experts, starts, lists], device.kind === "cpu" ? 1 : E, 1, pairs);
      run("hidden", [x, experts, gateUpCodes, hidden], pairs, 2 * I, 2 * product);
      run("inner", [dy, experts, weights, downCodes, hidden, inner, dHidden, dWeights], pairs, I, product);
      run("inputs", [dHidden, experts, gateUpCodes, dx], T, H, 2 * product);
      run("gateUps", [x, dHidden, starts, lists, dGateUp], E * 2 * I, sizes.strideH, 2 * product);
      run("downs", [dy, weights, inner, starts, lists, dDown], E * H, sizes.strideI, product);
      return [dx, dWeights, dGateUp, dDown].map((tensor) => tensor.handOver());
    };
  };
}
