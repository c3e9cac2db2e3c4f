/**
 * A model folder whose float32 weights are made while they are read: from random numbers, or from a quantised checkpoint. So
 * the ordinary loader serves training too, and no second copy of a model lies in memory.
 */
import { type ByteSource, type Folder, memorySink, parseJson, writeSafetensors } from "../formats/index.js";

/** A float32 tensor and how it comes about. */
export interface MadeTensor {
  readonly name: string;
  readonly shape: readonly number[];
  make(): Promise<Float32Array> | Float32Array;
}

const WEIGHTS = "model.safetensors";
/** Made tensors that are kept: the loader reads a few at a time, in pieces. */
const KEPT = 6;

/**
 * @param files texts by their names, config.json among them.
 * @param rest where other files are looked for.
 */
export async function madeFolder(
  name: string,
  files: Readonly<Record<string, string>>,
  tensors: readonly MadeTensor[],
  rest?: Folder,
): Promise<Folder> {
  const header = await headerOf(tensors);
  const own = (file: string) => (Object.hasOwn(files, file) ? files[file] : undefined);
  return {
    name,
    async open(file) {
      if (file === WEIGHTS) return tensorSource(`${name}/${WEIGHTS}`, header, tensors);
      if (rest) return rest.open(file);
      throw new RangeError(`${name}: there is no ${file}`);
    },
    async has(file) {
      return file === WEIGHTS || own(file) !== undefined || (isOther(file) && ((await rest?.has(file)) ?? false));
    },
    async readText(file) {
      const text = own(file);
      if (text !== undefined) return text;
      if (rest) return rest.readText(file);
      throw new RangeError(`${name}: there is no ${file}`);
    },
    async readJson(file) {
      const text = own(file);
      if (text !== undefined) return parseJson(text, { file: `${name}/${file}` });
      if (rest) return rest.readJson(file);
      throw new RangeError(`${name}: there is no ${file}`);
    },
    close: async () => {},
  };
}

/** Files of the weights that were there before are not those of this folder. */
const isOther = (file: string) => !file.endsWith(".safetensors") && !file.endsWith(".safetensors.index.json");

const numbersOf = ({ shape }: MadeTensor) => shape.reduce((a, b) => a * b, 1);

/** The header that a file with these tensors has; nothing is made for it. */
async function headerOf(tensors: readonly MadeTensor[]): Promise<Uint8Array> {
  const sink = memorySink();
  const enough = new Error("the header is written");
  const first = tensors.map(({ name, shape }, i) => ({
    ...{ name, shape, dtype: "F32" as const },
    bytes: () => {
      if (i === 0) throw enough;
      return new Uint8Array(0);
    },
  }));
  await writeSafetensors(sink, first).catch((error: unknown) => {
    if (error !== enough) throw error;
  });
  return sink.bytes();
}

function tensorSource(name: string, header: Uint8Array, tensors: readonly MadeTensor[]): ByteSource {
  let end = header.byteLength;
  const places = tensors.map((tensor) => {
    const begin = end;
    end += 4 * numbersOf(tensor);
    return { tensor, begin, end };
  });
  const size = end;
  const made = new Map<MadeTensor, Promise<Uint8Array>>();
  const bytesOf = (tensor: MadeTensor): Promise<Uint8Array> => {
    let bytes = made.get(tensor);
    if (!bytes) {
      bytes = Promise.resolve(tensor.make()).then((values) => {
        if (values.length !== numbersOf(tensor)) {
          throw new RangeError(`${tensor.name}: expected ${numbersOf(tensor)} numbers, got ${values.length}`);
        }
        return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      });
    }
    // The one that was used last goes to the end.
    made.delete(tensor);
    made.set(tensor, bytes);
    for (const old of made.keys()) {
      if (made.size <= KEPT) break;
      made.delete(old);
    }
    return bytes;
  };
  const readInto = async (target: Uint8Array, offset: number): Promise<void> => {
    const last = offset + target.byteLength;
    if (offset < header.byteLength) target.set(header.subarray(offset, Math.min(header.byteLength, last)));
    for (const { tensor, begin, end } of places) {
      if (end <= offset || begin >= last) continue;
      const [from, to] = [Math.max(begin, offset), Math.min(end, last)];
      target.set((await bytesOf(tensor)).subarray(from - begin, to - begin), from - offset);
    }
  };
  return {
    name,
    size,
    async read(offset, length) {
      if (offset < 0 || offset + length > size) throw new RangeError(`${name}: read beyond the end`);
      const bytes = new Uint8Array(length);
      await readInto(bytes, offset);
      return bytes;
    },
    readInto,
    close: async () => made.clear(),
  };
}
