export { AdamWMoments, type AdamWOptions, type AdamWTensor, adamw, type MomentName } from "./adamw/adamw.js";
export { attention } from "./attention/attention.js";
export { type KvPages, type KvSegment, PAGE_TOKENS } from "./attention/kv-pages.js";
export { type BalanceOptions, balanceLoss } from "./balance-loss/balance-loss.js";
export { type CausalAttentionOptions, causalAttention } from "./causal-attention/causal-attention.js";
export { joinColumns, splitColumns } from "./columns/columns.js";
export { type Conv2dOptions, conv2d } from "./conv2d/conv2d.js";
export { type CrossEntropyOptions, crossEntropy } from "./cross-entropy/cross-entropy.js";
export {
  type ActivationName,
  activate,
  add,
  addBias,
  blend,
  gated,
  mix,
  multiply,
  scale,
  sumRows,
} from "./elementwise/elementwise.js";
export { embedding } from "./embedding/embedding.js";
export { type Fft2Options, type FftOptions, type FftTables, fft2, fftTables } from "./fft2/fft2.js";
export { fwht, widestBlock } from "./fwht/fwht.js";
export { gatherLastTokens } from "./gather-rows/gather-rows.js";
export { type GlobalNormOptions, globalNorm, UPDATE, UPDATE_WORDS, updateRecord } from "./global-norm/global-norm.js";
export {
  checkpoint,
  type Parameters,
  pullback,
  type ValueAndGradient,
  valueAndGradient,
} from "./gradient/value-and-gradient.js";
export { type GroupNormOptions, groupNorm } from "./group-norm/group-norm.js";
export { layerNorm } from "./layer-norm/layer-norm.js";
export { lightningGradient } from "./lightning-attention/lightning-attention.gradient.js";
export { type LightningAttentionOptions, lightningAttention } from "./lightning-attention/lightning-attention.js";
export { matmul, normedMatmul } from "./matmul/matmul.js";
export { COLUMN_BLOCK, matrixFromTensor, type WeightKind, type WeightMatrix } from "./matmul/weight-matrix.js";
export type { EncodedWeights } from "./matmul/weights/codec.js";
export {
  checkpointRowBytes,
  createWeightMatrix,
  receiveRows,
  rowsPerPiece,
  type WeightShape,
  weightCodecs,
  weightFromFloat32,
  writeRows,
} from "./matmul/weights/create.js";
export { halfBits, halfValue } from "./matmul/weights/f16.js";
export { packInt4 } from "./matmul/weights/int4.js";
export { candidateScales, nearestCode } from "./matmul/weights/int4-scales.js";
export { moe, normedMoe } from "./moe/moe.js";
export { type MuonOptions, type MuonPart, type MuonTensor, muon } from "./muon/muon.js";
export { packedAttention } from "./packed-attention/packed-attention.js";
export {
  blockTokens,
  type CodeBits,
  PACKED_PAGE_TOKENS,
  type PackedFormat,
  packedEnd,
  pageSections,
  ringTokens,
  type SideFormat,
} from "./packed-kv/format.js";
export { dropMarks, type MarkRule, markTokens } from "./packed-kv/mark-tokens.js";
export { packKv, packRows } from "./packed-kv/pack.js";
export type { PackedPages, PackedSegment } from "./packed-kv/packed-pages.js";
export { type PreparedKv, prepareKv } from "./packed-kv/prepare.js";
export { meanAxes, repeatAxis, sumAxes } from "./reduce/reduce.js";
export { averagePool, upsampleNearest } from "./resample/resample.js";
export { type RowNorm, rmsNorm } from "./rms-norm/rms-norm.js";
export { type RopeScaling, type RopeTable, ropeFrequencies, ropeTable } from "./rope/rope.js";
export { ropeAppend } from "./rope-append/rope-append.js";
export { type RotateOptions, rotate } from "./rotate/rotate.js";
export { routeExperts } from "./route-experts/route-experts.js";
export { filteredProbabilities, markSeen, sample } from "./sample/sample.js";
export { advance } from "./step/advance.js";
export * from "./step/layout.js";
export { swapAxes } from "./swap-axes/swap-axes.js";
export { type TransposeOptions, transpose } from "./transpose/transpose.js";
