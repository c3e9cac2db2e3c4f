/**
 * Reading safetensors headers.
 *
 *   file = header length (8 bytes, little-endian) · header (JSON, padded with spaces) · data
 *   header = { name: { dtype, shape, data_offsets: [begin, end) in the data }, …, "__metadata__"?: { text: text } }
 *
 * A file is checked whole before anything of it is used: every tensor lies inside the data, is as long as its shape
 * and dtype say, and the tensors cover the data without a hole or an overlap. Only the header is read, so a file
 * cannot ask for more memory than its own header's size warrants.
 *
 * Source  the safetensors format (huggingface/safetensors, README "Format").
 * Departs keys that come twice are an error (the format forbids them, most readers take the last).
 *         Fields of an entry beyond the three are ignored, as elsewhere.
 */
import type { ByteSource } from "./byte-source.js";
import { CheckpointError, quote } from "./checkpoint-error.js";
import { isJsonObject, parseJson } from "./json.js";
import {
  isCount,
  isSafetensorsDtype,
  type SafetensorsDtype,
  safetensorsDtypes,
  tensorBytes,
} from "./safetensors-dtype.js";

/** Where a tensor lies. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** First byte, from the beginning of `source`. */
  readonly offset: number;
  readonly byteLength: number;
  readonly source: ByteSource;
}

export interface SafetensorsFile {
  readonly source: ByteSource;
  /** The header's `__metadata__`; empty when it has none. */
  readonly metadata: Readonly<Record<string, string>>;
  /** In the order of their offsets. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

/** The format's limit on the header: 100 MB. */
export const maxHeaderBytes = 100_000_000;

/** The header's key that is not a tensor. */
export const metadataKey = "__metadata__";

const lengthBytes = 8;

/**
 * Reads and checks the header.
 *
 * @throws {CheckpointError} the file is not a sound safetensors file.
 */
export async function readSafetensorsHeader(source: ByteSource, signal?: AbortSignal): Promise<SafetensorsFile> {
  const file = source.name;
  const headerLength = await readHeaderLength(source, signal);
  const header = parseHeader(await source.read(lengthBytes, headerLength, signal), file);
  const dataStart = lengthBytes + headerLength;
  const dataLength = source.size - dataStart;

  const entries = Object.entries(header)
    .filter(([name]) => name !== metadataKey)
    .map(([name, value]) => readEntry(source, dataStart, dataLength, name, value))
    .sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  checkCoverage(entries, dataStart, source);
  return {
    source,
    metadata: readMetadata(header, file),
    tensors: new Map(entries.map((entry) => [entry.name, entry])),
  };
}

async function readHeaderLength(source: ByteSource, signal: AbortSignal | undefined): Promise<number> {
  const fail = (detail: string): never => {
    throw new CheckpointError(source.name, "header length", detail);
  };
  if (source.size < lengthBytes) fail(`expected 8 bytes, got a file of ${source.size}`);
  const bytes = await source.read(0, lengthBytes, signal);
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (length >= 2n ** 63n) fail(`expected less than 2⁶³, got ${length}`);
  if (length > maxHeaderBytes)
    fail(`expected at most ${maxHeaderBytes} bytes, got ${length} (not a safetensors file?)`);
  if (length > source.size - lengthBytes) {
    fail(
      `expected at most ${source.size - lengthBytes} (what follows it in the file), got ${length} (truncated file?)`,
    );
  }
  return Number(length);
}

function parseHeader(bytes: Uint8Array, file: string): Record<string, unknown> {
  let text: string;
  try {
    // ignoreBOM keeps a byte order mark in the text, where it is an error: the header begins with "{".
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new CheckpointError(file, "header", "expected UTF-8, got other bytes", { cause });
  }
  const header = parseJson(text, { file, field: "header", duplicateKeys: "reject" });
  if (!isJsonObject(header)) throw new CheckpointError(file, "header", `expected an object, got ${quote(header)}`);
  if (!text.startsWith("{"))
    throw new CheckpointError(file, "header", `expected to begin with "{", got ${quote(text[0])}`);
  return header;
}

function readMetadata(header: Record<string, unknown>, file: string): Readonly<Record<string, string>> {
  const value = Object.hasOwn(header, metadataKey) ? header[metadataKey] : {};
  if (!isJsonObject(value)) throw new CheckpointError(file, metadataKey, `expected an object, got ${quote(value)}`);
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") {
      throw new CheckpointError(file, `${metadataKey}[${quote(key)}]`, `expected text, got ${quote(text)}`);
    }
  }
  return value as Record<string, string>; // checked just above
}

function readEntry(
  source: ByteSource,
  dataStart: number,
  dataLength: number,
  name: string,
  value: unknown,
): TensorEntry {
  const fail = (field: string, detail: string): never => {
    throw new CheckpointError(source.name, field, detail, { tensor: name });
  };
  if (!isJsonObject(value)) return fail("header", `expected an object, got ${quote(value)}`);
  const field = (key: string): unknown => (Object.hasOwn(value, key) ? value[key] : undefined);

  const dtype = field("dtype");
  if (!isSafetensorsDtype(dtype))
    return fail("dtype", `expected one of ${safetensorsDtypes.join(", ")}, got ${quote(dtype)}`);
  const shape = field("shape");
  if (!isCounts(shape)) return fail("shape", `expected a list of whole numbers from 0 to 2⁵³ − 1, got ${quote(shape)}`);
  const bytes = tensorBytes(dtype, shape);
  if (bytes === undefined) return fail("shape", `expected at most 2⁵³ − 1 bytes, got ${quote(shape)} of ${dtype}`);

  const offsets = field("data_offsets");
  if (!isCounts(offsets)) return fail("data_offsets", `expected [begin, end], whole numbers, got ${quote(offsets)}`);
  const [begin, end] = offsets;
  if (offsets.length !== 2 || begin === undefined || end === undefined) {
    return fail("data_offsets", `expected [begin, end], got ${quote(offsets)}`);
  }
  if (end < begin) return fail("data_offsets", `expected begin ≤ end, got ${quote(offsets)}`);
  if (end > dataLength) {
    return fail(
      "data_offsets",
      `expected to end within the ${dataLength} bytes of data, got ${quote(offsets)} (truncated file?)`,
    );
  }
  if (end - begin !== bytes) {
    return fail(
      "data_offsets",
      `expected ${bytes} bytes (${dtype} ${quote(shape)}), got ${end - begin} (${quote(offsets)})`,
    );
  }
  return { name, dtype, shape, offset: dataStart + begin, byteLength: bytes, source };
}

/** Tensors sorted by offset must follow one another without hole or overlap, to the last byte of the file. */
function checkCoverage(entries: readonly TensorEntry[], dataStart: number, source: ByteSource): void {
  let end = dataStart;
  let before: TensorEntry | undefined;
  for (const entry of entries) {
    if (entry.offset !== end) {
      const what = entry.offset < end ? "overlap" : "a hole";
      const where = before === undefined ? "the data begins" : `tensor ${quote(before.name)} ends`;
      const detail = `expected to begin at ${end - dataStart}, where ${where}, got ${entry.offset - dataStart} (${what})`;
      throw new CheckpointError(source.name, "data_offsets", detail, { tensor: entry.name });
    }
    end = entry.offset + entry.byteLength;
    before = entry;
  }
  if (end !== source.size) {
    const detail = `expected ${end - dataStart} bytes, as the tensors end there, got ${source.size - dataStart}`;
    throw new CheckpointError(source.name, "data", detail);
  }
}

const isCounts = (value: unknown): value is readonly number[] => Array.isArray(value) && value.every(isCount);
