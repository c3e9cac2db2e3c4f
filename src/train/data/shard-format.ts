/**
 * The file format of tokenised documents ("shard"), version 1. All numbers are little-endian.
 *
 *   header    64 bytes: magic "FULGSHD1"; u32 bytes of an id (2 or 4); u32 vocabulary size; 16 bytes fingerprint of the tokenizer;
 *             zeros.
 *   records   one a document: its ids; then, when the loss is not on all of them, one bit an id (bit i & 7 of byte i >> 3: foretelling
 *             id i counts); zeros to a multiple of 4 bytes.
 *   index     16 bytes a document: u64 offset of the record in the file; u32 ids; u32 flags (1: has loss bits, 2: whole).
 *   checks    u32 CRC-32 of each block of 16 KiB of everything before; the last block may be shorter.
 *   trailer   64 bytes: magic "FULGEND1"; u64 offset of the index; u64 documents; u64 ids; u64 ids that count; u64 offset of the checks;
 *             8 zeros; u32 CRC-32 of the checks; u32 CRC-32 of the trailer's first 60 bytes.
 *
 * The totals stand at the end, so that a shard is written in one pass without knowing how long it becomes. A document's ids hold what is
 * only foretold as well: n ids are n − 1 tokens of a row. Whole documents are conversations: a piece that begins in the middle of one
 * would be an answer without its question.
 */
import { crc32 } from "../tasks/index.js";

/** Bytes of the header and of the trailer. */
export const edgeBytes = 64;
/** Bytes that one check covers: small enough to be read for a single document. */
export const blockBytes = 16 * 1024;
/** Bytes of an entry of the index. */
export const entryBytes = 16;

/** Flags of a document. */
export const flag = { hasLossBits: 1, isWhole: 2 } as const;

/** What the header says. */
export interface ShardHeader {
  readonly idBytes: 2 | 4;
  readonly vocabSize: number;
  /** 32 hexadecimal digits; see `tokenizerFingerprint`. */
  readonly fingerprint: string;
}

/** What the trailer says. */
export interface ShardTotals {
  readonly indexOffset: number;
  readonly documents: number;
  readonly ids: number;
  /** Ids that carry loss. */
  readonly counted: number;
  readonly checksOffset: number;
  readonly checksCrc: number;
}

/** One entry of the index. */
export interface ShardEntry {
  readonly offset: number;
  readonly ids: number;
  readonly flags: number;
}

const headMagic = "FULGSHD1";
const endMagic = "FULGEND1";

const ascii = (bytes: Uint8Array): string => String.fromCharCode(...bytes.subarray(0, 8));

function setAscii(bytes: Uint8Array, text: string): void {
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
}

export function headerBytes(header: ShardHeader): Uint8Array {
  const bytes = new Uint8Array(edgeBytes);
  const view = new DataView(bytes.buffer);
  setAscii(bytes, headMagic);
  view.setUint32(8, header.idBytes, true);
  view.setUint32(12, header.vocabSize, true);
  for (let i = 0; i < 16; i++) bytes[16 + i] = Number.parseInt(header.fingerprint.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

/** @returns the complaint as text when this is no header. */
export function readHeader(bytes: Uint8Array): ShardHeader | string {
  if (ascii(bytes) !== headMagic) return `expected a shard ("${headMagic}"), got another kind of file`;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const idBytes = view.getUint32(8, true);
  if (idBytes !== 2 && idBytes !== 4) return `expected ids of 2 or 4 bytes, got ${idBytes}`;
  const fingerprint = Array.from(bytes.subarray(16, 32), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { idBytes, vocabSize: view.getUint32(12, true), fingerprint };
}

export function trailerBytes(totals: ShardTotals): Uint8Array {
  const bytes = new Uint8Array(edgeBytes);
  const view = new DataView(bytes.buffer);
  setAscii(bytes, endMagic);
  const counts = [totals.indexOffset, totals.documents, totals.ids, totals.counted, totals.checksOffset];
  for (const [i, count] of counts.entries()) setU64(view, 8 + 8 * i, count);
  view.setUint32(56, totals.checksCrc, true);
  view.setUint32(60, crc32(bytes.subarray(0, 60)), true);
  return bytes;
}

/** @returns the complaint as text when this is no trailer of a file of `size` bytes. */
export function readTrailer(bytes: Uint8Array, size: number): ShardTotals | string {
  if (ascii(bytes) !== endMagic) return "expected the trailer of a shard, got other bytes (is the file cut short?)";
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(60, true) !== crc32(bytes.subarray(0, 60))) return "the trailer's checksum is wrong";
  const [indexOffset, documents, ids, counted, checksOffset] = [0, 1, 2, 3, 4].map((i) => getU64(view, 8 + 8 * i)) as [
    number,
    number,
    number,
    number,
    number,
  ]; // five counts
  const expected = checksOffset + 4 * Math.ceil(checksOffset / blockBytes) + edgeBytes;
  if (indexOffset + entryBytes * documents !== checksOffset || expected !== size) {
    return `expected ${expected} bytes by the trailer's totals, got ${size}`;
  }
  return { indexOffset, documents, ids, counted, checksOffset, checksCrc: view.getUint32(56, true) };
}

export function writeEntry(view: DataView, at: number, entry: ShardEntry): void {
  setU64(view, at, entry.offset);
  view.setUint32(at + 8, entry.ids, true);
  view.setUint32(at + 12, entry.flags, true);
}

export function readEntry(view: DataView, at: number): ShardEntry {
  return { offset: getU64(view, at), ids: view.getUint32(at + 8, true), flags: view.getUint32(at + 12, true) };
}

function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

const getU64 = (view: DataView, at: number): number =>
  view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
