/** Training data: tokenised texts, exercises and retrieval documents, mixed and packed into batches. See `openBatches`. */
export type { BatchSource, TrainingBatch } from "./batch.js";
export { byteTokenizerFiles, byteVocabulary } from "./byte-tokenizer.js";
export { type ConversationOptions, conversationDocuments } from "./conversation.js";
export { type DataConfig, type DataSection, dataSchema, readDataSection } from "./data-config.js";
export { DataError } from "./data-error.js";
export type { DataFiles, TextContext, TextOptions } from "./data-files.js";
export { drawShard } from "./draw-shard.js";
export { documentMarks, encodeDocument, type Stretch } from "./encode-document.js";
export { type ExerciseMix, exerciseDrawer, exerciseSource, exerciseStretches } from "./exercise-source.js";
export { tokenizerFingerprint } from "./fingerprint.js";
export {
  type OpenBatches,
  type OpenBatchesOptions,
  type OpenSource,
  type OpenSources,
  type OpenSourcesOptions,
  openBatches,
  openSources,
} from "./open-batches.js";
export { type BatchSize, type PackedBatches, packedBatches, type WeightedSource } from "./packed-batches.js";
export { Permutation } from "./permutation.js";
export type { Piece, PieceSource } from "./piece.js";
export { heldOutRetrieval, type RetrievalMix, retrievalSource } from "./retrieval.js";
export { ShardReader } from "./shard-reader.js";
export { type ShardSource, shardSource } from "./shard-source.js";
export { ShardWriter } from "./shard-writer.js";
