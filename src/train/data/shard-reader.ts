/**
 * Reads a shard: any stretch of any document, straight from the file. What stays in memory is the list of checksums
 * (a four-thousandth of the file) and a note of which blocks have been checked.
 */
import type { ByteSource } from "../../formats/index.js";
import { crc32 } from "../tasks/index.js";
import { DataError } from "./data-error.js";
import {
  blockBytes,
  edgeBytes,
  entryBytes,
  flag,
  readEntry,
  readHeader,
  readTrailer,
  type ShardEntry,
  type ShardHeader,
  type ShardTotals,
} from "./shard-format.js";

/** Ids of a stretch of a document and which of them count. */
export interface ShardStretch {
  readonly ids: number[];
  readonly loss: boolean[];
}

/** An open shard. Every block is checked when it is first read. */
export class ShardReader {
  readonly #source: ByteSource;
  readonly #checks: DataView;
  readonly #isChecked: Uint8Array;

  private constructor(
    source: ByteSource,
    readonly header: ShardHeader,
    readonly totals: ShardTotals,
    checks: Uint8Array,
  ) {
    this.#source = source;
    this.#checks = new DataView(checks.buffer, checks.byteOffset, checks.byteLength);
    this.#isChecked = new Uint8Array(Math.ceil(checks.byteLength / 4 / 8));
  }

  /** @throws {DataError} the file is no shard, is cut short, or is damaged at its edges. */
  static async open(source: ByteSource, signal?: AbortSignal): Promise<ShardReader> {
    const { name, size } = source;
    if (size < 2 * edgeBytes) throw new DataError(name, "", `expected a shard, got a file of ${size} bytes`);
    const header = readHeader(await source.read(0, edgeBytes, signal));
    if (typeof header === "string") throw new DataError(name, "byte 0", header);
    const at = size - edgeBytes;
    const totals = readTrailer(await source.read(at, edgeBytes, signal), size);
    if (typeof totals === "string") throw new DataError(name, `byte ${at}`, totals);
    const checks = await source.read(totals.checksOffset, at - totals.checksOffset, signal);
    if (crc32(checks) !== totals.checksCrc) {
      throw new DataError(name, `byte ${totals.checksOffset}`, "the list of checksums is damaged");
    }
    return new ShardReader(source, header, totals, checks);
  }

  get name(): string {
    return this.#source.name;
  }

  get documents(): number {
    return this.totals.documents;
  }

  /** Entries of the index from `first` on. */
  async entries(first: number, count: number): Promise<ShardEntry[]> {
    const { indexOffset, documents } = this.totals;
    if (first < 0 || first + count > documents) {
      throw new RangeError(`${this.name}: documents expected inside 0…${documents}, got ${first} and ${count} on.`);
    }
    const bytes = await this.#read(indexOffset + first * entryBytes, count * entryBytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return Array.from({ length: count }, (_, i) => readEntry(view, i * entryBytes));
  }

  /** `count` ids of a document from its id `first` on. */
  async stretch(entry: ShardEntry, first: number, count: number): Promise<ShardStretch> {
    const { idBytes, vocabSize } = this.header;
    if (first < 0 || first + count > entry.ids) {
      throw new RangeError(`${this.name}: ids expected inside 0…${entry.ids}, got ${first} and ${count} on.`);
    }
    const at = entry.offset + first * idBytes;
    const bytes = await this.#read(at, count * idBytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const ids: number[] = new Array(count);
    for (let i = 0; i < count; i++) {
      const id = idBytes === 2 ? view.getUint16(2 * i, true) : view.getUint32(4 * i, true);
      if (id >= vocabSize) {
        throw new DataError(this.name, `byte ${at + i * idBytes}`, `expected ids below ${vocabSize}, got ${id}`);
      }
      ids[i] = id;
    }
    if (!(entry.flags & flag.hasLossBits)) return { ids, loss: new Array<boolean>(count).fill(true) };
    const firstByte = first >> 3;
    const bits = await this.#read(
      entry.offset + entry.ids * idBytes + firstByte,
      ((first + count - 1) >> 3) - firstByte + 1,
    );
    const loss = ids.map((_, i) => ((bits[((first + i) >> 3) - firstByte]! >> ((first + i) & 7)) & 1) === 1);
    return { ids, loss };
  }

  close(): Promise<void> {
    return this.#source.close();
  }

  /** Bytes of records and index; a block that nobody has seen yet is read whole and checked. */
  async #read(offset: number, length: number): Promise<Uint8Array> {
    const { checksOffset } = this.totals;
    if (offset + length > checksOffset) {
      throw new DataError(this.name, `byte ${offset}`, `expected ${length} bytes before ${checksOffset} (wrong index)`);
    }
    const [first, last] = [
      Math.floor(offset / blockBytes),
      Math.floor((offset + Math.max(length, 1) - 1) / blockBytes),
    ];
    let isKnown = true;
    for (let block = first; block <= last; block++) isKnown &&= this.#knows(block);
    if (isKnown) return this.#source.read(offset, length);

    const begin = first * blockBytes;
    const end = Math.min((last + 1) * blockBytes, checksOffset);
    const bytes = await this.#source.read(begin, end - begin);
    for (let block = first; block <= last; block++) {
      if (this.#knows(block)) continue;
      const from = block * blockBytes - begin;
      const sum = crc32(bytes.subarray(from, Math.min(from + blockBytes, bytes.length)));
      if (sum !== this.#checks.getUint32(4 * block, true)) {
        throw new DataError(
          this.name,
          `bytes ${begin + from} to ${Math.min(begin + from + blockBytes, checksOffset) - 1}`,
          "damaged (wrong checksum); delete the shard to have it made again",
        );
      }
      this.#isChecked[block >> 3]! |= 1 << (block & 7);
    }
    return bytes.subarray(offset - begin, offset - begin + length);
  }

  #knows(block: number): boolean {
    return ((this.#isChecked[block >> 3]! >> (block & 7)) & 1) === 1;
  }
}
