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
 * Precision float32, online over the pieces. With `precision: "f16"`, on matrix units: logits from pairs of halves (each operand
 *           as the sum of two; what is left out is 2^-22 of a product), softmax and loss in float32, and the products of the
 *           gradient from halves with float32 sums. dz then keeps its own size, within ±1, and the gradient's factor multiplies
 *           the sums: no scale of the loss is needed for it.
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
import { contract, contractsHalves } from "../matmul/contraction/contraction.js";
import { halvesRowOctets } from "../matmul/gemm-subgroup-matrix.wgsl.js";
import { productGradients } from "../matmul/matmul.gradient.js";
import { matmul } from "../matmul/matmul.js";
import { halvesOf } from "../matmul/matmul.launch-webgpu.js";
import { matrixFromTensor, type WeightMatrix } from "../matmul/weight-matrix.js";
import { weightHalves } from "../matmul/weights/widen.js";
import { launchCrossEntropy, pairsOf, timesFactor } from "./cross-entropy.launch.js";

/** Rows of the head at a time: an even number, so that pieces begin where buffers can be bound. */
export const CHUNK = 2048;

export interface CrossEntropyOptions {
  /** Divides the sum. Default: the number of targets. With accumulation over several steps: the number of all their targets. */
  readonly count?: number;
  /** Rows of the head at a time. Default `CHUNK`. */
  readonly chunk?: number;
  /** f16: products on matrix units where the device has them; see the file's header. Default f32. */
  readonly precision?: "f32" | "f16" | undefined;
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
  const onUnits =
    device.kind === "webgpu" &&
    contractsHalves(device, o.precision ?? "f32", [T, head.columns, Math.min(chunk, head.rows)]);
  const sums: Sums = { T, count, unit: onUnits ? 1 / HEAD_UNIT : 1 };
  withTape(undefined, () => {
    using logits = logitsOf(x, head.codes, head, onUnits);
    for (const piece of pieces(head.rows, chunk)) {
      using z = logits.of(piece);
      launchCrossEntropy("stats", [z, ids, stats], { ...sums, first: piece.first, columns: piece.rows });
    }
    launchCrossEntropy("loss", [stats, ids, loss], { T, first: 0, columns: head.rows, count });
  });
  if (activeTape())
    record("crossEntropy", [x, head.codes], [loss], backward({ x, head, ids, stats, sums, chunk, onUnits }));
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

interface Sums {
  readonly T: number;
  readonly count: number;
  readonly unit: number;
}

/** The head's weights are multiplied by this where they become halves, so that small ones keep their bits. */
const HEAD_UNIT = 64;

interface Logits extends Disposable {
  /** z [T, rows of the piece]: logits, or on matrix units HEAD_UNIT times them. */
  of(piece: Piece): Tensor;
}

function logitsOf(x: Tensor, codes: Tensor, head: WeightMatrix, onUnits: boolean): Logits {
  const { device } = x;
  if (!onUnits || device.kind !== "webgpu") {
    const of = (piece: Piece) => {
      using part = partOf(codes, head, piece);
      return matmul(x, part);
    };
    return { of, [Symbol.dispose]: () => undefined };
  }
  const [T = 0] = x.shape;
  const a = pairsOf(device, x, head.columns, 1, 1);
  const of = ({ first, rows }: Piece) => {
    using part = codes.slice(first, first + rows);
    using b = pairsOf(device, part, head.columns, 2, HEAD_UNIT);
    const z = empty(device, [T, rows]);
    const operands = { a: { tensor: a, order: "rows" }, b: { tensor: b, order: "rows" } } as const;
    contract(device, { ...operands, M: T, N: rows, K: (a.shape[1] ?? 0) * 2, out: z });
    return z;
  };
  return { of, [Symbol.dispose]: () => a.dispose() };
}

function partOf(codes: Tensor, head: WeightMatrix, { first, rows }: Piece): WeightMatrix {
  return matrixFromTensor(codes.slice(first, first + rows), head.columns, head.precision);
}

interface Forward {
  readonly x: Tensor;
  readonly head: WeightMatrix;
  readonly ids: Tensor;
  readonly stats: Tensor;
  readonly sums: Sums;
  readonly chunk: number;
  readonly onUnits: boolean;
}

function backward({ x, head, ids, stats, sums, chunk, onUnits }: Forward): (keep: Keep) => Backward {
  return (keep) => {
    const [x_, codes, ids_, stats_] = keep(x, head.codes, ids, stats);
    return ([dLoss], needs) => {
      if (!dLoss) return [];
      const { device } = x_;
      const { T, count } = sums;
      const dx = needs[0] ? empty(device, x_.shape) : undefined;
      const dW = needs[1] ? zeros(device, codes.shape) : undefined;
      using logits = logitsOf(x_, codes, head, onUnits);
      using xHalves = onUnits && device.kind === "webgpu" ? halvesOf(device, x_, false) : undefined;
      for (const piece of pieces(head.rows, chunk)) {
        using z = logits.of(piece);
        const sizes = { ...sums, first: piece.first, columns: piece.rows };
        using part = partOf(codes, head, piece);
        using rows = dW?.slice(piece.first, piece.first + piece.rows);
        if (xHalves && device.kind === "webgpu") {
          using dz = empty(device, [T, 4 * halvesRowOctets(piece.rows)], "u32");
          launchCrossEntropy("halves", [z, ids_, stats_, dz], sizes);
          const K = head.columns;
          if (dx) {
            using w = weightHalves(device, part);
            const operands = { a: { tensor: dz, order: "rows" }, b: { tensor: w, order: "columns" } } as const;
            const accumulate = piece.first > 0;
            contract(device, { ...operands, M: T, N: K, K: piece.rows, out: dx, accumulate });
          }
          if (rows) {
            const operands = { a: { tensor: dz, order: "columns" }, b: { tensor: xHalves, order: "columns" } } as const;
            contract(device, { ...operands, M: piece.rows, N: K, K: T, out: rows });
          }
          continue;
        }
        using dz = empty(device, z.shape);
        launchCrossEntropy("gradient", [z, ids_, stats_, dLoss, dz], sizes);
        const targets = {
          dx: dx && { out: dx, accumulate: piece.first > 0 },
          dW: rows && { out: rows, x: x_ },
        };
        productGradients(dz, part, targets, matmul);
      }
      if (xHalves && device.kind === "webgpu") {
        for (const tensor of [dx, dW]) if (tensor) timesFactor(device, tensor, dLoss, count);
      }
      return [dx, dW].map((tensor) => tensor?.handOver());
    };
  };
}
