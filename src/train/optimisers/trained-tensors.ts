/**
 * What is trained of a model, and how each tensor is treated: by what its rows are in the checkpoint.
 *
 * A tensor on the device may hold several of the checkpoint (q, k and v; all experts of a layer). Its name is that of the
 * first, which is the same in every run.
 */
import type { NamedRows } from "../../models/index.js";
import type { MuonPart } from "../../ops/index.js";
import { Tensor } from "../../tensor/index.js";

/** `vector`: norms and biases. `embedding`: also the head. `router`: also the shared expert's coefficient. */
export type TensorRole = "matrix" | "vector" | "embedding" | "router";

export interface TrainedTensor {
  readonly name: string;
  readonly role: TensorRole;
  /** f32; matrices with their padding. */
  readonly tensor: Tensor;
  /** Of a matrix: what belongs together. Experts and the halves of a gated product are matrices of their own. */
  readonly parts: readonly MuonPart[];
  /** Columns that are not padding; of vectors none. */
  readonly columns: number;
}

/** The model has weights that are not float32. */
export class NotTrainableError extends TypeError {
  override readonly name = "NotTrainableError";
}

/**
 * @param rows of the model (`model.tensors`). @param isTrained leaves tensors out by their name in the checkpoint.
 * @throws {NotTrainableError} a tensor that is to be trained is not float32.
 */
export function trainedTensors(
  rows: readonly NamedRows[],
  isTrained: (name: string) => boolean = () => true,
): TrainedTensor[] {
  const holders = new Map<Tensor, NamedRows[]>();
  for (const row of rows) {
    const tensor = row.holder instanceof Tensor ? row.holder : row.holder.codes;
    holders.set(tensor, [...(holders.get(tensor) ?? []), row]);
  }
  return [...holders].flatMap(([tensor, own]) => {
    const [first] = own;
    if (!first || !own.some(({ name }) => isTrained(name))) return [];
    if (tensor.dtype !== "f32" || (!(first.holder instanceof Tensor) && first.holder.kind !== "f32")) {
      throw new NotTrainableError(
        `${first.name}: trained weights expected as float32, got ${first.holder instanceof Tensor ? tensor.dtype : first.holder.kind}. Load the model with its weights widened.`,
      );
    }
    const columns = first.holder instanceof Tensor ? 0 : first.holder.columns;
    const parts = columns === 0 ? [] : own.flatMap((row) => matrixParts(row, columns));
    return [{ name: first.name, role: roleOf(first), tensor, parts, columns }];
  });
}

function roleOf({ name, holder }: NamedRows): TensorRole {
  if (holder instanceof Tensor) return "vector";
  if (/(^|\.)(embed_tokens|lm_head)\.weight$/.test(name)) return "embedding";
  if (/\.(block_sparse_moe|mlp)\.gate\.weight$|\.coefficient\.weight$/.test(name)) return "router";
  return "matrix";
}

/** A fused tensor of experts [E, rows, columns] is E matrices, or 2 E where gate and up are one tensor. */
function matrixParts({ name, shape, first }: NamedRows, columns: number): MuonPart[] {
  const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
  const experts = shape.length === 3 ? (shape[0] ?? 1) : 1;
  const count = experts * (/gate_up_proj/.test(name) ? 2 : 1);
  return Array.from({ length: count }, (_, i) => ({
    first: first + (i * rows) / count,
    rows: rows / count,
    columns,
  }));
}
