/** Building steps on the host: the flat token axis, the rows, and the tiles of prefill attention. */
import type { Device } from "../device/index.js";
import { QUERY_TILE, ROW_WORDS, type Step, TILE_WORDS, TOKEN_WORDS } from "../ops/index.js";
import { type Tensor, upload } from "../tensor/index.js";

/** Tokens that a sequence adds in a step. */
export interface StepRow {
  readonly slot: number;
  /** Tokens of the sequence that came before. */
  readonly past: number;
  readonly ids: readonly number[];
}

export interface OwnedStep extends Step, Disposable {
  dispose(): void;
}

/** Uploads a step. Rows may have different lengths; each must have at least one token. */
export function buildStep(device: Device, rows: readonly StepRow[]): OwnedStep {
  const tokenCount = rows.reduce((sum, row) => sum + row.ids.length, 0);
  const tokenWords = new Int32Array(tokenCount * TOKEN_WORDS);
  const rowWords = new Int32Array(rows.length * ROW_WORDS);
  const tileWords: number[] = [];
  let t = 0;
  let lengthBound = 0;
  for (const [r, row] of rows.entries()) {
    if (row.ids.length === 0) throw new RangeError(`step: row ${r} has no tokens`);
    rowWords.set([t, row.ids.length, row.slot, row.past], r * ROW_WORDS);
    for (let first = 0; first < row.ids.length; first += QUERY_TILE) tileWords.push(r, t + first);
    for (const [i, id] of row.ids.entries()) {
      tokenWords.set([id, row.past + i, r, row.slot], t * TOKEN_WORDS);
      t += 1;
    }
    lengthBound = Math.max(lengthBound, row.past + row.ids.length);
  }
  const isDecode = rows.every((row) => row.ids.length === 1);
  const tokens = upload(device, tokenWords, [tokenCount, TOKEN_WORDS], "i32");
  const rowsTensor = upload(device, rowWords, [rows.length, ROW_WORDS], "i32");
  const tiles: Tensor | undefined = isDecode
    ? undefined
    : upload(device, Int32Array.from(tileWords), [tileWords.length / TILE_WORDS, TILE_WORDS], "i32");
  const dispose = () => {
    tokens.dispose();
    rowsTensor.dispose();
    tiles?.dispose();
  };
  return {
    tokens,
    rows: rowsTensor,
    tiles,
    ids: rows.flatMap((row) => row.ids),
    tokenCount,
    rowCount: rows.length,
    isDecode,
    lengthBound,
    dispose,
    [Symbol.dispose]: dispose,
  };
}
