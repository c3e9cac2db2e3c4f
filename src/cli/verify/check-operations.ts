/** A folder of reference values of single operations: known by its file names. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { Device } from "../../device/index.js";
import { directoryFolder } from "../../formats/node/index.js";
import { type Check, messageOf } from "./compare.js";
import { parseReference, ReferenceTensors } from "./goldens-file.js";
import { fillValue } from "./operations/fill.js";
import { checkLightning, checkSlopes } from "./operations/lightning.js";
import { checkMoe } from "./operations/moe.js";
import { checkRmsNorm, checkRope } from "./operations/norm-and-rope.js";
import { checkSampling } from "./operations/sampling.js";

type OperationCheck = (device: Device, json: unknown, reference: ReferenceTensors) => AsyncIterable<Check>;

const withTensors: Readonly<Record<string, OperationCheck>> = {
  lightning: checkLightning,
  moe: checkMoe,
  rmsnorm: checkRmsNorm,
  rope: checkRope,
  sampling: checkSampling,
};

const fillSchema = z.looseObject({ first_values: z.record(z.string(), z.array(z.number())) });

async function* checkFill(json: unknown): AsyncGenerator<Check> {
  for (const [stream, values] of Object.entries(parseReference(fillSchema, json, "fill.json").first_values)) {
    const passed = values.every((value, i) => value === fillValue(i, Number(stream)));
    yield { name: `fill stream ${stream}`, passed, detail: passed ? "equal" : "differs" };
  }
}

const plain: Readonly<Record<string, (json: unknown) => AsyncIterable<Check>>> = {
  fill: checkFill,
  slopes: checkSlopes,
};

/** A folder with one of these is a folder of operations. */
export const operationFiles: readonly string[] = [...Object.keys(withTensors), ...Object.keys(plain)].map(
  (name) => `${name}.json`,
);

export async function* checkOperations(device: Device, dir: string): AsyncGenerator<Check> {
  const folder = directoryFolder(dir);
  const isHere = ([name]: readonly [string, unknown]) => existsSync(join(dir, `${name}.json`));
  for (const [name, check] of Object.entries(plain).filter(isHere)) {
    yield* guarded(name, async function* () {
      yield* check(await folder.readJson(`${name}.json`));
    });
  }
  for (const [name, check] of Object.entries(withTensors).filter(isHere)) {
    yield* guarded(name, async function* () {
      if (!existsSync(join(dir, `${name}.safetensors`))) {
        yield { name, passed: false, detail: `${name}.json is here, ${name}.safetensors is not` };
        return;
      }
      await using reference = await ReferenceTensors.open(folder, `${name}.safetensors`);
      yield* check(device, await folder.readJson(`${name}.json`), reference);
    });
  }
}

/** A file that cannot be checked is one failed line; the other files are checked all the same. */
async function* guarded(name: string, checks: () => AsyncIterable<Check>): AsyncGenerator<Check> {
  try {
    yield* checks();
  } catch (error) {
    yield { name: `${name} could not be checked`, passed: false, detail: messageOf(error) };
  }
}
