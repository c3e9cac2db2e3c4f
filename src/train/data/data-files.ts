/** What reading training data needs of the machine: where there is a file system, `train/node/shards` gives it. */
import type { ChatTemplate, Tokenizer } from "../../text/index.js";
import type { ShardReader } from "./shard-reader.js";

/** How a text is tokenised; part of a shard's name. */
export interface TextOptions {
  /** Stands between documents of a plain text. Default: a NUL character. "": the file is one document. */
  readonly separator?: string | undefined;
  /** Conversations: which tokens count. Default: the assistant's answers. */
  readonly loss?: "answer" | "all" | undefined;
}

/** What all texts of a run share. */
export interface TextContext {
  readonly tokenizer: Tokenizer;
  /** Needed for conversations only. */
  readonly template: ChatTemplate | undefined;
  /** Of the tokenizer and the template (`tokenizerFingerprint`). */
  readonly fingerprint: string;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of the file that have been read, of all that it has. Only while a shard is made. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Files by their paths. */
export interface DataFiles {
  /** The files of a folder that hold texts, in order of their names; a file is itself. */
  list(path: string): Promise<readonly string[]>;
  /** The shard of a text, made when there is none. The caller closes it. */
  openShard(path: string, options: TextOptions, context: TextContext): Promise<ShardReader>;
  /** The first characters of a text. */
  readStart(path: string, limit: number, signal?: AbortSignal): Promise<string>;
}
