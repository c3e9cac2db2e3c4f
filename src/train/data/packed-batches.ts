/**
 * Batches of exactly so many tokens, packed from weighted sources.
 *
 * The next piece comes from the source that lags most behind its share of the tokens, so that shares hold within every few batches
 * and nothing is left to chance. A piece that is longer than what is left of a batch is cut and goes on in the next batch as a row of
 * its own. A whole piece (an answer belongs to its question) is not cut: it waits, and another source's text fills the batch; where
 * there is none, the piece's beginning does, without loss.
 *
 * The place in the stream is how far each source has been read, how many tokens it has given, and which piece is cut: a few numbers.
 */
import { z } from "zod";
import { crc32 } from "../tasks/index.js";
import type { BatchSource, TrainingBatch } from "./batch.js";
import { DataError } from "./data-error.js";
import type { Piece, PieceSource } from "./piece.js";

/** A source and its share of the tokens. */
export interface WeightedSource {
  readonly source: PieceSource;
  /** In proportion to the other weights. */
  readonly weight: number;
}

/** The size of a batch. */
export interface BatchSize {
  /** Tokens of every batch, exactly. */
  readonly tokensPerBatch: number;
  /** Tokens of a row at most. */
  readonly sequence: number;
  /** Rows of a batch at most. Where pieces are so short that it is reached, rows of `paddingId` without loss fill the batch. */
  readonly maximumRows: number;
  /** Default 0. */
  readonly paddingId?: number;
  /** Whatever else decides the stream, such as the seed: a place in another stream is refused. */
  readonly identity?: string;
}

/** A batch source that also says how far its sources have been read. */
export interface PackedBatches extends BatchSource {
  /** For each source: tokens given so far, and passes over it (a fraction; absent where nothing repeats). */
  progress(): { readonly name: string; readonly tokens: number; readonly passes?: number }[];
}

const positionSchema = z.strictObject({
  version: z.literal(1),
  /** Checksum of what decides the stream: the number alone says nothing of another one. */
  stream: z.int().nonnegative(),
  /** For each source the number of its next piece. */
  next: z.array(z.int().nonnegative()),
  /** For each source the tokens that it has given. */
  given: z.array(z.int().nonnegative()),
  /** The piece that was cut: it comes first in the next batch, from id `from` on. */
  cut: z
    .strictObject({ source: z.int().nonnegative(), piece: z.int().nonnegative(), from: z.int().positive() })
    .nullable(),
});

type Position = z.infer<typeof positionSchema>;

// A source whose documents have no loss within a row's length would never fill a batch.
const mostWithoutLoss = 10_000;

