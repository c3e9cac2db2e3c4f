/**
 * Learning rates over the steps of a training: what a step's rate is, as a share of the largest.
 *
 *   constant  warm-up, then 1
 *   cosine    warm-up, then half a cosine from 1 down to `final` at the last step
 *   wsd       warm-up, stable at 1, then a straight line down to `final` over the last `decaySteps` (warm-up–stable–decay)
 *
 * Warm-up is a straight line: step s (from 0) has (s + 1) / warmupSteps, so that no step is lost at rate 0.
 *
 * Source  cosine: Loshchilov & Hutter 2017, arXiv 1608.03983; warm-up–stable–decay: Hu et al. 2024, arXiv 2404.06395.
 */

export type Schedule =
  | { readonly kind: "constant"; readonly warmupSteps?: number | undefined }
  | { readonly kind: "cosine"; readonly warmupSteps?: number | undefined; readonly final?: number | undefined }
  | {
      readonly kind: "wsd";
      readonly warmupSteps?: number | undefined;
      readonly decaySteps: number;
      readonly final?: number | undefined;
    };

/**
 * The share of the largest rate at a step.
 *
 * @param step from 0. @param steps of the whole training. Beyond its end the last step's share goes on.
 */
export function scheduleShare(schedule: Schedule, step: number, steps: number): number {
  const { warmupSteps = 0 } = schedule;
  if (step < warmupSteps) return (step + 1) / warmupSteps;
  if (schedule.kind === "constant") return 1;
  const { final = schedule.kind === "cosine" ? 0.1 : 0 } = schedule;
  // The first step after the warm-up has 1, the last step of the training has `final`.
  const first = schedule.kind === "cosine" ? warmupSteps : Math.max(warmupSteps, steps - schedule.decaySteps);
  if (step < first) return 1;
  const way = steps - 1 > first ? Math.min(1, (step - first) / (steps - 1 - first)) : 1;
  const share = schedule.kind === "cosine" ? (1 + Math.cos(Math.PI * way)) / 2 : 1 - way;
  return final + (1 - final) * share;
}
