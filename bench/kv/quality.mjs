/**
 * Quality of the cache kinds on a model: perplexity of texts, recall over distance, exercises, and the bits that each costs.
 *
 *   node bench/kv/quality.mjs --model DIR --texts A.txt.gz,B.txt.gz --as NAME [--device webgpu|cpu] [--kinds "f16; rotatekv-2"]
 *        [--calibration FILE] [--context 2048] [--tokens 8192] [--recall 32] [--lengths 500,1000] [--tasks 12] [--jobs 1] [--out FILE]
 *
 * writes bench/kv/quality-NAME.json, a line a kind, and goes on where a file of the same name stops. The model is loaded once
 * a kind; every kind sees the same windows, questions and exercises, so that differences are paired. `--tokens` predictions of
 * each text, read 32 at a time where the kind is packed (protocol "stream": what came before is read from the packed cache).
 * 0 recall problems or tasks leave that part out. `--jobs N` shares the kinds out over N processes, which a big GPU has room for.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gunzipSync } from "node:zlib";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const from = (path) => import(join(root, "dist", path));
const { values: flags } = parseArgs({
  options: {
    model: { type: "string" },
    texts: { type: "string", default: "" },
    prose: { type: "string" },
    as: { type: "string" },
    device: { type: "string", default: "webgpu" },
    kinds: { type: "string" },
    calibration: { type: "string" },
    context: { type: "string", default: "2048" },
    tokens: { type: "string", default: "8192" },
    recall: { type: "string", default: "32" },
    lengths: { type: "string", default: "500,1000,1950,3600,7600" },
    tasks: { type: "string", default: "12" },
    batch: { type: "string", default: "16" },
    jobs: { type: "string", default: "1" },
    out: { type: "string" },
  },
});
if (!flags.model || !flags.as) throw new Error("--model DIR and --as NAME are needed");

const everyKind = [
  "f16",
  "int8",
  "int4",
  "rtn-2",
  "kivi-2",
  "rotatekv-2",
  "rotatekv-3",
  "rotatekv-4",
  "akvq-2",
  "normsplit-2",
  "normsplit-3",
  "meansplit-2",
  "meansplit-3",
  "2bit",
];
const kinds = flags.kinds ? flags.kinds.split(";").map((kind) => kind.trim()) : everyKind;
const read = (file) => {
  const bytes = readFileSync(file);
  return new TextDecoder().decode(bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes);
};
const files = flags.texts.split(",").filter((file) => file !== "");
const texts = files.map(read);
const prose = flags.prose ? read(flags.prose) : (texts[0] ?? "");
const number = (name) => Number(flags[name]);

if (number("jobs") > 1) await shareOut(Math.min(number("jobs"), kinds.length));

/** Runs this program once a job, each with its kinds; then this process has all results and nothing left to measure. */
async function shareOut(jobs) {
  const target = flags.out ?? join(root, "bench", "kv", `quality-${flags.as}.json`);
  const parts = Array.from({ length: jobs }, (_, j) => ({
    own: kinds.filter((_kind, i) => i % jobs === j),
    file: join(tmpdir(), `quality-${process.pid}-${j}.json`),
  }));
  const given = Object.entries(flags).filter(([name]) => !["kinds", "jobs", "out"].includes(name));
  const shared = given.flatMap(([name, value]) => [`--${name}`, value]);
  await Promise.all(
    parts.map(({ own, file }) => {
      const program = [fileURLToPath(import.meta.url), ...shared, "--kinds", own.join(";"), "--out", file];
      const child = spawn(process.execPath, program, { stdio: "inherit" });
      for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => child.kill(signal));
      return new Promise((resolve) => child.once("exit", resolve));
    }),
  );
  // A job that was cut short leaves what it had measured.
  const done = parts.map(({ file }) => file).filter(existsSync);
  const reports = done.map((file) => JSON.parse(readFileSync(file, "utf8")));
  for (const file of done) rmSync(file);
  const [head] = reports;
  if (!head) throw new Error("no job measured anything");
  const before = existsSync(target) ? JSON.parse(readFileSync(target, "utf8")).results : [];
  const all = [...before, ...reports.flatMap((report) => report.results)];
  // Kinds of an earlier run stay, whichever were asked for now.
  write(target, { ...head, results: all.filter(({ kv }, i) => all.findIndex((one) => one.kv === kv) === i) });
  process.exit(0);
}

