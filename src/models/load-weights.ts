/**
 * Filling a tree of weights from a checkpoint: all problems at once, then all memory, then one streaming pass.
 *
 * Storage stays what the file has: F32, F16, BF16 as they are; I8 and packed U8 with a companion tensor NAME_scale are the
 * quantised forms that `fulgur quantize` writes. Nothing is allocated before every name and shape has been compared.
 */
import type { Device } from "../device/index.js";
import type { Checkpoint, TensorEntry } from "../formats/index.js";
import {
  COLUMN_BLOCK,
  createWeightMatrix,
  type WeightKind,
  type WeightMatrix,
  type WeightShape,
} from "../ops/index.js";
import { empty, type Tensor } from "../tensor/index.js";
import { disposeAll } from "./measure.js";
import { streamWeights, type WeightSource, type WeightStream } from "./stream-weights.js";
import { isSpec, type Loaded, type MatrixPart, type MatrixSpec, specsOf, type VectorSpec } from "./weights.js";

/** Suffix of the tensor that holds a quantised tensor's scales. */
export const SCALE_SUFFIX = "_scale";

/** A checkpoint does not fit its config. Lists everything that is wrong. */
export class WeightsError extends Error {
  override readonly name = "WeightsError";
  constructor(
    readonly source: string,
    readonly missing: readonly string[],
    readonly unexpected: readonly string[],
    readonly misshapen: readonly string[],
  ) {
    const list = (title: string, items: readonly string[]) =>
      items.length === 0
        ? []
        : [
            `${title} (${items.length}):`,
            ...items.slice(0, 40).map((item) => `  ${item}`),
            ...(items.length > 40 ? ["  …"] : []),
          ];
    super(
      [
        `${source}: the tensors do not fit config.json.`,
        ...list("missing", missing),
        ...list("wrong shape or type", misshapen),
        ...list("not in this model", unexpected),
      ].join("\n"),
    );
  }
}

export interface LoadProgress {
  readonly done: number;
  readonly total: number;
  readonly unit: "bytes";
}

