/**
 * Weights without meaning: matrices for single products, and a checkpoint of a whole model that is made up while it is read.
 *
 * Values come from one block a kind, uniform in ±0.035 (a standard deviation of 0.02, as models are initialised), used over
 * and over from different places; speed does not depend on values, and random numbers for gigabytes would take minutes.
 */
import type { Device } from "../../device/index.js";
import { type Checkpoint, f32ToBf16, f32ToF16, memorySource, type TensorEntry } from "../../formats/index.js";
import { specsOf } from "../../models/index.js";
import {
  COLUMN_BLOCK,
  createWeightMatrix,
  type WeightKind,
  type WeightMatrix,
  weightCodecs,
  writeRows,
} from "../../ops/index.js";
import { type Tensor, upload } from "../../tensor/index.js";

const RANGE = 0.02 * Math.sqrt(3);
/** Values of a block. No power of two, so that rows of a matrix differ. */
const BLOCK_VALUES = 1_000_448;
const PIECE_BYTES = 8 * 2 ** 20;

export function randomValues(count: number, range = RANGE, seed = 1): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Numerical Recipes
    return (state / 2 ** 31 - 1) * range;
  });
}

export function randomTensor(device: Device, shape: readonly number[], range = 1): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const block = randomValues(Math.min(size, BLOCK_VALUES), range);
  const values = new Float32Array(size);
  for (let at = 0; at < size; at += block.length) values.set(block.subarray(0, size - at), at);
  return upload(device, values, shape);
}

const blocks = new Map<WeightKind, Uint8Array>();

function blockOf(kind: WeightKind): Uint8Array {
  let block = blocks.get(kind);
  if (!block) {
    const bytes = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    const values = randomValues(BLOCK_VALUES);
    if (kind === "f32") block = bytes(values);
    else if (kind === "f16") block = bytes(f32ToF16(values));
    else if (kind === "bf16") block = bytes(f32ToBf16(values));
    else block = Uint8Array.from(values, (value) => Math.floor((value / RANGE) * 127)); // any byte is a code
    blocks.set(kind, block);
  }
  return block;
}

/** Fills `target` from the kind's block, from a place that `seed` chooses. */
function fillCodes(target: Uint8Array, kind: WeightKind, seed: number): void {
  const block = blockOf(kind);
  let from = (Math.imul(seed + 1, 40_503) % (block.length / 64)) * 64;
  if (from < 0) from += block.length;
  for (let at = 0; at < target.length; from = 0) {
    const piece = block.subarray(from, from + target.length - at);
    target.set(piece, at);
    at += piece.length;
  }
}

export interface RandomMatrix {
  readonly kind: WeightKind;
  readonly rows: number;
  readonly columns: number;
  readonly precision?: "f32" | "f16";
  readonly seed?: number;
}

/** A matrix of any kind on the device. */
export function randomMatrix(device: Device, shape: RandomMatrix): WeightMatrix {
  const { kind, rows, columns, seed = 0 } = shape;
  const matrix = createWeightMatrix(device, shape);
  const codec = weightCodecs[kind];
  const rowBytes = codec.rowBytes(codec.checkpointColumns(columns));
  const perRow = codec.scalesPerRow(matrix.rowStride, COLUMN_BLOCK);
  const most = Math.min(rows, Math.max(1, Math.floor(PIECE_BYTES / rowBytes)));
  const codes = new Uint8Array(most * rowBytes);
  const scales = perRow === 0 ? undefined : new Float32Array(most * perRow).fill(RANGE / (kind === "int8" ? 127 : 8));
  for (let row = 0; row < rows; row += most) {
    const count = Math.min(most, rows - row);
    fillCodes(codes, kind, seed + row);
    writeRows(matrix, row, count, codes.subarray(0, count * rowBytes), scales?.subarray(0, count * perRow));
  }
  return matrix;
}

/** Bytes that a product must read of a matrix. */
export function matrixBytes(matrix: WeightMatrix): number {
  return matrix.codes.byteLength + (matrix.scales?.byteLength ?? 0);
}

/** Tensors differ: equal experts would make a router's gradient zero. */
const seedOf = (name: string) => [...name].reduce((seed, letter) => (31 * seed + letter.charCodeAt(0)) % 65_521, 1);

/** A checkpoint that holds what a family's tree declares; norms are ones. Nothing is kept in memory. */
export function randomCheckpoint(tree: object, kind: "f16" | "f32" = "f16"): Checkpoint {
  const source = memorySource("random weights", new Uint8Array(0));
  const entries = new Map<string, TensorEntry>();
  const norms = new Set<string>();
  for (const spec of specsOf(tree)) {
    for (const { name, shape } of spec.spec === "vector" ? spec.parts : (spec.alternatives[0] ?? [])) {
      if (spec.spec === "vector") norms.add(name);
      const byteLength = (kind === "f16" ? 2 : 4) * shape.reduce((a, b) => a * b, 1);
      entries.set(name, { name, dtype: kind === "f16" ? "F16" : "F32", shape, offset: 0, byteLength, source });
    }
  }
  const sizeOf = (name: string) => {
    const entry = entries.get(name);
    if (!entry) throw new RangeError(`random weights: no tensor ${name}`);
    return entry.byteLength;
  };
  const piece = (name: string, offset: number, bytes: Uint8Array) => {
    if (!norms.has(name)) fillCodes(bytes, kind, seedOf(name) + offset);
    else if (kind === "f16")
      new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2).fill(0x3c00); // 1
    else new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4).fill(1);
    return bytes;
  };
  const close = async () => {};
  return {
    entries,
    metadata: {},
    totalBytes: [...entries.values()].reduce((sum, { byteLength }) => sum + byteLength, 0),
    read: async (name) => piece(name, 0, new Uint8Array(sizeOf(name))),
    readInto: async (name, target, offset) => void piece(name, offset, target),
    async *stream(name, { chunkBytes = PIECE_BYTES, signal } = {}) {
      const size = sizeOf(name);
      const buffer = new Uint8Array(Math.min(chunkBytes, size));
      for (let offset = 0; offset < size; offset += chunkBytes) {
        signal?.throwIfAborted();
        yield { offset, bytes: piece(name, offset, buffer.subarray(0, Math.min(chunkBytes, size - offset))) };
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
