/**
 * Low-rank adapters: W' = W + (alpha / rank) · B A with W frozen, A: [rank, K], B: [N, rank].
 *
 *   dA = (alpha / rank) Bᵀ dW',   dB = (alpha / rank) dW' Aᵀ
 *
 * The model itself always holds W': after each step the adapted matrices are made again from kept copies of W. So every model
 * can be adapted without knowing it, what is evaluated or saved is the merged model, and merging costs nothing. The price is
 * one copy of the adapted matrices, and the gradient dW' that is made on the way.
 *
 * Axes    padded as weights are: A [rank₃₂, stride], B [N, rank₃₂], rank₃₂ the rank rounded up to 32. What is padding has zero
 *         gradients and stays zero.
 * Source  Hu et al. 2021, arXiv 2106.09685: A random, B zero. Names of saved tensors: peft's.
 */
import { type Checkpoint, type TensorToWrite, toFloat32 } from "../formats/index.js";
import type { LanguageModel, NamedRows } from "../models/index.js";
import { matmul, matrixFromTensor, scale, transpose } from "../ops/index.js";
import { empty, Tensor, upload, zeros } from "../tensor/index.js";
import { normalNumbers } from "./initialise.js";
import { NotTrainableError, type TrainedTensor } from "./optimisers/trained-tensors.js";
import type { Trainee } from "./trainee.js";

export interface LoraOptions {
  readonly rank: number;
  /** Default: the rank. */
  readonly alpha?: number | undefined;
  /** Ends of tensor names, without ".weight". Default: attention's projections. */
  readonly targets?: readonly string[] | undefined;
  readonly seed?: number | string | undefined;
}

export const ATTENTION_TARGETS = [
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "qkv_proj",
  "output_gate",
  "out_proj",
] as const;

export const ADAPTER_FILE = "adapter_model.safetensors";
export const ADAPTER_CONFIG_FILE = "adapter_config.json";

interface Adapter {
  readonly name: string;
  readonly holder: Tensor;
  /** Rows of the holder. */
  readonly first: number;
  readonly rows: number;
  readonly columns: number;
  readonly stride: number;
  readonly a: Tensor;
  readonly b: Tensor;
  /** W, [rows, stride]. */
  readonly base: Tensor;
}

const padded = (n: number) => Math.ceil(n / 32) * 32;

export class Lora implements Trainee {
  readonly tensors: readonly TrainedTensor[];
  readonly sources: readonly Tensor[];
  private readonly adapters: readonly Adapter[];
  private readonly rank: number;
  private readonly alpha: number;
  private readonly targets: readonly string[];

  /**
   * @throws {RangeError} no matrix has such a name.
   * @throws {NotTrainableError} a matrix is not float32.
   */
  constructor(
    readonly model: LanguageModel,
    { rank, alpha = rank, targets = ATTENTION_TARGETS, seed = 0 }: LoraOptions,
  ) {
    if (!(Number.isInteger(rank) && rank >= 1)) throw new RangeError(`lora: rank expected from 1, got ${rank}`);
    [this.rank, this.alpha, this.targets] = [rank, alpha, targets];
    const isTarget = ({ name, shape }: NamedRows) =>
      shape.length === 2 && targets.some((end) => `.${name}`.replace(/\.weight$/, "").endsWith(`.${end}`));
    const rows = (model.tensors ?? []).filter(isTarget);
    if (rows.length === 0) {
      throw new RangeError(`lora: the model has no matrix whose name ends with ${targets.join(", ")}`);
    }
    this.adapters = rows.map((one) => adapterOf(one, rank, seed));
    this.tensors = this.adapters.flatMap(({ name, a, b, stride, rows }) => [
      trained(`${name}.lora_A`, a, padded(rank), stride),
      trained(`${name}.lora_B`, b, rows, padded(rank)),
    ]);
    this.sources = [...new Set(this.adapters.map(({ holder }) => holder))];
  }

  get parameters(): number {
    return this.adapters.reduce((sum, { rows, columns }) => sum + this.rank * (rows + columns), 0);
  }

  pull(gradients: readonly (Tensor | undefined)[]): Tensor[] {
    const of = new Map(this.sources.map((source, i) => [source, gradients[i]]));
    const made = this.adapters.flatMap(({ holder, first, rows, stride, a, b }) => {
      const whole = of.get(holder);
      if (!whole) return [zeros(a.device, a.shape), zeros(b.device, b.shape)];
      using dW = empty(a.device, [rows, stride]);
      a.device.copy(rowsOf(whole, first, rows, stride), dW);
      using bT = transpose(b);
      using dWT = matrixFromTensor(transpose(dW, { columnsOut: padded(rows) }), rows);
      using dA = matmul(bT, dWT);
      using aMatrix = matrixFromTensor(a.retain(), stride);
      using dB = matmul(dW, aMatrix);
      return [scale(dA, this.factor), scale(dB, this.factor)];
    });
    for (const gradient of gradients) gradient?.dispose();
    return made;
  }

