/** Quantisation with calibration: rounding that keeps the products of real inputs, see `calibratedExperts`. */
export { type CalibrateOptions, calibratedExperts } from "./calibrate.js";
export { type ExpertMoments, type ExpertMomentsOptions, expertMoments } from "./expert-moments.js";
export { type KeyMeans, type KeyMeansOptions, keyMeans } from "./key-means.js";
export { type KvWidths, type KvWidthsOptions, kvWidths } from "./kv-widths.js";
