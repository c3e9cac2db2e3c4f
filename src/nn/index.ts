export { type AttentionOptions, type AttentionWeights, attentionBlock } from "./attention-block.js";
export type { AttendOptions, CacheSnapshot, HeadOptions, LayerCache } from "./kv-cache.js";
export {
  LIGHTNING_NORM_EPS,
  type LightningWeights,
  lightningBlock,
  lightningSlopes,
  slopeFactor,
} from "./lightning-block.js";
export { gatedMlp, type MlpWeights } from "./mlp.js";
export { type Branch, plainBranch, plainResidual, type Residual } from "./residual.js";
export { buildStep, type OwnedStep, type StepRow } from "./step-buffer.js";
