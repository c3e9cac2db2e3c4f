/**
 * A model from scratch: a config and a seed.
 *
 *   matrices, embedding, head, router   normal, standard deviation 0.02
 *   projections back into the residual  normal, 0.02 / √(2 · layers), so that the sum over the layers does not grow
 *   norms                               1; biases 0
 *
 * Every tensor has random numbers of its own, by its name in the checkpoint: layers can be added without changing others.
 *
 * Source  Radford et al. 2019 ("Language Models are Unsupervised Multitask Learners"), 2.3, for the scale of projections.
 */
import type { Folder } from "../formats/index.js";
import { familyOf, type MatrixSpec, specsOf, type VectorSpec } from "../models/index.js";
import { type MadeTensor, madeFolder } from "./made-folder.js";
import { Random } from "./tasks/index.js";

export interface InitialiseOptions {
  readonly seed?: number | string;
  /** Standard deviation. Default: the config's `initializer_range`, or 0.02. */
  readonly deviation?: number;
}

/**
 * A folder that the loader reads like any other.
 *
 * @param config config.json of a family; `source` names it in errors.
 * @param files other files of the folder (the tokenizer's).
 * @throws {ConfigError}
 */
export function initialisedFolder(
  config: object,
  source: string,
  { seed = 0, deviation }: InitialiseOptions = {},
  files: Readonly<Record<string, string>> = {},
  rest?: Folder,
): Promise<Folder> {
  const family = familyOf(config, source);
  const tree = family.weights(config, source, () => undefined);
  const layers = "num_hidden_layers" in config ? Number(config.num_hidden_layers) : 1;
  const range = "initializer_range" in config ? Number(config.initializer_range) : 0.02;
  const plain = deviation ?? (range > 0 ? range : 0.02);
  const tensors = [...specsOf(tree)].flatMap((spec) =>
    partsOf(spec).map(({ name, shape }): MadeTensor => {
      const size = shape.reduce((a, b) => a * b, 1);
      if (spec.spec === "vector") {
        return { name, shape, make: () => new Float32Array(size).fill(name.endsWith(".bias") ? 0 : 1) };
      }
      const scale = isProjection(name) ? plain / Math.sqrt(2 * layers) : plain;
      return { name, shape, make: () => normalNumbers(size, scale, `${seed}|${name}`) };
    }),
  );
  const text = { "config.json": JSON.stringify(config, null, 1), ...files };
  return madeFolder(source, text, tensors, rest);
}

function partsOf(spec: MatrixSpec | VectorSpec) {
  return spec.spec === "vector" ? spec.parts : (spec.alternatives[0] ?? []);
}

/** What adds to the residual: attention's output, and the way down of an MLP or expert. */
const isProjection = (name: string) => /\.(o_proj|out_proj|down_proj|w2)(\.weight)?$/.test(name);

/** Normal numbers by Box and Muller's method. */
export function normalNumbers(count: number, deviation: number, seed: number | string): Float32Array {
  const random = new Random(seed);
  const numbers = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = deviation * Math.sqrt(-2 * Math.log(1 - random.float()));
    const angle = 2 * Math.PI * random.float();
    numbers[i] = radius * Math.cos(angle);
    if (i + 1 < count) numbers[i + 1] = radius * Math.sin(angle);
  }
  return numbers;
}
