/** A folder of reference values of packed caches: transforms, the quantiser's corners, page images, whole recipes. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { Device } from "../../../device/index.js";
import { directoryFolder } from "../../../formats/node/index.js";
import { fwht, widestBlock } from "../../../ops/index.js";
import { upload } from "../../../tensor/index.js";
import { type Check, checkRms, checkWords, messageOf, relativeRms } from "../compare.js";
import { parseReference, ReferenceTensors } from "../goldens-file.js";
import { checkRecipe } from "./check-recipe.js";
import { packedRows } from "./kv-store.js";

const FORMAT = "fulgur-kv-goldens";

const indexSchema = z.looseObject({
  cases: z.record(
    z.string(),
    z.looseObject({ file: z.string(), recipe: z.string(), settings: z.record(z.string(), z.unknown()) }),
  ),
});

/** The folder's index says what it is. */
export function isKvFolder(dir: string): boolean {
  const file = join(dir, "index.json");
  return existsSync(file) && readFileSync(file, "utf8").slice(0, 200).includes(FORMAT);
}

/** Checks every case whose file is here: a part of them is enough. */
export async function* checkKv(device: Device, dir: string): AsyncGenerator<Check> {
  const folder = directoryFolder(dir);
  const { cases } = parseReference(indexSchema, await folder.readJson("index.json"), "index.json");
  for (const [name, { file, recipe, settings }] of Object.entries(cases)) {
    if (!existsSync(join(dir, file))) continue;
    try {
      await using reference = await ReferenceTensors.open(folder, file);
      if (recipe === "fwht") yield* checkTransforms(device, reference, settings);
      else if (recipe === "edge") yield* checkCorners(device, reference);
      else if (recipe === "page") yield await checkPage(device, name, reference, settings);
      else yield* checkRecipe(device, name, recipe, settings, reference);
    } catch (error) {
      yield { name: `${name} could not be checked`, passed: false, detail: messageOf(error) };
    }
  }
}

/** log₂ n additions and a product of float32. */
const TRANSFORM_TOLERANCE = 3e-7;

async function* checkTransforms(device: Device, reference: ReferenceTensors, settings: unknown): AsyncGenerator<Check> {
  const { sizes } = parseReference(z.looseObject({ sizes: z.array(z.number().int()) }), settings, "index.json");
  for (const size of sizes) {
    const x = Float32Array.from(await reference.values(`x${size}`));
    const found = await device.scope(async () => {
      const y = fwht(upload(device, x, [x.length / size, size]));
      return await y.readFloat32();
    });
    const error = relativeRms(found, await reference.values(`y${size}`));
    yield checkRms(`transform of ${size} in blocks of ${widestBlock(size)}`, error, TRANSFORM_TOLERANCE);
  }
}

async function* checkCorners(device: Device, reference: ReferenceTensors): AsyncGenerator<Check> {
  const x = Float32Array.from(await reference.values("x"));
  const [count = 0, , headDim = 0] = reference.shape("x");
  for (const bits of [2, 3, 4] as const) {
    for (const quantiser of ["zp", "min"] as const) {
      for (const clip of [1, 0.8]) {
        const side = { bits, layout: "token", group: headDim, quantiser, clip, norm: false } as const;
        const found = await packedRows(device, plainFormat(1, headDim, side), x, x);
        const tokens = Array.from({ length: count }, (_, t) => t);
        const name = `${quantiser}${bits}_${clip * 10}`;
        const [words, params, hat] = [
          tokens.flatMap((t) => [...found.words("keys", t, 0)]),
          tokens.flatMap((t) => [...found.parameters("keys", t, 0)]),
          tokens.flatMap((t) => [...found.row("values", t, 0)]),
        ];
        yield checkWords(`corners ${name} words`, words, await reference.values(`${name}_words`));
        yield checkWords(`corners ${name} parameters`, params, await reference.values(`${name}_params`));
        yield checkWords(`corners ${name} values`, hat, await reference.values(`${name}_hat`));
      }
    }
  }
}

const pageSchema = z.looseObject({
  H: z.number().int(),
  d: z.number().int(),
  bits: z.union([z.literal(2), z.literal(3), z.literal(4)]),
  g: z.number().int(),
  layout: z.enum(["T", "C"]),
});

async function checkPage(device: Device, name: string, reference: ReferenceTensors, settings: unknown): Promise<Check> {
  const { H, d, bits, g, layout } = parseReference(pageSchema, settings, "index.json");
  const plain = { bits, group: g, quantiser: "min", clip: 1, norm: false } as const;
  const keys = { ...plain, layout: layout === "C" ? "channel" : "token" } as const;
  const values = { ...plain, layout: "token", group: d } as const;
  const x = Float32Array.from(await reference.values("x"));
  const found = await packedRows(device, { ...plainFormat(H, d, values), keys }, x, x);
  const bytes = new Uint8Array(found.keys.buffer, found.keys.byteOffset, found.keys.byteLength);
  return checkWords(`${name} bytes`, bytes, await reference.values("page"));
}

function plainFormat<S>(kvHeads: number, headDim: number, side: S) {
  return {
    ...{ kvHeads, headDim, keys: side, values: side, ropeAtRead: false, keyRotation: 0, valueRotation: 0 },
    ...{ ordered: false, meanPairs: 0, sinks: 0, recent: 0, marked: 0, strictPrefill: false },
  };
}
