/**
 * The experts of a checkpoint in int4, rounded by what calibration text shows to matter.
 *
 * Every expert's matrix is rounded by the moments of its own inputs; for gate and up the layer's other tokens are mixed in
 * a little. All other matrices are left to plain rounding.
 */
import { type Checkpoint, toFloat32 } from "../../formats/index.js";
import { yieldToEvents } from "../../generate/index.js";
import { type MatrixPlace, matrixPlaces, roundToHalf } from "../../models/index.js";
import { type EncodedWeights, packInt4 } from "../../ops/index.js";
import type { ExpertMoments } from "./expert-moments.js";
import { feedbackFactor } from "./feedback-factor.js";
import { hessianOf, type Moments } from "./hessian.js";
import { polishInt4 } from "./polish-int4.js";
import { roundInt4 } from "./round-int4.js";

export interface CalibrateOptions {
  /** Columns that share a scale. Default 32. */
  readonly group?: number;
  /** Matrices to leave out, by their place in the tree ("layers.0.moe.down"). */
  readonly skip?: ReadonlySet<string>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number, place: string) => void) | undefined;
}

/**
 * Tensors by name, for `quantizedTensors`.
 *
 * @param tree the family's weight declarations.
 * @param moments by layer.
 */
export async function calibratedExperts(
  checkpoint: Checkpoint,
  tree: object,
  moments: ReadonlyMap<number, ExpertMoments>,
  options: CalibrateOptions = {},
): Promise<Map<string, EncodedWeights>> {
  const { group = 32, skip, signal, onProgress } = options;
  const encoded = new Map<string, EncodedWeights>();
  const places = matrixPlaces(checkpoint, tree).filter(({ path }) => !skip?.has(path));
  const work = [...moments].flatMap(([layer, { gateUp, down }]) => [
    { place: placeOf(places, `layers.${layer}.moe.gateUp`), own: gateUp, prior: summed(gateUp) },
    // Inner channels of two experts have nothing to do with each other.
    { place: placeOf(places, `layers.${layer}.moe.down`), own: down, prior: undefined },
  ]);
  const total = work.reduce((sum, { own }) => sum + own.length, 0);
  let done = 0;
  for (const { place, own, prior } of work) {
    if (!place) {
      done += own.length;
      continue;
    }
    const { columns } = place;
    const all = await readRows(checkpoint, place, signal);
    const rows = all.length / columns / own.length;
    const groups = Math.ceil(columns / group);
    const codes = new Int8Array(all.length);
    const scales = new Float32Array((all.length / columns) * groups);
    for (const [e, expert] of own.entries()) {
      signal?.throwIfAborted();
      const values = all.subarray(e * rows * columns, (e + 1) * rows * columns);
      const hessian = hessianOf(expert, prior ? { prior } : {});
      const rounded = roundInt4(values, rows, feedbackFactor(hessian, columns), { group, roundScale: roundToHalf });
      polishInt4(values, rows, hessian, rounded, { group, roundScale: roundToHalf });
      codes.set(rounded.codes, e * rows * columns);
      scales.set(rounded.scales, e * rows * groups);
      onProgress?.(++done, total, place.path);
      await yieldToEvents();
    }
    let row = 0;
    for (const { name, shape } of place.parts) {
      const count = shape.slice(0, -1).reduce((a, b) => a * b, 1);
      encoded.set(name, {
        codes: packInt4(codes.subarray(row * columns, (row + count) * columns), count, columns),
        scales: scales.slice(row * groups, (row + count) * groups),
      });
      row += count;
    }
  }
  return encoded;
}

const placeOf = (places: readonly MatrixPlace[], path: string) => places.find((place) => place.path === path);

async function readRows(checkpoint: Checkpoint, place: MatrixPlace, signal: AbortSignal | undefined) {
  const pieces: Float32Array[] = [];
  for (const { name } of place.parts) {
    const entry = checkpoint.entries.get(name);
    if (!entry) throw new Error(`internal: ${name} vanished`);
    pieces.push(toFloat32(entry.dtype, await checkpoint.read(name, signal)));
  }
  const all = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

function summed(parts: readonly Moments[]): Moments {
  const size = parts[0]?.size ?? 0;
  const sum = new Float64Array(size * size);
  for (const part of parts) for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! + part.sum[i]!;
  return { sum, size, count: parts.reduce((total, part) => total + part.count, 0) };
}
