/**
 * The average of two checkpoints of one model, in float16:
 *
 *   node bench/train/further/average.mjs BEFORE AFTER OUT [--share 0.5]
 *
 * `share` is AFTER's. OUT takes BEFORE's other files. Between a model and what further training made of it the average may keep what
 * the one knew and have most of what the other learnt (Wortsman et al. 2022, arXiv 2109.01903).
 */
import { copyFile, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { f32ToF16, openCheckpoint, openFolder, toFloat32, writeSafetensors } from "../../../dist/formats/index.js";
import { writeFileAtomic } from "../../../dist/formats/node/index.js";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { share: { type: "string", default: "0.5" } },
});
const [before, after, out] = positionals;
const share = Number(values.share);
if (!before || !after || !out || !(share >= 0 && share <= 1)) {
  throw new Error("expected: BEFORE AFTER OUT [--share 0 … 1]");
}
const first = await openCheckpoint(await openFolder(before));
const second = await openCheckpoint(await openFolder(after));
const numbers = async (checkpoint, { name, dtype }) => toFloat32(dtype, await checkpoint.read(name));
const tensors = [...first.entries.values()].map((entry) => ({
  name: entry.name,
  dtype: "F16",
  shape: entry.shape,
  async bytes() {
    const other = second.entries.get(entry.name);
    if (!other) throw new Error(`${after}: no tensor ${entry.name}`);
    const [a, b] = [await numbers(first, entry), await numbers(second, other)];
    return new Uint8Array(f32ToF16(a.map((x, i) => (1 - share) * x + share * b[i])).buffer);
  },
}));
await mkdir(out, { recursive: true });
await writeFileAtomic(join(out, "model.safetensors"), (sink) => writeSafetensors(sink, tensors, { format: "pt" }));
for (const name of (await readdir(before)).filter((name) => /(config|tokenizer).*\.json$/.test(name))) {
  await copyFile(join(before, name), join(out, name));
}
await first.close();
await second.close();
