/**
 * Tokens a second in Chromium: our page beside wllama (llama.cpp compiled to WebAssembly), in one browser, run by run:
 *
 *   node bench/run.mjs chromium wllama [--threads 2] [--tokens 64] [--runs 5] [--model DIR] [--peers DIR]
 *
 * Ours is the page itself with its worker, its threads and its CPU device. wllama gets a GGUF file of the model's shape with
 * random weights (write-gguf.mjs), as many threads, and no GPU. Both continue a prompt of some 15 tokens greedily; what is
 * reported is each engine's own time for the tokens, without the prompt.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { chromium } from "playwright-core";
import { staticFiles } from "../../dist/serve/static.js";
import { root, say } from "../../scripts/prepare.mjs";
import { shapeOf, writeGguf } from "./write-gguf.mjs";

const chromiumPath = process.env.FULGUR_CHROMIUM ?? "/usr/bin/chromium";

/** Runs the comparison and gives its report. */
export async function compare(args) {
  const option = (name, otherwise) => {
    const at = args.indexOf(name);
    return at < 0 ? otherwise : args[at + 1];
  };
  const threads = Number(option("--threads", "2"));
  const tokens = Number(option("--tokens", "64"));
  const runs = Number(option("--runs", "5"));
  const model = resolve(option("--model", join(root, "models", "fulgur-mini")));
  const peers = option("--peers", process.env.FULGUR_PEERS);
  if (!peers || !existsSync(join(peers, "node_modules", "@wllama", "wllama"))) {
    throw new Error(
      "wllama: say where it is installed, with --peers DIR or FULGUR_PEERS (in an empty folder: npm i --ignore-scripts @wllama/wllama)",
    );
  }
  if (!existsSync(chromiumPath)) throw new Error(`wllama: there is no ${chromiumPath}; FULGUR_CHROMIUM names another`);

  const folder = mkdtempSync(join(tmpdir(), "fulgur-wllama-"));
  let server;
  let browser;
  try {
    say("writing a model of the same shape");
    writeGguf(join(folder, "random.gguf"), shapeOf(JSON.parse(readFileSync(join(model, "config.json"), "utf8"))));
    writeFileSync(join(folder, "index.html"), wllamaPage);
    const peer = join(peers, "node_modules", "@wllama", "wllama");
    const { version } = JSON.parse(readFileSync(join(peer, "package.json"), "utf8"));
    const app = new Hono();
    for (const [at, path] of [
      ["/wllama/", join(peer, "esm")],
      ["/random/", folder],
      ["/models/served/", model],
      ["/", join(root, "dist", "web")],
    ]) {
      app.use("*", staticFiles({ at, folder: path }));
    }
    const port = await new Promise((done) => {
      server = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: 0 }, (info) => done(info.port));
    });
    const address = `http://localhost:${port}`;
    browser = await chromium.launch({ executablePath: chromiumPath, args: ["--no-sandbox"] });
    say("loading both");
    const ours = await openOurs(browser, `${address}/?model=/models/served/&device=cpu&threads=${threads}`, tokens);
    const theirs = await openTheirs(browser, `${address}/random/index.html`, threads, tokens);
    const sides = [
      { device: ours.device, name: "page", run: ours.run, seconds: [] },
      { device: `wllama ${version} (wasm, ${threads} threads)`, name: "wllama", run: theirs, seconds: [] },
    ];
    for (const { run } of sides) await run();
    for (let i = 0; i < runs; i++) for (const { run, seconds } of sides) seconds.push(await run());
    const adapter = `Chromium ${browser.version()}`;
    return reportOf(adapter, sides, tokens);
  } finally {
    await browser?.close();
    server?.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Seconds a token of our page. */
async function openOurs(browser, url, tokens) {
  const page = await pageAt(browser, url);
  const info = await page.waitForFunction(() => globalThis.__fulgur?.info, undefined, { timeout: 120_000 });
  const { device } = await info.jsonValue();
  const run = async () => {
    const { ids, timings } = await page.evaluate(
      ([prompt, most]) => globalThis.__fulgur.generate(prompt, most),
      ["Once upon a time there was a", tokens],
    );
    if (ids.length < tokens / 2) throw new Error(`our page ended after ${ids.length} tokens`);
    return timings.decodeMs / 1000 / (ids.length - 1);
  };
  return { device, run };
}

/** Seconds a token of wllama. */
async function openTheirs(browser, url, threads, tokens) {
  const page = await pageAt(browser, url);
  await page.waitForFunction(() => globalThis.load, undefined, { timeout: 60_000 });
  await page.evaluate((count) => globalThis.load(count), threads);
  return async () => {
    const { predicted_ms, predicted_n } = await page.evaluate((most) => globalThis.complete(most), tokens);
    if (predicted_n < tokens / 2) throw new Error(`wllama ended after ${predicted_n} tokens`);
    return predicted_ms / 1000 / predicted_n;
  };
}

async function pageAt(browser, url) {
  const page = await browser.newPage();
  page.on("pageerror", (error) => say(`in the page: ${error.message}`));
  await page.goto(url);
  return page;
}

const wllamaPage = `<!doctype html><title>wllama</title><script type="module">
import { Wllama, LoggerWithoutDebug } from "/wllama/index.js";
let engine;
globalThis.load = async (threads) => {
  engine = new Wllama({ default: "/wllama/wasm/wllama.wasm" }, { logger: LoggerWithoutDebug, suppressNativeLog: true });
  const file = await (await fetch("/random/random.gguf")).blob();
  await engine.loadModel([file], { n_ctx: 512, n_threads: threads, n_gpu_layers: 0 });
  if (engine.getNumThreads() !== threads) throw new Error("wllama runs on " + engine.getNumThreads() + " threads");
};
globalThis.complete = async (tokens) => {
  const { timings } = await engine.createCompletion({
    prompt: "Once upon a time", max_tokens: tokens, temperature: 0, ignore_eos: true, cache_prompt: false,
  });
  return timings;
};
</script>`;

function reportOf(adapter, sides, tokens) {
  const digits = (value) => Number(value.toPrecision(4));
  const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
  return {
    suite: "decode",
    machine: { cpu: cpus()[0]?.model.trim() ?? "unknown", cores: availableParallelism(), node: process.versions.node },
    adapter,
    date: new Date().toISOString().slice(0, 10),
    results: sides.map(({ device, seconds }) => ({
      name: "decode",
      device,
      sizes: { batch: 1, tokens },
      seconds: digits(median(seconds)),
      tokensPerSecond: digits(1 / median(seconds)),
    })),
  };
}
