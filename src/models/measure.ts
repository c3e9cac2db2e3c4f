/** Sizes of a loaded tree of weights, and freeing it. */
import type { WeightMatrix } from "../ops/index.js";
import { Tensor } from "../tensor/index.js";

const isMatrix = (value: object): value is WeightMatrix => "codes" in value && "rowStride" in value;

/** Visits every tensor and matrix of a tree once, with the keys that lead to it. */
function visit(
  tree: unknown,
  path: readonly string[],
  f: (leaf: Tensor | WeightMatrix, path: readonly string[]) => void,
) {
  if (typeof tree !== "object" || tree === null) return;
  if (tree instanceof Tensor || isMatrix(tree)) f(tree, path);
  else for (const [key, child] of Object.entries(tree)) visit(child, [...path, key], f);
}

/** All tensors of a tree, scales included. */
export function tensorsOf(tree: unknown): Tensor[] {
  const found: Tensor[] = [];
  visit(tree, [], (leaf) => {
    if (leaf instanceof Tensor) found.push(leaf);
    else found.push(leaf.codes, ...(leaf.scales ? [leaf.scales] : []));
  });
  return found;
}

/** Bytes of weights on the device, scales included. */
export function weightBytes(tree: unknown): number {
  let bytes = 0;
  visit(tree, [], (leaf) => {
    bytes += leaf instanceof Tensor ? leaf.byteLength : leaf.codes.byteLength + (leaf.scales?.byteLength ?? 0);
  });
  return bytes;
}

/**
 * All parameters, and those that take part in each token: of the experts (matrices `gateUp` and `down` under `moe`) only
 * `activeShare`; of an embedding that is not the head as well, nothing.
 */
export function countParameters(
  tree: { readonly head?: unknown },
  activeShare: number,
): { readonly total: number; readonly active: number } {
  let total = 0;
  let active = 0;
  visit(tree, [], (leaf, path) => {
    const size = leaf instanceof Tensor ? leaf.size : leaf.rows * leaf.columns;
    const isExpert = path.at(-2) === "moe" && path.at(-1) !== "router";
    const isLookup = path[0] === "embedding" && tree.head !== undefined;
    total += size;
    active += isExpert ? size * activeShare : isLookup ? 0 : size;
  });
  return { total, active };
}

/** Disposes of everything disposable in a tree. */
export function disposeAll(tree: unknown): void {
  if (typeof tree !== "object" || tree === null) return;
  if (Symbol.dispose in tree) (tree as Disposable)[Symbol.dispose]();
  else for (const child of Object.values(tree)) disposeAll(child);
}