const { open } = await from("device/index.js");
const { loadModel } = await from("generate/index.js");
const { fileSource } = await from("formats/node/index.js");
const evaluate = await from("train/evaluate/index.js");
const device = await open({ prefer: flags.device });
const out = flags.out ?? join(root, "bench", "kv", `quality-${flags.as}.json`);
const results = existsSync(out) ? JSON.parse(readFileSync(out, "utf8")).results : [];

for (const kv of kinds) {
  if (results.some((result) => result.kv === kv)) continue;
  const began = performance.now();
  const model = await loadModel(flags.model, {
    device,
    kv,
    slots: number("batch"),
    // Like for like: products in float32, so that only the caches differ.
    precision: "f32",
    ...(flags.calibration ? { calibration: await fileSource(flags.calibration) } : {}),
  });
  const result = { kv };
  if (texts.length > 0) {
    const sums = [];
    const perText = {};
    for (const [i, text] of texts.entries()) {
      const isExact = ["f32", "f16", "bf16"].includes(kv);
      const sum = await evaluate.perplexity(model, text, {
        kv,
        context: number("context"),
        limit: number("tokens"),
        startIds: [],
        ...(isExact ? {} : { chunk: 32 }),
      });
      sums.push(sum);
      perText[basename(files[i]).replace(/\.txt(\.gz)?$/, "")] = Number((sum.nll / sum.tokens).toFixed(5));
    }
    const { perplexity, nllPerToken, effectiveBits, tokens } = evaluate.summary(...sums);
    Object.assign(result, {
      effectiveBits: Number(effectiveBits?.toFixed(3)),
      perplexity: Number(perplexity.toFixed(4)),
      nllPerToken: Number(nllPerToken.toFixed(5)),
      tokens,
      perText,
    });
  }
  const answerer = (maxTokens) => evaluate.chatAnswerer(model, { maxTokens });
  if (number("recall") > 0) {
    const most = model.language.state.maxPositions - 64;
    const problems = evaluate.drawRecall({
      lengths: flags.lengths
        .split(",")
        .map(Number)
        .filter((length) => length <= most),
      perLength: number("recall"),
      prose,
      countTokens: (text) => model.tokenizer.encode(text).length,
      seed: 1,
    });
    const { marked } = await evaluate.evaluateTasks(answerer(40), problems, { batch: number("batch") });
    const scores = evaluate.recallScores(marked.map((mark, i) => ({ ...mark, problem: problems[i] })));
    result.recall = Object.fromEntries(scores.lengths.map(({ length, right, total }) => [length, `${right}/${total}`]));
  }
  if (number("tasks") > 0) {
    const problems = evaluate.drawProblems({ modes: ["think"], perFamily: number("tasks"), seed: 1 });
    const { modes, families } = await evaluate.evaluateTasks(answerer(400), problems, { batch: number("batch") });
    result.exercises = `${modes[0].right}/${modes[0].total}`;
    result.meanOfFamilies = Number(modes[0].meanOfFamilies.toFixed(4));
    result.families = Object.fromEntries(families.map(({ family, right, total }) => [family, `${right}/${total}`]));
  }
  result.seconds = Number(((performance.now() - began) / 1000).toFixed(1));
  await model.close();
  results.push(result);
  const { families, perText, ...shown } = result;
  console.log(JSON.stringify(shown));
  save();
}
await device.close();

function save() {
  const head = {
    model: basename(flags.model),
    device: device.label,
    date: new Date().toISOString().slice(0, 10),
    context: number("context"),
    tokensOfEachText: number("tokens"),
    chunk: 32,
    texts: files.map((file) => basename(file)),
    calibrated: flags.calibration !== undefined,
  };
  write(out, { ...head, results });
}

function write(file, { results: list, ...head }) {
  const keys = Object.entries(head).map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`);
  const lines = list.map((result) => `    ${JSON.stringify(result)}`).join(",\n");
  writeFileSync(file, `{\n${keys.join(",\n")},\n  "results": [\n${lines}\n  ]\n}\n`);
}
