import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { devices } from "../../test/devices.js";
import { relativeRms } from "../../test/near.js";
import { writeSafetensors } from "../formats/index.js";
import { directoryFolder, openCheckpointDirectory, writeFileAtomic } from "../formats/node/index.js";
import { familyOf, type LanguageModel, loadLanguageModel, ownNumbers, quantizedTensors } from "../models/index.js";
import { Tensor } from "../tensor/index.js";
import { widenedFolder } from "./widen.js";

const fixture = fileURLToPath(new URL("../../test/fixtures/models/qwen3_moe", import.meta.url));

async function numbersOf(model: LanguageModel): Promise<Map<string, Float32Array>> {
  const all = new Map<string, Float32Array>();
  for (const rows of model.tensors ?? []) {
    const holder = rows.holder instanceof Tensor ? rows.holder : rows.holder.codes;
    all.set(rows.name, ownNumbers(rows, await holder.readFloat32()));
  }
  return all;
}

test.each([
  { experts: "int4", rest: "int8", group: 32 },
  { experts: "int4", rest: "int4", group: 64 },
  { experts: "f16", rest: "bf16", group: 32 },
] as const)("experts in $experts, the rest in $rest, groups of $group", async ({ experts, rest, group }) => {
  const [device] = await devices();
  const dir = await mkdtemp(join(tmpdir(), "fulgur-widen-"));
  try {
    {
      await using checkpoint = await openCheckpointDirectory(fixture);
      const json = await directoryFolder(fixture).readJson("config.json");
      const tree = familyOf(json, "fixture").weights(json, "fixture", (name) => checkpoint.entries.get(name)?.shape);
      const tensors = quantizedTensors(checkpoint, tree, { experts, rest, group });
      await writeFileAtomic(join(dir, "model.safetensors"), (sink) => writeSafetensors(sink, tensors));
      await copyFile(join(fixture, "config.json"), join(dir, "config.json"));
    }
    await using exact = await widenedFolder(directoryFolder(fixture));
    using whole = await loadLanguageModel(device!, exact.folder);
    await using wide = await widenedFolder(directoryFolder(dir));
    using model = await loadLanguageModel(device!, wide.folder);
    const wanted = await numbersOf(whole);
    const found = await numbersOf(model);
    expect([...found.keys()].sort()).toEqual([...wanted.keys()].sort());
    for (const [name, values] of found) {
      const isMatrix = !/norm|mlp\.gate\.weight/.test(name);
      const kind = /experts/.test(name) ? experts : rest;
      const most = { int4: 0.15, int8: 0.02, bf16: 0.005, f16: 0.001 }[kind];
      expect(relativeRms(values, wanted.get(name)!), name).toBeLessThan(isMatrix ? most : 0.005);
    }
  } finally {
    await rm(dir, { recursive: true });
  }
});
