/** A model folder with its weights in float32, whatever the files hold: what is trained must be. */
import { type Checkpoint, type Folder, isJsonObject, openCheckpoint, toFloat32 } from "../formats/index.js";
import { familyOf, INT4_GROUPS, type MatrixPart, SCALE_SUFFIX, specsOf } from "../models/index.js";
import { COLUMN_BLOCK, weightCodecs } from "../ops/index.js";
import { type MadeTensor, madeFolder } from "./made-folder.js";

/** The folder to be loaded, and the config that a checkpoint of its weights has. */
export interface WidenedFolder extends AsyncDisposable {
  readonly folder: Folder;
  readonly config: object;
}

/**
 * @param folder config.json and safetensors, which stay open until the result is disposed of.
 * @throws {ConfigError} no family knows the model. @throws {CheckpointError} the files are damaged.
 */
export async function widenedFolder(folder: Folder): Promise<WidenedFolder> {
  const source = `${folder.name}/config.json`;
  const json = await folder.readJson("config.json");
  const family = familyOf(json, source);
  const checkpoint = await openCheckpoint(folder);
  try {
    const tree = family.weights(json, source, (name) => checkpoint.entries.get(name)?.shape);
    const tensors: MadeTensor[] = [];
    const known = new Set<string>();
    for (const spec of specsOf(tree)) {
      const parts =
        spec.spec === "vector"
          ? spec.parts
          : (spec.alternatives.find((names) => names.every(({ name }) => checkpoint.entries.has(name))) ?? []);
      for (const part of parts) {
        if (!checkpoint.entries.has(part.name)) continue;
        known.add(part.name).add(part.name + SCALE_SUFFIX);
        tensors.push(widened(checkpoint, part, spec.spec === "matrix" ? spec.columns : 0));
      }
    }
    // What the tree does not have is the loader's to complain about.
    for (const [name, entry] of checkpoint.entries) {
      if (!known.has(name)) tensors.push(widened(checkpoint, { name, shape: entry.shape }, 0));
    }
    const { quantization_config: _, ...config } = isJsonObject(json) ? json : {};
    const plain = { ...config, ...("torch_dtype" in config ? { torch_dtype: "float32" } : { dtype: "float32" }) };
    const files = { "config.json": JSON.stringify(plain, null, 1) };
    return {
      folder: await madeFolder(folder.name, files, tensors, folder),
      config: plain,
      [Symbol.asyncDispose]: () => checkpoint.close(),
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/** @param columns of a matrix; 0: not one. */
function widened(checkpoint: Checkpoint, { name, shape }: MatrixPart, columns: number): MadeTensor {
  const entry = checkpoint.entries.get(name);
  const scale = checkpoint.entries.get(name + SCALE_SUFFIX);
  if (!entry) throw new Error(`internal: ${name} vanished`);
  if (!scale || columns === 0 || (entry.dtype !== "I8" && entry.dtype !== "U8")) {
    return { name, shape: entry.shape, make: async () => toFloat32(entry.dtype, await checkpoint.read(name)).slice() };
  }
  return {
    name,
    shape,
    async make() {
      const codes = await checkpoint.read(name);
      const scales = toFloat32(scale.dtype, await checkpoint.read(scale.name));
      const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
      const kind = entry.dtype === "I8" ? "int8" : "int4";
      const padded = Math.ceil(columns / COLUMN_BLOCK) * COLUMN_BLOCK;
      const groups = scale.shape.at(-1) ?? 1;
      const group = INT4_GROUPS.find((size) => Math.ceil(padded / size) === groups) ?? COLUMN_BLOCK;
      return Float32Array.from(weightCodecs[kind].decode({ codes, scales }, rows, columns, group));
    },
  };
}
