/**
 * The decode step of a batch, captured once and replayed: embedding to sampled token and back, without the host.
 *
 * A batch of R rows has its own step buffer, output ring and captured list. Which sequences sit in the rows is data: when
 * sequences join or leave, only the step buffer is written. A list is captured anew when the caches got a segment or when
 * a context outgrows the grids; the batch size is rounded up to a power of two, and rows to spare are dead.
 */
import type { SequencePool } from "../cache/index.js";
import type { CapturedList } from "../device/index.js";
import type { LanguageModel } from "../models/index.js";
import { advance, OUTPUT, OUTPUT_WORDS, ROW_WORDS, type Step, sample, TOKEN_WORDS } from "../ops/index.js";
import { type Tensor, zeros } from "../tensor/index.js";

/** A running sequence's next input. */
export interface DecodeRow {
  readonly slot: number;
  readonly token: number;
  /** Position that the token gets: tokens in the cache before the step. */
  readonly position: number;
}

export interface DecodeOutput {
  /** −1: the row was not active in this step. */
  readonly slot: number;
  readonly token: number;
  readonly logProb: number;
  readonly finish: number;
}

/** Steps that the ring holds: the most that are recorded between two reads. */
export const RING_STEPS = 32;

export class DecodeBatch implements Disposable {
  private readonly tokens: Tensor;
  private readonly rows: Tensor;
  private readonly ring: Tensor;
  private readonly ringHead: Tensor;
  private captured:
    | { readonly list: CapturedList; readonly generation: number; readonly lengthBound: number }
    | undefined;
  private head = 0;

  constructor(
    private readonly model: LanguageModel,
    private readonly pool: SequencePool,
    /** Rows of the step. */
    readonly size: number,
  ) {
    const { device } = model;
    this.tokens = zeros(device, [size, TOKEN_WORDS], "i32", "decode tokens");
    this.rows = zeros(device, [size, ROW_WORDS], "i32", "decode rows");
    this.ring = zeros(device, [RING_STEPS, size, OUTPUT_WORDS], "i32", "output ring");
    this.ringHead = zeros(device, [1], "i32", "output ring head");
  }

  /** Seats sequences in the rows. */
  seat(sequences: readonly DecodeRow[]): void {
    const tokens = new Int32Array(this.size * TOKEN_WORDS);
    const rows = new Int32Array(this.size * ROW_WORDS);
    for (let r = 0; r < this.size; r++) {
      const row = sequences[r];
      tokens.set([row?.token ?? 0, row?.position ?? 0, r, row?.slot ?? -1], r * TOKEN_WORDS);
      rows.set([r, 1, row?.slot ?? -1, row?.position ?? 0], r * ROW_WORDS);
    }
    this.tokens.write(tokens);
    this.rows.write(rows);
  }

  /** Records `steps` steps. `longest`: tokens of the longest sequence after them. */
  run(steps: number, longest: number): void {
    if (steps > RING_STEPS) throw new RangeError(`at most ${RING_STEPS} decode steps between two reads`);
    const list = this.list(longest);
    for (let i = 0; i < steps; i++) list.replay();
    this.model.device.flush();
  }

  /** Waits for the last `run` and returns its outputs, [steps][rows]. */
  async outputs(steps: number): Promise<DecodeOutput[][]> {
    const outputs = await readOutputs(this.ring);
    const all: DecodeOutput[][] = [];
    for (let s = 0; s < steps; s++) {
      const base = ((this.head + s) % RING_STEPS) * this.size;
      all.push(outputs.slice(base, base + this.size));
    }
    this.head = (this.head + steps) % RING_STEPS;
    return all;
  }

  private list(longest: number): CapturedList {
    const { generation } = this.pool;
    if (this.captured && this.captured.generation === generation && this.captured.lengthBound >= longest) {
      return this.captured.list;
    }
    this.captured?.list.dispose();
    this.captured = undefined;
    const step = this.stepFor(longest);
    const list = this.model.device.capture(() => recordDecode(this.model, this.pool, step, this.ring, this.ringHead));
    this.captured = { list, generation, lengthBound: step.lengthBound };
    return list;
  }

  /** Inside a device's `rehearse`: the launches of a step. */
  rehearse(longest: number): void {
    recordDecode(this.model, this.pool, this.stepFor(longest), this.ring, this.ringHead);
  }

  private stepFor(longest: number): Step {
    return {
      tokens: this.tokens,
      rows: this.rows,
      tiles: undefined,
      tokenCount: this.size,
      rowCount: this.size,
      isDecode: true,
      lengthBound: Math.min(Math.max(256, 2 ** Math.ceil(Math.log2(longest + 1))), this.pool.maxTokens),
    };
  }

  dispose(): void {
    this.captured?.list.dispose();
    for (const tensor of [this.tokens, this.rows, this.ring, this.ringHead]) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** One forward pass, sampling, and the preparation of the next step. */
export function recordDecode(
  model: LanguageModel,
  pool: SequencePool,
  step: Step,
  ring: Tensor,
  ringHead: Tensor,
): void {
  using logits = model.forward(step, pool);
  sample(logits, pool.controls, pool.seen, step);
  advance(step, pool.controls, pool.seen, ring, ringHead);
}

/** Waits for the device and returns all entries of an output ring, step by step and row by row. */
export async function readOutputs(ring: Tensor): Promise<DecodeOutput[]> {
  const words = (await ring.read()) as Int32Array; // the ring is i32
  const floats = new Float32Array(words.buffer, words.byteOffset, words.length);
  return Array.from({ length: words.length / OUTPUT_WORDS }, (_, entry) => {
    const at = entry * OUTPUT_WORDS;
    return {
      slot: words[at + OUTPUT.slot] as number,
      token: words[at + OUTPUT.token] as number,
      logProb: floats[at + OUTPUT.logProb] as number,
      finish: words[at + OUTPUT.finish] as number,
    };
  });
}
