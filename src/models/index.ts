export { ConfigError } from "./config.js";
export { modelFingerprint, sha256 } from "./fingerprint.js";
export type { ExpertsPass, ForwardOptions, LanguageModel, LayerStates, ModelFamily } from "./language-model.js";
export { familyOf, type LoadModelOptions, loadLanguageModel } from "./load.js";
export { INT4_GROUPS, type LoadProgress, loadWeights, SCALE_SUFFIX, WeightsError } from "./load-weights.js";
export { tensorsOf } from "./measure.js";
export { type NamedRows, namedRows, ownNumbers, trainableTensors } from "./named-rows.js";
export { type MatrixPlace, matrixPlaces, type QuantizeOptions, quantizedTensors, roundToHalf } from "./quantize.js";
export { type Loaded, type MatrixPart, type MatrixSpec, specsOf, type VectorSpec } from "./weights.js";
