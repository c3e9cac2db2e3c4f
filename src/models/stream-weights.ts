/**
 * Bytes of a checkpoint on their way to the device: pieces of whole rows, some at a time, read straight into memory that the
 * device lends. So the host holds a few pieces and no more, and the next ones are read while the last are copied.
 *
 * Two reads at a time also share out the first touch of fresh memory, which can cost more than the reading (on virtual
 * machines a page fault takes ten microseconds and more).
 */
import { type Checkpoint, type TensorEntry, toFloat32 } from "../formats/index.js";
import { checkpointRowBytes, receiveRows, rowsPerPiece, type WeightMatrix } from "../ops/index.js";
import type { Tensor } from "../tensor/index.js";

/** A tensor of the checkpoint, and its scales if it is quantised. */
export interface WeightSource {
  readonly entry: TensorEntry;
  readonly scale: TensorEntry | undefined;
}

/** Sources stacked into one target. */
export type WeightStream =
  | { readonly kind: "vector"; readonly target: Tensor; readonly sources: readonly WeightSource[] }
  | { readonly kind: "matrix"; readonly target: WeightMatrix; readonly sources: readonly WeightSource[] };

export interface StreamWeightsOptions {
  readonly signal: AbortSignal | undefined;
  /** Told of the bytes of each piece. */
  readonly advance: (bytes: number) => void;
}

/** Pieces under way: as many as Node reads at a time, and half of a device's staging buffers. */
const PIECES_UNDER_WAY = 4;

/** Fills all targets. When it fails, nothing is written to them any more. */
export async function streamWeights(
  checkpoint: Checkpoint,
  streams: readonly WeightStream[],
  options: StreamWeightsOptions,
): Promise<void> {
  await inParallel(jobs(checkpoint, streams, options), PIECES_UNDER_WAY);
}

type Job = () => Promise<void>;

function* jobs(
  checkpoint: Checkpoint,
  streams: readonly WeightStream[],
  options: StreamWeightsOptions,
): Generator<Job> {
  for (const stream of streams) {
    if (stream.kind === "vector") yield () => fillVector(checkpoint, stream.target, stream.sources, options);
    else yield* matrixJobs(checkpoint, stream.target, stream.sources, options);
  }
}

async function fillVector(
  checkpoint: Checkpoint,
  target: Tensor,
  sources: readonly WeightSource[],
  { signal, advance }: StreamWeightsOptions,
): Promise<void> {
  const values = new Float32Array(target.size);
  let at = 0;
  for (const { entry } of sources) {
    const part = toFloat32(entry.dtype, await checkpoint.read(entry.name, signal));
    values.set(part, at);
    at += part.length;
    advance(entry.byteLength);
  }
  target.write(values);
}

function* matrixJobs(
  checkpoint: Checkpoint,
  target: WeightMatrix,
  sources: readonly WeightSource[],
  { signal, advance }: StreamWeightsOptions,
): Generator<Job> {
  const most = rowsPerPiece(target);
  let first = 0;
  for (const { entry, scale } of sources) {
    // float64 and halves that are wanted in float32: what is stored is not what is kept.
    const isWidened = target.kind === "f32" && entry.dtype !== "F32";
    const rowBytes = isWidened ? target.columns * bytesOfElement(entry) : checkpointRowBytes(target);
    const rows = entry.byteLength / rowBytes;
    const scaleRowBytes = scale ? scale.byteLength / rows : 0;
    for (let row = 0; row < rows; row += most) {
      const count = Math.min(most, rows - row);
      const at = first + row;
      yield async () => {
        const range = async ({ name }: TensorEntry, bytesPerRow: number) => {
          const bytes = new Uint8Array(count * bytesPerRow);
          await checkpoint.readInto(name, bytes, row * bytesPerRow, signal);
          return bytes;
        };
        const read = async (codes: Uint8Array) => {
          if (isWidened) codes.set(bytesOf(toFloat32(entry.dtype, await range(entry, rowBytes))));
          else await checkpoint.readInto(entry.name, codes, row * rowBytes, signal);
        };
        const scales = scale && toFloat32(scale.dtype, await range(scale, scaleRowBytes));
        await receiveRows(target, at, count, read, scales);
        advance(count * rowBytes);
      };
    }
    first += rows;
  }
}

const bytesOfElement = ({ byteLength, shape }: TensorEntry): number => byteLength / shape.reduce((a, b) => a * b, 1);

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** Works on so many jobs at a time, in their order. After a failure those under way are waited for: they hold memory. */
async function inParallel(jobs: Generator<Job>, most: number): Promise<void> {
  let failure: { readonly error: unknown } | undefined;
  const worker = async () => {
    for (let next = jobs.next(); !next.done && !failure; next = jobs.next()) {
      try {
        await next.value();
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: most }, worker));
  if (failure) throw failure.error;
}
