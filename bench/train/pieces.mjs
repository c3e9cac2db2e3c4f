/**
 * Texts as a shard of pieces of equal length, for trainings that are compared token for token with another program's:
 *
 *   node bench/train/pieces.mjs TOKENS.u16 LENGTH OUT.shard [--pieces N] [--model models/fulgur-mini]
 *
 * TOKENS.u16: ids of 16 bits, little-endian, books one after the other. Every token but a piece's last has loss.
 */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { openFolder } from "../../dist/formats/index.js";
import { writeFileAtomic } from "../../dist/formats/node/index.js";
import { chatTemplateFromConfig, createTokenizer } from "../../dist/text/index.js";
import { ShardWriter, tokenizerFingerprint } from "../../dist/train/data/index.js";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { pieces: { type: "string" }, model: { type: "string", default: "models/fulgur-mini" } },
});
const [from, lengthText, out] = positionals;
const length = Number(lengthText);
if (!from || !out || !(length > 1)) throw new Error("expected: TOKENS.u16 LENGTH OUT.shard");
const folder = await openFolder(values.model);
const config = await folder.readJson("tokenizer_config.json");
const tokenizer = createTokenizer(await folder.readJson("tokenizer.json"), config);
const fingerprint = (await tokenizerFingerprint(tokenizer, chatTemplateFromConfig(config))).slice(0, 32);
const bytes = await readFile(from);
const ids = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
const count = Math.min(Math.floor(ids.length / length), Number(values.pieces ?? Number.POSITIVE_INFINITY));
await writeFileAtomic(out, async (sink) => {
  const writer = new ShardWriter(sink, { idBytes: 2, vocabSize: tokenizer.vocabSize, fingerprint });
  for (let i = 0; i < count; i++) {
    await writer.append(Array.from(ids.subarray(i * length, (i + 1) * length)));
    await writer.endDocument({ isWhole: false });
  }
  await writer.finish();
});
console.log(`${out}: ${count} pieces of ${length} ids`);
