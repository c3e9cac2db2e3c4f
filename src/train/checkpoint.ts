/**
 * What a training keeps, as tensors to be written and as a small JSON file; the folder itself is train/node's.
 *
 *   config.json, model.safetensors   a model like any other, float32, under the names that it was loaded with
 *   (or adapter_config.json, adapter_model.safetensors: see lora.ts)
 *   optimiser.safetensors            moments and the record of counters
 *   trainer.json                     step, position in the data, running mean of the loss
 */
import { type Checkpoint, type TensorToWrite, toFloat32 } from "../formats/index.js";
import { type LanguageModel, ownNumbers } from "../models/index.js";
import { Tensor } from "../tensor/index.js";
import type { Trainer, TrainerState } from "./trainer.js";

export const TRAINER_FILE = "trainer.json";
export const OPTIMISER_FILE = "optimiser.safetensors";

/** A training cannot go on from these files. */
export class ResumeError extends Error {
  override readonly name = "ResumeError";
}

/** The model's tensors under their names in the checkpoint, float32, each read when its turn has come. */
export function weightTensors(model: LanguageModel): TensorToWrite[] {
  return tensorsOver(model, (tensor) => tensor.readFloat32());
}

/** The same with the averages that the optimiser keeps; undefined without them. */
export function averageTensors({ model, optimiser }: Trainer): TensorToWrite[] | undefined {
  if (!optimiser.hasAverage) return undefined;
  return tensorsOver(model, async (tensor) => (await optimiser.average(tensor)) ?? (await tensor.readFloat32()));
}

function tensorsOver(model: LanguageModel, read: (tensor: Tensor) => Promise<Float32Array>): TensorToWrite[] {
  // Tensors that lie in one holder follow each other.
  let last: { readonly holder: Tensor; readonly numbers: Promise<Float32Array> } | undefined;
  return (model.tensors ?? []).map((rows) => ({
    ...{ name: rows.name, shape: rows.shape, dtype: "F32" as const },
    async bytes() {
      const holder = rows.holder instanceof Tensor ? rows.holder : rows.holder.codes;
      if (last?.holder !== holder) last = { holder, numbers: read(holder) };
      return bytesOf(ownNumbers(rows, await last.numbers));
    },
  }));
}

/** The optimiser's tensors. */
export function optimiserTensors({ optimiser }: Trainer): TensorToWrite[] {
  return [...optimiser.state()].map(({ name, shape, read }) => ({
    ...{ name, shape, dtype: "F32" as const },
    bytes: async () => bytesOf(await read()),
  }));
}

/** @throws {ResumeError} tensors are missing, unexpected or misshapen; nothing has been written then. */
export async function restoreOptimiser({ optimiser }: Trainer, file: Checkpoint, source: string): Promise<void> {
  const wanted = [...optimiser.state()];
  const problems = wanted.flatMap(({ name, shape }) => {
    const entry = file.entries.get(name);
    if (!entry) return [`${name} is missing`];
    if (entry.dtype !== "F32" || entry.shape.join() !== shape.join())
      return [`${name}: expected F32 [${shape.join(", ")}], got ${entry.dtype} [${entry.shape.join(", ")}]`];
    return [];
  });
  const names = new Set(wanted.map(({ name }) => name));
  problems.push(...[...file.entries.keys()].filter((name) => !names.has(name)).map((name) => `${name} is not known`));
  if (problems.length > 0) {
    const more = problems.length > 8 ? `; and ${problems.length - 8} more` : "";
    throw new ResumeError(
      `${source}: the optimiser's state does not fit: ${problems.slice(0, 8).join("; ")}${more}. Was it written with another optimiser or model?`,
    );
  }
  for (const { name, write } of wanted) write(toFloat32("F32", await file.read(name)).slice());
}

/** @throws {ResumeError} it is not what `Trainer.state` gave. */
export function trainerState(json: unknown, source: string): TrainerState {
  const fail = (what: string): never => {
    throw new ResumeError(`${source}: ${what}. It is written by the trainer and not meant to be edited.`);
  };
  if (typeof json !== "object" || json === null) return fail("expected an object");
  const { step, position, meanLoss, exploding } = json as Partial<Record<keyof TrainerState, unknown>>;
  if (typeof step !== "number" || !Number.isInteger(step) || step < 0) return fail("step: expected a whole number");
  if (typeof exploding !== "number") return fail("exploding: expected a number");
  if (meanLoss !== null && typeof meanLoss !== "number") return fail("meanLoss: expected a number or null");
  return { step, position, meanLoss, exploding };
}

const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
