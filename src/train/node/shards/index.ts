/** Shards on this machine's disk. */
export { ensureShard, nodeDataFiles, type ShardStoreOptions, shardEnding } from "./shard-store.js";
export { lines, type ReadingOptions, readStart, textChunks } from "./text-file.js";
export { isJsonLines, tokeniseFile } from "./tokenise-file.js";
