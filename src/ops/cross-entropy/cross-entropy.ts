/**
 * The mean cross-entropy of a language model's head, with the head's product inside.
 *
 *   z[t, v] = x[t] · W[v];   loss = Σ over t with a target of ( log Σ_v exp z[t, v] − z[t, target[t]] ) / count
 *   dz[t, v] = ( softmax(z[t])[v] − [v = target[t]] ) / count;   dx = dz W;   dW = dzᵀ x
 *
 * The vocabulary passes in pieces of `CHUNK` rows: no [T, V] matrix exists, forward or backward; the backward pass makes the
 * pieces of z again.
 *
 * Axes      T tokens, K channels, V vocabulary. x: f32 [T, K]; W: f32 [V, K]; targets: T ids, −1 where nothing is foretold.
 * Precision float32, online over the pieces.
 */
import {
  activeTape,
  type Backward,
  empty,
  type Keep,
  record,
  ShapeError,
  type Tensor,
  upload,
  withTape,
  zeros,
} from "../../tensor/index.js";
import { productGradients } from "../matmul/matmul.gradient.js";
import { matmul } from "../matmul/matmul.js";
import { matrixFromTensor, type WeightMatrix } from "../matmul/weight-matrix.js";
import { launchCrossEntropy } from "./cross-entropy.launch.js";

/** Rows of the head at a time: an even number, so that pieces begin where buffers can be bound. */
export const CHUNK = 2048;

export interface CrossEntropyOptions {
  /** Divides the sum. Default: the number of targets. With accumulation over several steps: the number of all their targets. */
  readonly count?: number;
  /** Rows of the head at a time. Default `CHUNK`. */
  readonly chunk?: number;
}

/**
 * @param head float32 weights.
 * @returns f32 [1].
 * @throws {ShapeError} x, the head and the targets do not fit.
 * @throws {RangeError} a target is no id of the vocabulary.
 */
export function crossEntropy(
  x: Tensor,
  head: WeightMatrix,
  targets: readonly number[],
  o: CrossEntropyOptions = {},
): Tensor {
  const [T] = x.shape;
  if (T === undefined || x.shape.length !== 2 || x.shape[1] !== head.columns) {
    throw new ShapeError("crossEntropy", "x", `[T, K=${head.columns}] (as the head)`, x.shape);
  }
  if (targets.length !== T) throw new ShapeError("crossEntropy", "targets", `T=${T} ids`, [targets.length]);
  const bad = targets.find((id) => !(Number.isInteger(id) && id >= -1 && id < head.rows));
  if (bad !== undefined) throw new RangeError(`crossEntropy: target ${bad}; the vocabulary has ${head.rows} ids`);
  if (head.kind !== "f32") throw new TypeError(`crossEntropy: the head's weights expected f32, got ${head.kind}`);
  const { device } = x;
  const count = Math.max(1, o.count ?? targets.filter((id) => id >= 0).length);
  const chunk = o.chunk ?? CHUNK;
  const loss = empty(device, [1]);
  using ids = upload(device, Int32Array.from(targets), [T], "i32");
  // Of each token: largest so far, sum of exponentials relative to it, the target's own.
  using stats = empty(device, [T, 4]);
  withTape(undefined, () => {
    for (const piece of pieces(head.rows, chunk)) {
      using z = product(x, head.codes, head, piece);
      launchCrossEntropy("stats", [z, ids, stats], { T, first: piece.first, columns: piece.rows, count });
    }
    launchCrossEntropy("loss", [stats, ids, loss], { T, first: 0, columns: head.rows, count });
  });
  if (activeTape()) record("crossEntropy", [x, head.codes], [loss], backward(x, head, ids, stats, count, chunk));
  return loss;
}

interface Piece {
  readonly first: number;
  readonly rows: number;
}

function pieces(rows: number, chunk: number): Piece[] {
  return Array.from({ length: Math.ceil(rows / chunk) }, (_, i) => {
    const first = i * chunk;
    return { first, rows: Math.min(chunk, rows - first) };
  });
}

/** Logits of a piece of the vocabulary. */
function product(x: Tensor, codes: Tensor, head: WeightMatrix, piece: Piece): Tensor {
  using part = partOf(codes, head, piece);
  return matmul(x, part);
}

function partOf(codes: Tensor, head: WeightMatrix, { first, rows }: Piece): WeightMatrix {
  return matrixFromTensor(codes.slice(first, first + rows), head.columns, head.precision);
}

function backward(
  x: Tensor,
  head: WeightMatrix,
  ids: Tensor,
  stats: Tensor,
  count: number,
  chunk: number,
): (keep: Keep) => Backward {
  return (keep) => {
    const [x_, codes, ids_, stats_] = keep(x, head.codes, ids, stats);
    return ([dLoss], needs) => {
      if (!dLoss) return [];
      const { device } = x_;
      const [T = 0] = x_.shape;
      const dx = needs[0] ? empty(device, x_.shape) : undefined;
      const dW = needs[1] ? zeros(device, codes.shape) : undefined;
      for (const piece of pieces(head.rows, chunk)) {
        using z = product(x_, codes, head, piece);
        using dz = empty(device, z.shape);
        const sizes = { T, first: piece.first, columns: piece.rows, count };
        launchCrossEntropy("gradient", [z, ids_, stats_, dLoss, dz], sizes);
        using part = partOf(codes, head, piece);
        using rows = dW?.slice(piece.first, piece.first + piece.rows);
        const targets = {
          dx: dx && { out: dx, accumulate: piece.first > 0 },
          dW: rows && { out: rows, x: x_ },
        };
        productGradients(dz, part, targets, matmul);
      }
      return [dx, dW].map((tensor) => tensor?.handOver());
    };
  };
}
