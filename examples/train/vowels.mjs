/**
 * A new kind of exercise for fulgur-mini, as a file of conversations and a check (docs/training.md, "An example: LoRA"):
 *
 *   node examples/train/vowels.mjs write runs/vowels           train.jsonl: 4,000 questions; test.jsonl: 100 about other words
 *   npm start --silent -- train examples/train/vowels-lora.json
 *   node examples/train/vowels.mjs test runs/vowels models/fulgur-mini              before
 *   node examples/train/vowels.mjs test runs/vowels runs/vowels/lora/step-000120   after
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chat, loadModel, open } from "fulgur";
import { commonWords, crc32, Random } from "fulgur/train/tasks";

const [what, folder, modelFolder] = process.argv.slice(2);
if (what === "write" && folder) write(folder);
else if (what === "test" && folder && modelFolder) await test(folder, modelFolder);
else throw new Error("expected: write FOLDER, or test FOLDER MODEL");

function write(to) {
  const words = commonWords.filter((word) => /^[a-z]{4,9}$/.test(word) && /[aeiou]/.test(word) && /[^aeiou]/.test(word));
  // One word in eight is never trained.
  const isHeldOut = (word) => crc32(new TextEncoder().encode(`vowels|${word}`)) % 8 === 0;
  const random = new Random("vowels");
  const draw = (list, count) => Array.from({ length: count }, () => list[random.int(0, list.length - 1)]);
  mkdirSync(to, { recursive: true });
  const lines = (list) => `${list.map((word) => JSON.stringify({ messages: conversation(word) })).join("\n")}\n`;
  const taught = words.filter((word) => !isHeldOut(word));
  const fresh = words.filter(isHeldOut);
  writeFileSync(join(to, "train.jsonl"), lines(draw(taught, 4000)));
  writeFileSync(join(to, "test.jsonl"), lines(fresh.slice(0, 100)));
  console.log(`${to}: ${taught.length} words to learn with, ${fresh.length} to be asked for`);
}

function conversation(word) {
  const letters = [...word];
  const kept = letters.filter((letter) => !"aeiou".includes(letter));
  // The model can spell a word like this already: its exercises in writing backwards begin so.
  const think = `${letters.join("-")}. Without vowels: ${kept.join("-")}.`;
  return [
    { role: "user", content: `Spell the word ${word} without its vowels.` },
    { role: "assistant", content: `<think>${think}</think>${kept.join("-")}` },
  ];
}

async function test(from, dir) {
  const cases = readFileSync(join(from, "test.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line).messages);
  const device = await open({ prefer: "auto" });
  const model = await loadModel(dir, { device });
  let right = 0;
  for (const [question, expected] of cases) {
    let answer = "";
    for await (const part of chat(model, [question], { maxTokens: 120, temperature: 0 })) {
      if (part.kind === "answer") answer += part.text;
    }
    if (answer.trim() === expected.content.split("</think>")[1]) right += 1;
  }
  console.log(`${dir}: ${right} of ${cases.length} right`);
  await model.close();
  await device.close();
}
