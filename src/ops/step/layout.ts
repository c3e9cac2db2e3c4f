/**
 * The step buffer: everything that changes from one forward pass to the next, kept on the device.
 *
 * A batch is one flat axis of T tokens. Row r of the batch owns tokens `firstToken … firstToken + tokenCount − 1`, all of
 * one sequence, in order. A sequence is a *slot* of the pool: its cache pages, lightning states and generation control are
 * found by slot. A slot of −1 marks a dead token or row: kernels compute something finite for it and write no state.
 *
 * In a decode step every row has one token and token t belongs to row t; the `advance` kernel prepares the next step's
 * tokens and rows on the device, so that the same launches can be replayed.
 *
 * All words are i32 unless a comment says f32 (then the bits of a float).
 */
import type { Tensor } from "../../tensor/index.js";

/** Words of a token: [T, TOKEN_WORDS]. */
export const TOKEN = { id: 0, position: 1, row: 2, slot: 3 } as const;
export const TOKEN_WORDS = 4;

/** Words of a row: [R, ROW_WORDS]. `past`: tokens of the sequence before this step = position of the row's first token. */
export const ROW = { firstToken: 0, tokenCount: 1, slot: 2, past: 3 } as const;
export const ROW_WORDS = 4;

/** Prefill attention works on tiles of at most this many tokens of one row. */
export const QUERY_TILE = 32;
/** Words of a tile: [tiles, TILE_WORDS]: the row, and the tile's first token on the flat axis. */
export const TILE = { row: 0, firstToken: 1 } as const;
export const TILE_WORDS = 2;

/** Words of a slot's generation control: [slots, CONTROL_WORDS]. Written by the host when a sequence starts, then by kernels. */
export const CONTROL = {
  /** 1 while the sequence generates; 0: sampling and `advance` leave it alone. */
  active: 0,
  /** Position that the next fed token gets: tokens in the cache after the current step. */
  position: 1,
  /** The token sampled last, which is fed next. */
  token: 2,
  /** Tokens generated so far, and their limit. */
  generated: 3,
  maxTokens: 4,
  /** See FINISH. */
  finish: 5,
  /** 0 not thinking yet, 1 inside, 2 closed. Driven by openId and closeId where the markers are single tokens. */
  thinkState: 6,
  thinkCount: 7,
  /** Thinking tokens allowed; −1: no limit. At the limit the forced tokens begin. */
  thinkBudget: 8,
  openId: 9,
  closeId: 10,
  /** Index of the next forced token, −1 when none is due; their count; the tokens. */
  forcedAt: 11,
  forcedCount: 12,
  forced: 13, // … 28
  stopCount: 29,
  stop: 30, // … 45
  /** Consecutive tokens whose log-probability was above the threshold (f32); the limit, 0: off. */
  repeatCount: 46,
  repeatLimit: 47,
  repeatThreshold: 48,
  seed: 49,
  temperature: 50, // f32; 0: greedy
  topK: 51, // 0: off
  topP: 52, // f32; 1: off
  minP: 53, // f32; 0: off
  repetitionPenalty: 54, // f32; 1: off
  /** f32, natural log of the sampled token's probability at temperature 1 without filters. */
  logProb: 55,
  /** Positions that the sequence's pages hold; reaching it finishes with `context`. */
  maxPosition: 56,
} as const;
export const CONTROL_WORDS = 64;
export const MAX_FORCED = 16;
export const MAX_STOPS = 16;

export const FINISH = { none: 0, stop: 1, length: 2, repetition: 3, context: 4 } as const;

/** Words of an entry of the output ring: [ringSteps, R, OUTPUT_WORDS]: token, log-probability (f32), FINISH, slot (−1: row was not active). */
export const OUTPUT = { token: 0, logProb: 1, finish: 2, slot: 3 } as const;
export const OUTPUT_WORDS = 4;

/** One forward pass. The host knows the counts; everything else is in the tensors. */
export interface Step {
  /** i32 [T, TOKEN_WORDS]. */
  readonly tokens: Tensor;
  /** i32 [R, ROW_WORDS]. */
  readonly rows: Tensor;
  /** i32 [tiles, TILE_WORDS], or nothing in a decode step. */
  readonly tiles: Tensor | undefined;
  /** The tokens' ids, where the host made the step: gradients of the embedding group tokens by them. */
  readonly ids?: readonly number[];
  readonly tokenCount: number;
  readonly rowCount: number;
  /** Every row has exactly one token, and token t belongs to row t. */
  readonly isDecode: boolean;
  /** At least the largest `past + tokenCount` of any row, now and while this step is replayed: sizes grids only. */
  readonly lengthBound: number;
}
