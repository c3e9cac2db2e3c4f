/** Norm of all gradients and the record that follows from it, in float64. */
import type { GlobalNormOptions } from "./global-norm.js";

export interface UpdateReference {
  norm: number;
  factor: number;
  isGood: boolean;
  lossScale: number;
  goodSteps: number;
  steps: number;
  c1: number;
  c2: number;
  skipped: number;
}

export function globalNormReference(
  gradients: readonly ArrayLike<number>[],
  before: UpdateReference,
  o: GlobalNormOptions = {},
): UpdateReference {
  const { maxNorm = Number.POSITIVE_INFINITY, growthSteps = 0, isLatched = false, beta1 = 0.9, beta2 = 0.999 } = o;
  let total = 0;
  for (const g of gradients) for (let i = 0; i < g.length; i++) total += (g[i] as number) ** 2;
  const { lossScale } = before;
  if (!Number.isFinite(total) || (isLatched && before.skipped > 0)) {
    const scale = growthSteps > 0 ? lossScale / 2 : lossScale;
    const skipped = before.skipped + 1;
    return { ...before, norm: total, factor: 0, isGood: false, lossScale: scale, goodSteps: 0, skipped };
  }
  const norm = Math.sqrt(total) / lossScale;
  const steps = before.steps + 1;
  const isGrowing = growthSteps > 0 && before.goodSteps + 1 >= growthSteps;
  return {
    norm,
    factor: Math.min(1, maxNorm / norm) / lossScale,
    isGood: true,
    lossScale: isGrowing ? lossScale * 2 : lossScale,
    goodSteps: isGrowing ? 0 : before.goodSteps + 1,
    steps,
    c1: 1 - beta1 ** steps,
    c2: 1 - beta2 ** steps,
    skipped: before.skipped,
  };
}