export interface LoadWeightsOptions {
  /** Named in errors: the folder. */
  readonly source: string;
  /** Tensors that a checkpoint may hold beyond the model's (buffers that some libraries save). */
  readonly ignored?: readonly RegExp[];
  /** f16: products of many tokens may round their operands to float16 where the device gains by it. Default f32. */
  readonly precision?: "f32" | "f16" | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/** @throws {WeightsError} listing every missing, unexpected and misshapen tensor. */
export async function loadWeights<T extends object>(
  device: Device,
  checkpoint: Checkpoint,
  tree: T,
  options: LoadWeightsOptions,
): Promise<Loaded<T>> {
  const { weights, fill } = allocateWeights(device, checkpoint, tree, options);
  try {
    await fill();
    return weights;
  } catch (error) {
    disposeAll(weights);
    throw error;
  }
}

/** A tree in device memory, and what streams the checkpoint into it. */
export interface AllocatedWeights<T> {
  /** Undefined contents before `fill` is done. */
  readonly weights: Loaded<T>;
  /** To be called once. When it fails nothing is written any more, and the weights may be disposed of. */
  fill(): Promise<void>;
}

/**
 * The first half of loading: all memory, so that what does not fit is known at once, and what needs the tensors but not
 * their values (compiling kernels) can happen beside the second half.
 *
 * @throws {WeightsError} listing every missing, unexpected and misshapen tensor; nothing stays allocated.
 */
export function allocateWeights<T extends object>(
  device: Device,
  checkpoint: Checkpoint,
  tree: T,
  options: LoadWeightsOptions,
): AllocatedWeights<T> {
  checkAll(checkpoint, tree, options);
  const { signal, precision = "f32" } = options;
  const advance = progressOver(tree, checkpoint, options);
  const streams: WeightStream[] = [];
  const made: Disposable[] = [];
  try {
    const weights = replaceSpecs(tree, (spec) => {
      const parts = partsOf(spec, checkpoint);
      const sources = parts.map((part) => sourceOf(checkpoint, part.name));
      if (spec.spec === "vector") {
        const vector = empty(device, [parts.reduce((sum, part) => sum + product(part.shape), 0)]);
        made.push(vector);
        streams.push({ kind: "vector", target: vector, sources });
        return vector;
      }
      const matrix = createWeightMatrix(device, matrixShape(spec, parts, sources, precision));
      made.push(matrix);
      streams.push({ kind: "matrix", target: matrix, sources });
      return matrix;
    });
    return {
      weights: weights as Loaded<T>, // every declaration is replaced
      fill: () => streamWeights(checkpoint, streams, { signal, advance }),
    };
  } catch (error) {
    for (const value of made) value[Symbol.dispose]();
    throw error;
  }
}

function replaceSpecs(tree: unknown, replace: (spec: MatrixSpec | VectorSpec) => Tensor | WeightMatrix): unknown {
  if (typeof tree !== "object" || tree === null) return tree;
  if (isSpec(tree)) return replace(tree);
  if (Array.isArray(tree)) return tree.map((item) => replaceSpecs(item, replace));
  return Object.fromEntries(Object.entries(tree).map(([key, value]) => [key, replaceSpecs(value, replace)]));
}

function sourceOf(checkpoint: Checkpoint, name: string): WeightSource {
  const entry = checkpoint.entries.get(name);
  if (!entry) throw new Error(`internal: ${name} vanished`);
  return { entry, scale: checkpoint.entries.get(name + SCALE_SUFFIX) };
}

function matrixShape(
  spec: MatrixSpec,
  parts: readonly MatrixPart[],
  sources: readonly WeightSource[],
  precision: "f32" | "f16",
): WeightShape {
  const { columns } = spec;
  const [first] = sources;
  if (!first) throw new Error("internal: a matrix without parts");
  const storage: Storage = spec.widen ? { kind: "f32", group: 0 } : kindOf(first.entry, first.scale, columns);
  return {
    kind: storage.kind,
    rows: parts.reduce((sum, part) => sum + product(part.shape) / columns, 0),
    columns,
    ...(storage.group > 0 ? { group: storage.group } : {}),
    precision: spec.exact ? "f32" : precision,
  };
}

function partsOf(spec: MatrixSpec | VectorSpec, checkpoint: Checkpoint): readonly MatrixPart[] {
  if (spec.spec === "vector") return spec.parts;
  const present = spec.alternatives.find((parts) => parts.every(({ name }) => checkpoint.entries.has(name)));
  return present ?? spec.alternatives[0] ?? [];
}

function checkAll(checkpoint: Checkpoint, tree: object, { source, ignored = [] }: LoadWeightsOptions): void {
  const missing: string[] = [];
  const misshapen: string[] = [];
  const used = new Set<string>();
  for (const spec of specsOf(tree)) {
    const kinds = new Map<WeightKind, string>();
    for (const part of partsOf(spec, checkpoint)) {
      used.add(part.name);
      const entry = checkpoint.entries.get(part.name);
      if (!entry) {
        missing.push(`${part.name} [${part.shape.join(", ")}]`);
        continue;
      }
      const scale = checkpoint.entries.get(part.name + SCALE_SUFFIX);
      if (scale) used.add(scale.name);
      const problem = spec.spec === "matrix" ? matrixProblem(entry, scale, part, spec) : vectorProblem(entry, part);
      if (problem) misshapen.push(`${part.name}: ${problem}`);
      else if (spec.spec === "matrix" && !spec.widen) kinds.set(kindOf(entry, scale, spec.columns).kind, part.name);
    }
    if (kinds.size > 1) {
      const names = [...kinds].map(([kind, name]) => `${name} (${kind})`);
      misshapen.push(`${names.join(", ")}: these are stacked into one matrix and must have one type`);
    }
  }
  const unexpected = [...checkpoint.entries.keys()].filter(
    (name) => !used.has(name) && !ignored.some((pattern) => pattern.test(name)),
  );
  if (missing.length + misshapen.length + unexpected.length > 0) {
    throw new WeightsError(source, missing, unexpected, misshapen);
  }
}

interface Storage {
  readonly kind: WeightKind;
  readonly group: number;
}

const paddedColumns = (columns: number) => Math.ceil(columns / COLUMN_BLOCK) * COLUMN_BLOCK;

/** Columns that share a scale, from the number of scales in a row; several answers mean the same. */
function groupOf(columns: number, groups: number): number | undefined {
  return INT4_GROUPS.find((group) => Math.ceil(paddedColumns(columns) / group) === groups);
}

/** The stored form that a tensor's type and its scales say. Callers have checked the shapes. */
function kindOf(entry: TensorEntry, scale: TensorEntry | undefined, columns: number): Storage {
  switch (entry.dtype) {
    case "F16":
      return { kind: "f16", group: 0 };
    case "BF16":
      return { kind: "bf16", group: 0 };
    case "I8":
      return { kind: "int8", group: 0 };
    case "U8":
      return { kind: "int4", group: groupOf(columns, scale?.shape.at(-1) ?? 0) ?? COLUMN_BLOCK };
    default:
      return { kind: "f32", group: 0 };
  }
}

export const INT4_GROUPS = [32, 64, 128] as const;

const product = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const shown = (shape: readonly number[]) => `[${shape.join(", ")}]`;
const equal = (a: readonly number[], b: readonly number[]) => shown(a) === shown(b);

function matrixProblem(
  entry: TensorEntry,
  scale: TensorEntry | undefined,
  part: MatrixPart,
  spec: MatrixSpec,
): string | undefined {
  const leading = part.shape.slice(0, -1);
  switch (entry.dtype) {
    case "F64":
    case "F32":
    case "F16":
    case "BF16":
      return equal(entry.shape, part.shape) ? undefined : `expected ${shown(part.shape)}, got ${shown(entry.shape)}`;
    case "I8":
    case "U8": {
      if (spec.widen) return `expected float weights, got ${entry.dtype}`;
      if (!scale) return `${entry.dtype} weights need a tensor ${entry.name}${SCALE_SUFFIX}`;
      if (!["F16", "F32"].includes(scale.dtype)) return `scales expected F16 or F32, got ${scale.dtype}`;
      const padded = paddedColumns(spec.columns);
      const codes = entry.dtype === "I8" ? part.shape : [...leading, padded / 2];
      if (!equal(entry.shape, codes)) return `expected ${entry.dtype} ${shown(codes)}, got ${shown(entry.shape)}`;
      if (entry.dtype === "I8") {
        return equal(scale.shape, leading) ? undefined : `scales expected ${shown(leading)}, got ${shown(scale.shape)}`;
      }
      const groups = scale.shape.at(-1) ?? 0;
      const fits = equal(scale.shape, [...leading, groups]) && groupOf(spec.columns, groups) !== undefined;
      return fits ? undefined : `scales expected [${leading.join(", ")}, ${padded}/group], got ${shown(scale.shape)}`;
    }
    default:
      return `expected F32, F16, BF16, I8 or U8, got ${entry.dtype}`;
  }
}

function vectorProblem(entry: TensorEntry, part: MatrixPart): string | undefined {
  if (!["F64", "F32", "F16", "BF16"].includes(entry.dtype)) return `expected a float type, got ${entry.dtype}`;
  return equal(entry.shape, part.shape) ? undefined : `expected ${shown(part.shape)}, got ${shown(entry.shape)}`;
}

function progressOver(
  tree: object,
  checkpoint: Checkpoint,
  { onProgress }: LoadWeightsOptions,
): (bytes: number) => void {
  let total = 0;
  for (const spec of specsOf(tree)) {
    for (const { name } of partsOf(spec, checkpoint)) total += checkpoint.entries.get(name)?.byteLength ?? 0;
  }
  let done = 0;
  return (bytes) => {
    done += bytes;
    onProgress?.({ done, total, unit: "bytes" });
  };
}
