/**
 * Documents of a source that draws, written down: drawing and tokenising exercises takes a core some 150,000 tokens a second, and a large
 * GPU trains faster than that.
 */
import type { ByteSink } from "../../formats/index.js";
import type { PieceSource } from "./piece.js";
import type { ShardHeader, ShardTotals } from "./shard-format.js";
import { ShardWriter } from "./shard-writer.js";

/** Writes the source's first `count` documents as a shard. */
export async function drawShard(
  source: PieceSource,
  count: number,
  sink: ByteSink,
  header: ShardHeader,
  { signal, onProgress }: { readonly signal?: AbortSignal; readonly onProgress?: (done: number) => void } = {},
): Promise<ShardTotals> {
  const writer = new ShardWriter(sink, header);
  for (let n = 0; n < count; n++) {
    signal?.throwIfAborted();
    const { ids, loss, isWhole } = await source.piece(n);
    await writer.append(ids, Array.from(loss, Boolean));
    await writer.endDocument({ isWhole });
    onProgress?.(n + 1);
  }
  return writer.finish();
}
