/**
 * Writing safetensors files as a stream: the header from the shapes, then each tensor's bytes, one at a time.
 *
 * The header is padded with spaces so that the data begins at a multiple of 8. Tensors are written in the order given;
 * whoever mixes element sizes and wants every tensor aligned gives the wide ones first.
 */
import { quote } from "./checkpoint-error.js";
import { maxHeaderBytes, metadataKey } from "./safetensors.js";
import {
  isCount,
  isSafetensorsDtype,
  type SafetensorsDtype,
  safetensorsDtypes,
  tensorBytes,
} from "./safetensors-dtype.js";

/** Where bytes go, in order. */
export interface ByteSink {
  /** The bytes are not touched once the promise has resolved. */
  write(bytes: Uint8Array): Promise<void>;
}

export interface TensorToWrite {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Called once, when the tensor's turn has come. */
  readonly bytes: () => Promise<Uint8Array> | Uint8Array;
}

/**
 * Writes a whole file to `sink`. Nothing is written before all names, dtypes and shapes are known to be sound.
 *
 * @param metadata becomes `__metadata__` when it has any key.
 * @returns bytes written.
 * @throws {RangeError} a name twice or reserved, an unknown dtype, a bad shape, bytes that do not fit the shape.
 */
export async function writeSafetensors(
  sink: ByteSink,
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = {},
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<number> {
  const list = [...tensors];
  const sizes = checkTensors(list);
  signal?.throwIfAborted();
  const header = headerBytes(list, sizes, metadata);
  await sink.write(header);
  let written = header.byteLength;
  for (const [at, tensor] of list.entries()) {
    signal?.throwIfAborted();
    const bytes = await tensor.bytes();
    const size = sizes[at] ?? 0;
    if (bytes.byteLength !== size) {
      const shape = `${tensor.dtype} [${tensor.shape.join(", ")}]`;
      throw new RangeError(`tensor ${quote(tensor.name)}: expected ${size} bytes (${shape}), got ${bytes.byteLength}`);
    }
    if (size > 0) await sink.write(bytes);
    written += size;
  }
  return written;
}

/** A sink in memory, for small files and tests; `bytes()` joins what was written. */
export function memorySink(): ByteSink & { bytes(): Uint8Array } {
  const pieces: Uint8Array[] = [];
  return {
    async write(bytes) {
      pieces.push(new Uint8Array(bytes)); // a copy: the writer may reuse its buffer
    },
    bytes() {
      const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.byteLength, 0));
      let at = 0;
      for (const piece of pieces) {
        all.set(piece, at);
        at += piece.byteLength;
      }
      return all;
    },
  };
}

/** Bytes of each tensor. */
function checkTensors(tensors: readonly TensorToWrite[]): readonly number[] {
  const names = new Set<string>([metadataKey]);
  return tensors.map(({ name, dtype, shape }) => {
    const where = `tensor ${quote(name)}`;
    if (names.has(name))
      throw new RangeError(`${where}: ${name === metadataKey ? "the name is reserved" : "the name comes twice"}`);
    names.add(name);
    if (!isSafetensorsDtype(dtype)) {
      throw new RangeError(`${where}: dtype expected one of ${safetensorsDtypes.join(", ")}, got ${quote(dtype)}`);
    }
    const bytes = shape.every(isCount) ? tensorBytes(dtype, shape) : undefined;
    if (bytes === undefined) {
      throw new RangeError(`${where}: shape expected whole numbers and at most 2⁵³ − 1 bytes, got ${quote(shape)}`);
    }
    return bytes;
  });
}

function headerBytes(
  tensors: readonly TensorToWrite[],
  sizes: readonly number[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  // Joined by hand: an object would put names that look like numbers first and lose the name "__proto__".
  const parts = Object.keys(metadata).length > 0 ? [`${JSON.stringify(metadataKey)}:${JSON.stringify(metadata)}`] : [];
  let begin = 0;
  for (const [at, { name, dtype, shape }] of tensors.entries()) {
    const end = begin + (sizes[at] ?? 0);
    parts.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`);
    begin = end;
  }
  const text = new TextEncoder().encode(`{${parts.join(",")}}`);
  const length = Math.ceil(text.byteLength / 8) * 8;
  if (length > maxHeaderBytes) throw new RangeError(`header expected at most ${maxHeaderBytes} bytes, got ${length}`);
  const bytes = new Uint8Array(8 + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(text, 8);
  return bytes;
}
