/** Writes a shard in one pass: documents piece by piece, so that none has to be in memory. */
import type { ByteSink } from "../../formats/index.js";
import { crc32 } from "../tasks/index.js";
import {
  blockBytes,
  entryBytes,
  flag,
  headerBytes,
  type ShardHeader,
  type ShardTotals,
  trailerBytes,
  writeEntry,
} from "./shard-format.js";

// Documents end at a multiple of this, so that ids of four bytes stay aligned.
const alignment = 4;

/** Call `append` for the parts of a document, then `endDocument`; at the end `finish`. */
export class ShardWriter {
  readonly #sink: ByteSink;
  readonly #header: ShardHeader;
  #block = new Uint8Array(blockBytes);
  #filled = 0;
  #position = 0;
  readonly #checks: number[] = [];
  // The index as columns: objects would need ten times the memory.
  readonly #offsets: number[] = [];
  readonly #counts: number[] = [];
  readonly #flags: number[] = [];
  #documentOffset = -1;
  #documentIds = 0;
  #documentLoss: boolean[] | undefined;
  #ids = 0;
  #counted = 0;

  constructor(sink: ByteSink, header: ShardHeader) {
    this.#sink = sink;
    this.#header = header;
  }

  /** Documents written so far. */
  get documents(): number {
    return this.#counts.length;
  }

  /** Ids written so far, of the open document too. */
  get ids(): number {
    return this.#ids;
  }

  /** Ids so far that carry loss. */
  get counted(): number {
    return this.#counted;
  }

  /**
   * A part of the document; the first one opens it.
   *
   * @param loss for each id whether it counts; absent: all do. Either all parts of a document have it or none.
   */
  async append(ids: readonly number[], loss?: readonly boolean[]): Promise<void> {
    if (ids.length === 0) return;
    const { idBytes, vocabSize } = this.#header;
    if (this.#documentOffset < 0) {
      if (this.#position === 0) await this.#write(headerBytes(this.#header));
      this.#documentOffset = this.#position;
      this.#documentLoss = loss === undefined ? undefined : [];
    }
    const bytes = new Uint8Array(ids.length * idBytes);
    const view = new DataView(bytes.buffer);
    for (const [i, id] of ids.entries()) {
      if (!(Number.isInteger(id) && id >= 0 && id < vocabSize)) {
        throw new RangeError(`shard: token id expected 0 to ${vocabSize - 1}, got ${id}.`);
      }
      if (idBytes === 2) view.setUint16(2 * i, id, true);
      else view.setUint32(4 * i, id, true);
    }
    if ((loss === undefined) !== (this.#documentLoss === undefined) || (loss && loss.length !== ids.length)) {
      throw new RangeError("internal: shard: every part of a document has a loss mask of its length, or none has.");
    }
    for (const counts of loss ?? []) this.#documentLoss?.push(counts);
    this.#documentIds += ids.length;
    this.#ids += ids.length;
    await this.#write(bytes);
  }

  /** Closes the document. One with fewer than two ids has nothing to foretell: it stays out of the index. */
  async endDocument({ isWhole = false }: { readonly isWhole?: boolean } = {}): Promise<void> {
    if (this.#documentOffset < 0) return;
    const loss = this.#documentLoss;
    const counted = loss ? loss.reduce((sum, counts, i) => sum + (i > 0 && counts ? 1 : 0), 0) : this.#documentIds - 1;
    const hasLossBits = loss !== undefined && counted < this.#documentIds - 1;
    if (hasLossBits) {
      const bits = new Uint8Array(Math.ceil(loss.length / 8));
      for (const [i, counts] of loss.entries()) if (counts) bits[i >> 3]! |= 1 << (i & 7);
      await this.#write(bits);
    }
    await this.#write(new Uint8Array((alignment - (this.#position % alignment)) % alignment));
    if (counted > 0) {
      this.#offsets.push(this.#documentOffset);
      this.#counts.push(this.#documentIds);
      this.#flags.push((hasLossBits ? flag.hasLossBits : 0) | (isWhole ? flag.isWhole : 0));
      this.#counted += counted;
    } else {
      this.#ids -= this.#documentIds;
    }
    this.#documentOffset = -1;
    this.#documentIds = 0;
    this.#documentLoss = undefined;
  }

  /** Index, checks, trailer. Nothing may follow. */
  async finish(): Promise<ShardTotals> {
    if (this.#position === 0) await this.#write(headerBytes(this.#header));
    const indexOffset = this.#position;
    const documents = this.#counts.length;
    const group = 1024;
    for (let first = 0; first < documents; first += group) {
      const count = Math.min(group, documents - first);
      const bytes = new Uint8Array(count * entryBytes);
      const view = new DataView(bytes.buffer);
      for (let i = 0; i < count; i++) {
        const [offset, ids, flags] = [this.#offsets[first + i]!, this.#counts[first + i]!, this.#flags[first + i]!];
        writeEntry(view, i * entryBytes, { offset, ids, flags });
      }
      await this.#write(bytes);
    }
    const checksOffset = this.#position;
    if (this.#filled > 0) await this.#endBlock();
    const checks = new Uint8Array(4 * this.#checks.length);
    const view = new DataView(checks.buffer);
    for (const [i, check] of this.#checks.entries()) view.setUint32(4 * i, check, true);
    const totals = {
      indexOffset,
      documents,
      ids: this.#ids,
      counted: this.#counted,
      checksOffset,
      checksCrc: crc32(checks),
    };
    await this.#sink.write(checks);
    await this.#sink.write(trailerBytes(totals));
    return totals;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    this.#position += bytes.length;
    for (let done = 0; done < bytes.length; ) {
      const count = Math.min(bytes.length - done, blockBytes - this.#filled);
      this.#block.set(bytes.subarray(done, done + count), this.#filled);
      this.#filled += count;
      done += count;
      if (this.#filled === blockBytes) await this.#endBlock();
    }
  }

  async #endBlock(): Promise<void> {
    const block = this.#block.subarray(0, this.#filled);
    this.#checks.push(crc32(block));
    await this.#sink.write(block);
    this.#block = new Uint8Array(blockBytes); // the sink may still hold the old one
    this.#filled = 0;
  }
}
