/**
 * Declaring the weights of a model: one tree from the config, with the checkpoint's spelling of every name.
 *
 * A model file writes the tree once. The loader walks it twice: to compare all names and shapes with the checkpoint, and to
 * fill it. A matrix may be stacked from several tensors of the checkpoint (q, k and v; the experts), row by row.
 */
import type { WeightMatrix } from "../ops/index.js";
import type { Tensor } from "../tensor/index.js";

/** A tensor of the checkpoint that gives some of a matrix's rows. Shapes [rows, columns], or [E, …, columns] in a fused file. */
export interface MatrixPart {
  readonly name: string;
  readonly shape: readonly number[];
}

export interface MatrixSpec {
  readonly spec: "matrix";
  readonly columns: number;
  /** Ways to spell it; the first whose names are all in the checkpoint is taken. */
  readonly alternatives: readonly (readonly MatrixPart[])[];
  /** Widen to float32 whatever the file holds (router weights). */
  readonly widen: boolean;
  /** Products always in float32, whatever the load options allow (specification A8: the LM head). */
  readonly exact: boolean;
}

export interface VectorSpec {
  readonly spec: "vector";
  /** Stacked end to end; always held in float32. */
  readonly parts: readonly MatrixPart[];
}

/** The tree with tensors in the place of their declarations. */
export type Loaded<T> = T extends MatrixSpec
  ? WeightMatrix
  : T extends VectorSpec
    ? Tensor
    : T extends readonly (infer U)[]
      ? readonly Loaded<U>[]
      : T extends object
        ? { readonly [K in keyof T]: Loaded<T[K]> }
        : T;

/** One tensor [rows, columns]. */
export function matrix(name: string, rows: number, columns: number): MatrixSpec {
  return { spec: "matrix", columns, alternatives: [[{ name, shape: [rows, columns] }]], widen: false, exact: false };
}

/** The embedding or the LM head: [vocabulary, hidden size]. */
export function vocabularyMatrix(name: string, rows: number, columns: number): MatrixSpec {
  return { ...matrix(name, rows, columns), exact: true };
}

/** A small matrix that must be read in float32 (specification A8: routers). */
export function float32Matrix(names: readonly string[], rows: number, columns: number): MatrixSpec {
  return {
    spec: "matrix",
    columns,
    alternatives: names.map((name) => [{ name, shape: [rows, columns] }]),
    widen: true,
    exact: true,
  };
}

/** Several tensors stacked along the rows. Further ways to spell the same rows may follow. */
export function stacked(columns: number, ...alternatives: readonly (readonly MatrixPart[])[]): MatrixSpec {
  return { spec: "matrix", columns, alternatives, widen: false, exact: false };
}

export function vector(name: string, size: number): VectorSpec {
  return { spec: "vector", parts: [{ name, shape: [size] }] };
}

export function stackedVector(...parts: readonly (readonly [name: string, size: number])[]): VectorSpec {
  return { spec: "vector", parts: parts.map(([name, size]) => ({ name, shape: [size] })) };
}

/** The declarations of a tree, in its order. */
export function* specsOf(tree: unknown): Generator<MatrixSpec | VectorSpec> {
  if (typeof tree !== "object" || tree === null) return;
  if (isSpec(tree)) yield tree;
  else for (const child of Object.values(tree)) yield* specsOf(child);
}

export function isSpec(value: object): value is MatrixSpec | VectorSpec {
  return "spec" in value && (value.spec === "matrix" || value.spec === "vector");
}
