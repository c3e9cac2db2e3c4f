/** Where the tensors of a checkpoint lie on the device: for training and saving, which know them by their names. */
import type { WeightMatrix } from "../ops/index.js";
import { Tensor } from "../tensor/index.js";
import { isSpec, type MatrixPart } from "./weights.js";

export interface NamedRows {
  /** As in the checkpoint. */
  readonly name: string;
  readonly shape: readonly number[];
  /** What holds it, and perhaps others before and behind it. */
  readonly holder: Tensor | WeightMatrix;
  /** First row in a matrix, first element in a vector. */
  readonly first: number;
}

/**
 * @param tree declarations. @param loaded the same tree with tensors.
 * @param has whether the checkpoint has a tensor: matrices can be spelled in several ways.
 */
export function namedRows(tree: unknown, loaded: unknown, has: (name: string) => boolean): NamedRows[] {
  if (typeof tree !== "object" || tree === null || typeof loaded !== "object" || loaded === null) return [];
  if (!isSpec(tree)) {
    return Object.entries(tree).flatMap(([key, child]) =>
      namedRows(child, (loaded as Record<string, unknown>)[key], has),
    );
  }
  const alternatives = tree.spec === "vector" ? [tree.parts] : tree.alternatives;
  const parts: readonly MatrixPart[] = alternatives.find((names) => names.every(({ name }) => has(name))) ?? [];
  const holder = loaded as Tensor | WeightMatrix; // the loader puts one of the two in a declaration's place
  let first = 0;
  return parts.map(({ name, shape }) => {
    const rows = { name, shape, holder, first };
    const size = shape.reduce((a, b) => a * b, 1);
    first += tree.spec === "vector" ? size : size / tree.columns;
    return rows;
  });
}

/** The tensors that a gradient is taken of: each once. */
export function trainableTensors(rows: readonly NamedRows[]): Tensor[] {
  return [...new Set(rows.map(({ holder }) => (holder instanceof Tensor ? holder : holder.codes)))];
}

/** A named tensor's own numbers out of those of its holder (padding left out). */
export function ownNumbers({ shape, holder, first }: NamedRows, all: Float32Array): Float32Array {
  const size = shape.reduce((a, b) => a * b, 1);
  if (holder instanceof Tensor) return all.subarray(first, first + size);
  const { columns, rowStride } = holder;
  const own = new Float32Array(size);
  for (let row = 0; row < size / columns; row++) {
    const from = (first + row) * rowStride;
    own.set(all.subarray(from, from + columns), row * columns);
  }
  return own;
}
