/**
 * Where numbers stop being numbers: parameters, then activations in the order of the layers, then gradients in the order in
 * which they are made. Slow: every tensor is read.
 */
import type { LanguageModel } from "../models/index.js";
import type { Tensor } from "../tensor/index.js";
import type { TrainingBatch } from "./data/batch.js";
import { textGradient, textLoss } from "./text-gradient.js";

export interface Named {
  readonly name: string;
  readonly tensor: Tensor;
}

/**
 * The first tensor with a NaN or an infinity when the batch is computed again with the parameters as they are, in words;
 * or, when all are finite, the one whose gradient is largest beside it.
 */
export async function findDivergence(
  model: LanguageModel,
  trained: readonly Named[],
  batches: readonly TrainingBatch[],
): Promise<string> {
  for (const { name, tensor } of trained) {
    if (!areFinite(await tensor.readFloat32())) return `the parameters ${name}`;
  }
  for (const { rows, targets } of batches) {
    const seen: Named[] = [];
    using loss = textLoss(model, rows, {
      targets,
      onHidden: (name, hidden) => seen.push({ name, tensor: hidden.retain() }),
    });
    try {
      for (const { name, tensor } of seen) if (!areFinite(await tensor.readFloat32())) return placeOf(name);
    } finally {
      for (const { tensor } of seen) tensor.dispose();
    }
    if (!areFinite(await loss.readFloat32())) return "the loss";
  }
  let largest = { name: "", ratio: -1 };
  for (const { rows, targets } of batches) {
    const { loss, gradients } = textGradient(
      model,
      trained.map(({ tensor }) => tensor),
      rows,
      { targets },
    );
    loss.dispose();
    try {
      // The gradient passes from the last layer to the first.
      for (const [i, { name, tensor }] of [...trained.entries()].reverse()) {
        const gradient = await gradients[i]?.readFloat32();
        if (!gradient) continue;
        if (!areFinite(gradient)) return `the gradient of ${name}`;
        const ratio = norm(gradient) / (norm(await tensor.readFloat32()) + 1e-12);
        if (ratio > largest.ratio) largest = { name, ratio };
      }
    } finally {
      for (const gradient of gradients) gradient?.dispose();
    }
  }
  return `nothing that is infinite or NaN; the largest gradient beside its tensor (${largest.ratio.toPrecision(3)}) is that of ${largest.name}`;
}

function placeOf(name: string): string {
  const layer = /^hidden\.(\d+)$/.exec(name)?.[1];
  if (layer === undefined) return `the activations ${name}`;
  return layer === "0"
    ? "the output of the embedding (hidden.0)"
    : `the output of layer ${Number(layer) - 1} (${name})`;
}

const areFinite = (values: Float32Array) => values.every((x) => Number.isFinite(x));
const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