/** @throws {RangeError} sizes or weights that no batch can have. */
export function packedBatches(sources: readonly WeightedSource[], size: BatchSize): PackedBatches {
  const { tokensPerBatch, sequence, maximumRows, paddingId = 0, identity = "" } = size;
  checkSize(sources, size);
  const parts = sources.map(({ source, weight }) => [weight, source.epoch ?? null]);
  const sizes = [tokensPerBatch, sequence, maximumRows, paddingId];
  const stream = crc32(new TextEncoder().encode(JSON.stringify([parts, sizes, identity])));
  let position: Position = {
    version: 1,
    stream,
    next: sources.map(() => 0),
    given: sources.map(() => 0),
    cut: null,
  };

  // The piece that a source gives next may be looked at several times before it is taken.
  const seen = new Map<number, { n: number; piece: Piece }>();
  const pieceOf = async (source: number, n: number): Promise<Piece> => {
    const known = seen.get(source);
    if (known?.n === n) return known.piece;
    const piece = await sources[source]!.source.piece(n);
    if (piece.ids.length < 2 || piece.ids.length - 1 > sequence || piece.loss.length !== piece.ids.length) {
      throw new Error(
        `internal: ${sources[source]!.source.name}: piece ${n} expected 2 to ${sequence + 1} ids with a loss each, got ${piece.ids.length}.`,
      );
    }
    seen.set(source, { n, piece });
    return piece;
  };

  /** The next piece of a source that has something to foretell; pieces without are passed over. */
  const nextOf = async (source: number, state: Position): Promise<Piece> => {
    for (let tried = 0; tried < mostWithoutLoss; tried++) {
      const piece = await pieceOf(source, state.next[source]!);
      for (let i = 1; i < piece.ids.length; i++) if (piece.loss[i]) return piece;
      state.next[source]!++;
    }
    throw new DataError(
      sources[source]!.source.name,
      "",
      `expected something to foretell within ${sequence} tokens, got ${mostWithoutLoss} pieces without (is "sequence" too short for the answers?)`,
    );
  };

  const order = sources.map((_, i) => i).filter((i) => sources[i]!.weight > 0);
  const mostBehind = (given: readonly number[], among: readonly number[]): number =>
    among.reduce((best, i) => (given[i]! * sources[best]!.weight < given[best]! * sources[i]!.weight ? i : best));

  const fill = async (state: Position): Promise<TrainingBatch> => {
    const rows: number[][] = [];
    const targets: number[] = [];
    let left = tokensPerBatch;
    /** A row of `count` tokens of the piece from its id `from` on. */
    const add = (piece: Piece, from: number, count: number, countsLoss = true): void => {
      rows.push(piece.ids.slice(from, from + count));
      for (let i = from + 1; i <= from + count; i++) targets.push(countsLoss && piece.loss[i] ? piece.ids[i]! : -1);
      left -= count;
    };
    if (state.cut) {
      const { source, piece: n, from } = state.cut;
      const piece = await pieceOf(source, n);
      const count = Math.min(left, piece.ids.length - 1 - from);
      add(piece, from, count);
      state.given[source]! += count;
      state.cut = from + count < piece.ids.length - 1 ? { source, piece: n, from: from + count } : null;
    }
    while (left > 0) {
      // Every further row must leave room to pad what may remain.
      if (rows.length + 1 + Math.ceil((left - 1) / sequence) > maximumRows) {
        while (left > 0) {
          const count = Math.min(left, sequence);
          rows.push(new Array<number>(count).fill(paddingId));
          for (let i = 0; i < count; i++) targets.push(-1);
          left -= count;
        }
        break;
      }
      let source = mostBehind(state.given, order);
      let piece = await nextOf(source, state);
      if (piece.isWhole && piece.ids.length - 1 > left) {
        const filler = await cuttable(state, source);
        if (filler === undefined) {
          add(piece, 0, left, false);
          break;
        }
        source = filler;
        piece = await nextOf(source, state);
      }
      const count = Math.min(left, piece.ids.length - 1);
      add(piece, 0, count);
      const n = state.next[source]!++;
      state.given[source]! += count;
      if (count < piece.ids.length - 1) state.cut = { source, piece: n, from: count };
    }
    return { rows, targets };
  };

  /** The source most behind, other than `not`, whose next piece may be cut. */
  const cuttable = async (state: Position, not: number): Promise<number | undefined> => {
    let among = order.filter((i) => i !== not);
    while (among.length > 0) {
      const source = mostBehind(state.given, among);
      if (!(await nextOf(source, state)).isWhole) return source;
      among = among.filter((i) => i !== source);
    }
    return undefined;
  };

  const copy = (from: Position): Position => ({ ...from, next: [...from.next], given: [...from.given] });
  return {
    async next() {
      // A batch that fails half-way leaves the place where it was.
      const state = copy(position);
      const batch = await fill(state);
      position = state;
      return batch;
    },
    position: () => copy(position),
    restore(saved) {
      const parsed = positionSchema.safeParse(saved);
      const fits = (at: Position): boolean =>
        at.next.length === sources.length &&
        at.given.length === sources.length &&
        at.stream === stream &&
        (at.cut === null || at.cut.source < sources.length);
      if (!parsed.success || !fits(parsed.data)) {
        throw new DataError(
          "data position",
          "",
          `expected a place in this stream of ${sources.length} sources, got ${JSON.stringify(saved)?.slice(0, 200) ?? "nothing"} (other data, weights, sizes or seed than when it was saved?)`,
        );
      }
      position = copy(parsed.data);
    },
    progress: () =>
      sources.map(({ source }, i) => ({
        name: source.name,
        tokens: position.given[i]!,
        ...(source.epoch === undefined ? {} : { passes: position.next[i]! / source.epoch }),
      })),
  };
}

function checkSize(sources: readonly WeightedSource[], { tokensPerBatch, sequence, maximumRows }: BatchSize): void {
  for (const [name, value] of Object.entries({ tokensPerBatch, sequence, maximumRows })) {
    if (!Number.isInteger(value) || value < 1) {
      throw new RangeError(`batches: ${name} expected a whole number above 0, got ${value}.`);
    }
  }
  if (sequence > tokensPerBatch) {
    throw new RangeError(`batches: sequence expected at most tokensPerBatch = ${tokensPerBatch}, got ${sequence}.`);
  }
  const fewest = Math.ceil(tokensPerBatch / sequence);
  if (maximumRows < fewest) {
    throw new RangeError(
      `batches: maximumRows expected at least ${fewest} for ${tokensPerBatch} tokens in rows of ${sequence}, got ${maximumRows}.`,
    );
  }
  if (!sources.some(({ weight }) => weight > 0) || sources.some(({ weight }) => !(weight >= 0 && weight < Infinity))) {
    throw new RangeError(`batches: weights expected above 0, got [${sources.map(({ weight }) => weight).join(", ")}].`);
  }
}
