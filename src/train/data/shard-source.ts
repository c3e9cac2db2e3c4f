/**
 * Pieces of shards, each once a pass, in an order that a seed and the pass decide.
 *
 * A document of L tokens is cut into ⌈L / sequence⌉ pieces of equal size. The pieces are shuffled, not the documents: a book lasts
 * for many steps, and steps that see one book alone pull the weights its way. Whole documents (conversations) give their first
 * `sequence` tokens only.
 *
 * Memory   one number for 64 documents: how many pieces come before them. The rest is read when it is needed.
 */
import { Permutation } from "./permutation.js";
import type { Piece, PieceSource } from "./piece.js";
import { flag, type ShardEntry } from "./shard-format.js";
import type { ShardReader } from "./shard-reader.js";

const group = 64;

/** Options of {@link shardSource}. */
export interface ShardSourceOptions {
  readonly name: string;
  /** Tokens of a piece at most. */
  readonly sequence: number;
  readonly seed: string;
  readonly signal?: AbortSignal | undefined;
}

/** A source over open shards; more than one count as one text. */
export interface ShardSource extends PieceSource {
  /** Pieces of one pass. */
  readonly epoch: number;
  /** Documents whose end is never seen, because they are whole and longer than `sequence`. */
  readonly truncated: number;
}

const piecesOf = ({ ids, flags }: ShardEntry, sequence: number): number =>
  flags & flag.isWhole ? 1 : Math.ceil((ids - 1) / sequence);

/** Reads the shards' indices once. @throws {DataError} an index is damaged. @throws {RangeError} there is no document. */
export async function shardSource(
  shards: readonly ShardReader[],
  { name, sequence, seed, signal }: ShardSourceOptions,
): Promise<ShardSource> {
  const starts: Float64Array[] = []; // per shard: pieces before each group of documents, over all shards
  let total = 0;
  let truncated = 0;
  for (const shard of shards) {
    const before = new Float64Array(Math.ceil(shard.documents / group));
    for (let first = 0; first < shard.documents; first += group) {
      signal?.throwIfAborted();
      before[first / group] = total;
      for (const entry of await shard.entries(first, Math.min(group, shard.documents - first))) {
        total += piecesOf(entry, sequence);
        if (entry.flags & flag.isWhole && entry.ids - 1 > sequence) truncated++;
      }
    }
    starts.push(before);
  }
  if (total === 0) throw new RangeError(`${name}: expected at least one document, got none.`);
  const epoch = total;
  let order: { readonly pass: number; readonly permutation: Permutation } | undefined;

  const locate = async (index: number): Promise<Piece> => {
    let at = 0;
    for (let s = 1; s < shards.length; s++) if (starts[s]!.length > 0 && starts[s]![0]! <= index) at = s;
    const before = starts[at]!;
    let [low, high] = [0, before.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (before[middle]! <= index) low = middle;
      else high = middle - 1;
    }
    const shard = shards[at]!;
    let left = index - before[low]!;
    for (const entry of await shard.entries(low * group, Math.min(group, shard.documents - low * group))) {
      const count = piecesOf(entry, sequence);
      if (left >= count) {
        left -= count;
        continue;
      }
      const isWhole = (entry.flags & flag.isWhole) !== 0;
      const size = isWhole ? Math.min(sequence, entry.ids - 1) : Math.ceil((entry.ids - 1) / count);
      const first = left * size;
      return { ...(await shard.stretch(entry, first, Math.min(size, entry.ids - 1 - first) + 1)), isWhole };
    }
    throw new Error(`internal: ${name}: piece ${index} was not found in its group.`);
  };

  return {
    name,
    epoch,
    truncated,
    piece(n) {
      const pass = Math.floor(n / epoch);
      if (order?.pass !== pass) order = { pass, permutation: new Permutation(epoch, `${seed}/pass ${pass}`) };
      return locate(order.permutation.at(n % epoch));
    },
  };
}
