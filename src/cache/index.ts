export {
  CALIBRATION_FILE,
  CalibrationError,
  type CalibrationShape,
  calibrationTensors,
  type KvCalibration,
  type LayerCalibration,
  type LayerWidths,
  readCalibration,
} from "./calibration.js";
export { FullCache } from "./full.js";
export type { PackedOptions } from "./packed-options.js";
export { PoolError, type PoolOptions, Sequence, SequencePool, type SequenceSnapshot, type StateSpec } from "./pool.js";
export { type CacheConfig, type CacheKind, type CacheName, cacheKind, cacheNames } from "./registry.js";
