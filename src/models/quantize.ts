/**
 * Quantising a checkpoint: the same tensors, its matrices in int8 or int4, with NAME_scale beside them: rounded plainly, or
 * as the caller has rounded them (train/quantize, from calibration text).
 *
 * Our choice  experts in int4 (most of the bytes, two of many read per token), all other matrices in int8; routers, norms and
 *             biases stay as they are, because they are small and decide much. Scales are stored in float16.
 */
import { type Checkpoint, f32ToF16, type TensorToWrite, toFloat32 } from "../formats/index.js";
import { COLUMN_BLOCK, type EncodedWeights, halfBits, halfValue, type WeightKind, weightCodecs } from "../ops/index.js";
import { SCALE_SUFFIX } from "./load-weights.js";
import { isSpec, type MatrixPart, type MatrixSpec, type VectorSpec } from "./weights.js";

export interface QuantizeOptions {
  /** Matrices of experts. Default int4. */
  readonly experts?: WeightKind;
  /** All other matrices. Default int8. */
  readonly rest?: WeightKind;
  /** Columns that share an int4 scale: 32 (default), 64 or 128. */
  readonly group?: number;
  /** Matrices that become int8 whatever the two kinds above say, by their place in the tree ("layers.0.moe.down"). */
  readonly int8?: ReadonlySet<string>;
  /** Int4 tensors that have been rounded already, by name: in groups of `group`, scales already float16 values. */
  readonly encoded?: ReadonlyMap<string, EncodedWeights>;
}

/** A matrix of the tree and the checkpoint's tensors that are stacked in it. */
export interface MatrixPlace {
  /** Its keys in the tree: "layers.0.moe.down". */
  readonly path: string;
  readonly columns: number;
  readonly parts: readonly MatrixPart[];
}

/** The matrices that quantisation changes. */
export function matrixPlaces(checkpoint: Checkpoint, tree: object): MatrixPlace[] {
  const places: MatrixPlace[] = [];
  visit(tree, [], (spec, path) => {
    if (spec.spec === "vector" || spec.widen) return;
    const parts = spec.alternatives.find((names) => names.every(({ name }) => checkpoint.entries.has(name)));
    if (parts) places.push({ path: path.join("."), columns: spec.columns, parts });
  });
  return places;
}

/** What becomes of a matrix's tensors. */
interface Target {
  readonly kind: WeightKind;
  readonly columns: number;
}

/** The tensors of the quantised checkpoint, each computed when it is written. `tree`: the family's weight declarations. */
export function quantizedTensors(checkpoint: Checkpoint, tree: object, options: QuantizeOptions = {}): TensorToWrite[] {
  const { experts = "int4", rest = "int8", group = COLUMN_BLOCK, int8, encoded } = options;
  const targets = new Map<string, Target>();
  const kept = new Set<string>();
  visit(tree, [], (spec, path) => {
    if (spec.spec === "vector") for (const { name } of spec.parts) kept.add(name);
    else {
      const kind = int8?.has(path.join(".")) ? "int8" : path.at(-2) === "moe" ? experts : rest;
      for (const { name } of spec.alternatives.flat()) {
        if (spec.widen) kept.add(name);
        else targets.set(name, { kind, columns: spec.columns });
      }
    }
  });
  const tensors: TensorToWrite[] = [];
  for (const [name, entry] of checkpoint.entries) {
    const target = targets.get(name);
    if (target && ["F64", "F32", "F16", "BF16"].includes(entry.dtype)) {
      tensors.push(...quantized(checkpoint, name, target, group, encoded?.get(name)));
    } else if (target || kept.has(name)) {
      tensors.push({ name, dtype: entry.dtype, shape: entry.shape, bytes: () => checkpoint.read(name) });
    }
    // Anything else is a buffer that the model does not need.
  }
  // Wide types first, so that each tensor is aligned in the file.
  const width = ({ dtype }: TensorToWrite) =>
    ["F64", "I64"].includes(dtype) ? 8 : ["F32", "I32"].includes(dtype) ? 4 : ["F16", "BF16"].includes(dtype) ? 2 : 1;
  return tensors.sort((a, b) => width(b) - width(a));
}

function quantized(
  checkpoint: Checkpoint,
  name: string,
  { kind, columns }: Target,
  group: number,
  given: EncodedWeights | undefined,
): TensorToWrite[] {
  const entry = checkpoint.entries.get(name);
  if (!entry) throw new Error(`internal: ${name} vanished`);
  const codec = weightCodecs[kind];
  const leading = entry.shape.slice(0, -1);
  const rows = leading.reduce((a, b) => a * b, 1);
  // Scales and codes are written far apart: computing both twice keeps one tensor in memory, not the model.
  const encode = async () =>
    given ?? codec.encode(toFloat32(entry.dtype, await checkpoint.read(name)), rows, columns, group, roundToHalf);
  if (kind === "f32" || kind === "f16" || kind === "bf16") {
    const dtype = kind === "f32" ? "F32" : kind === "f16" ? "F16" : "BF16";
    return [{ name, dtype, shape: entry.shape, bytes: async () => (await encode()).codes }];
  }
  const padded = Math.ceil(columns / COLUMN_BLOCK) * COLUMN_BLOCK;
  const scaleShape = kind === "int8" ? leading : [...leading, Math.ceil(padded / group)];
  return [
    {
      name: name + SCALE_SUFFIX,
      dtype: "F16",
      shape: scaleShape,
      bytes: async () => bytesOf(f32ToF16((await encode()).scales ?? new Float32Array())),
    },
    {
      name,
      dtype: kind === "int8" ? "I8" : "U8",
      shape: kind === "int8" ? entry.shape : [...leading, padded / 2],
      bytes: async () => (await encode()).codes,
    },
  ];
}

/** The scale as the file will hold it: codes are then the nearest ones for that very scale. */
export function roundToHalf(scale: number): number {
  return halfValue(halfBits(scale));
}

function bytesOf(values: Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function visit(
  tree: unknown,
  path: readonly string[],
  f: (spec: MatrixSpec | VectorSpec, path: readonly string[]) => void,
): void {
  if (typeof tree !== "object" || tree === null) return;
  if (isSpec(tree)) f(tree, path);
  else for (const [key, child] of Object.entries(tree)) visit(child, [...path, key], f);
}
