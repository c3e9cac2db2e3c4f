/**
 * Sources of pieces: what lies between documents and batches.
 *
 * A source is a function of a number: its n-th piece is the same whenever it is asked for. So a place in the stream is a
 * number, and a run that goes on reads exactly what it would have read.
 */

/** A stretch of one document, at most as long as a row may be. */
export interface Piece {
  /** One more id than the row has tokens: the last is only foretold. */
  readonly ids: readonly number[];
  /** For each id whether foretelling it counts; the first is never foretold. */
  readonly loss: ArrayLike<number | boolean>;
  /** Cutting it would part an answer from its question: it waits for the next batch instead. */
  readonly isWhole: boolean;
}

/** Pieces without end. */
export interface PieceSource {
  /** For errors. */
  readonly name: string;
  /** @param n 0, 1, 2 … */
  piece(n: number): Promise<Piece>;
  /** How many pieces are one pass over everything; absent where nothing repeats. */
  readonly epoch?: number;
}