  push(): void {
    for (const { holder, first, rows, stride, a, b, base } of this.adapters) {
      using aT = matrixFromTensor(transpose(a), padded(this.rank));
      using merged = matmul(b, aT, { residual: { tensor: base, alpha: 1, beta: this.factor } });
      holder.device.copy(merged, rowsOf(holder, first, rows, stride));
    }
  }

  /** The adapters under peft's names. */
  files(): TensorToWrite[] {
    return this.adapters.flatMap(({ name, a, b, rows, columns, stride }) => [
      written(`${name}.lora_A.weight`, a, this.rank, columns, stride),
      written(`${name}.lora_B.weight`, b, rows, this.rank, padded(this.rank)),
    ]);
  }

  /** As peft writes it. @param base path or name of the model. */
  config(base: string): object {
    return {
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      base_model_name_or_path: base,
      r: this.rank,
      lora_alpha: this.alpha,
      lora_dropout: 0,
      bias: "none",
      fan_in_fan_out: false,
      inference_mode: true,
      target_modules: [...this.targets],
    };
  }

  /** Reads adapters that `files` wrote, and brings them into the model. @throws {RangeError} they are another model's. */
  async load(file: Checkpoint): Promise<void> {
    const wanted = this.files();
    const problems = wanted.flatMap(({ name, shape }) => {
      const entry = file.entries.get(name);
      if (!entry) return [`${name} is missing`];
      return entry.shape.join() === shape.join()
        ? []
        : [`${name}: expected [${shape.join(", ")}], got [${entry.shape.join(", ")}]`];
    });
    if (problems.length > 0) throw new RangeError(`lora: the adapters do not fit: ${problems.slice(0, 6).join("; ")}`);
    const read = async (name: string) => {
      const { dtype } = file.entries.get(name) ?? { dtype: "F32" as const };
      return toFloat32(dtype, await file.read(name));
    };
    for (const { name, a, b, rows, columns, stride } of this.adapters) {
      const prefix = `base_model.model.${name}`;
      a.write(spread(await read(`${prefix}.lora_A.weight`), this.rank, columns, a.size, stride));
      b.write(spread(await read(`${prefix}.lora_B.weight`), rows, this.rank, b.size, padded(this.rank)));
    }
    this.push();
  }

  private get factor(): number {
    return this.alpha / this.rank;
  }

  dispose(): void {
    for (const { a, b, base } of this.adapters) for (const tensor of [a, b, base]) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function adapterOf({ name, holder, first, shape }: NamedRows, rank: number, seed: number | string): Adapter {
  if (holder instanceof Tensor || holder.kind !== "f32") {
    throw new NotTrainableError(
      `${name}: adapted weights expected as a float32 matrix. Load the model with its weights widened.`,
    );
  }
  const { device, rowStride: stride, columns, codes } = holder;
  const [rows = 0] = shape;
  const numbers = normalNumbers(rank * columns, 1 / Math.sqrt(3 * columns), `${seed}|${name}`);
  const height = padded(rank);
  const a = upload(device, spread(numbers, rank, columns, height * stride, stride), [height, stride]);
  const b = zeros(device, [rows, height]);
  const base = empty(device, [rows, stride]);
  device.copy(rowsOf(codes, first, rows, stride), base);
  return { name: name.replace(/\.weight$/, ""), holder: codes, first, rows, columns, stride, a, b, base };
}

const rowsOf = ({ allocation, byteOffset }: Tensor, first: number, rows: number, stride: number) => ({
  ...{ allocation, byteOffset: byteOffset + 4 * first * stride, byteLength: 4 * rows * stride },
});

const trained = (name: string, tensor: Tensor, rows: number, columns: number): TrainedTensor => ({
  ...{ name, tensor, columns, role: "matrix" as const },
  parts: [{ first: 0, rows, columns }],
});

/** Rows of `columns` numbers, each at a multiple of `stride`. */
function spread(values: Float32Array, rows: number, columns: number, size: number, stride: number): Float32Array {
  const wide = new Float32Array(size);
  for (let row = 0; row < rows; row++) wide.set(values.subarray(row * columns, (row + 1) * columns), row * stride);
  return wide;
}

function written(name: string, tensor: Tensor, rows: number, columns: number, stride: number): TensorToWrite {
  return {
    ...{ name: `base_model.model.${name}`, dtype: "F32" as const, shape: [rows, columns] },
    async bytes() {
      const wide = await tensor.readFloat32();
      const values = new Float32Array(rows * columns);
      for (let row = 0; row < rows; row++) {
        values.set(wide.subarray(row * stride, row * stride + columns), row * columns);
      }
      return new Uint8Array(values.buffer);
    },
  };
}
