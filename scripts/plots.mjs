/**
 * Draws docs/images/*.svg from the result files in bench/, and shows in docs/performance.md (or the page that a plot names) those
 * that there are figures for
 * (below a line `<!-- plot: NAME -->`):
 *
 *   node scripts/plots.mjs
 *
 * Of several files that would do, the first named here that exists is taken.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ensureBuild, root, say } from "./prepare.mjs";

ensureBuild();
const { barChart, lineChart, pointChart, short } = await import("./svg-chart.mjs");

/** The first report that exists. */
function report(...names) {
  const file = names.map((name) => join(root, "bench", `${name}.json`)).find(existsSync);
  return file ? JSON.parse(readFileSync(file, "utf8")) : undefined;
}

const isOurs = ({ device }) => device === "cpu" || device === "webgpu";
const percent = (share) => `${Math.round(100 * share)} %`;
const machineOf = ({ adapter, machine }) =>
  /webgpu/i.test(adapter) ? adapter.replace(/ \(WebGPU\)$/, "") : `${machine.cpu}, ${machine.cores} cores`;
const where = (one) => `${machineOf(one)}, ${one.date}`;

const plots = {
  "m1-slice": {
    about: "Decode speed against context: three lightning layers of four keep it up, four softmax layers do not",
    draw() {
      const data = report("m1-slice-webgpu-h100", "m1-slice-webgpu", "m1-slice-cpu");
      if (!data) return undefined;
      const series = [
        ["hybrid: decode", "3 lightning + 1 softmax"],
        ["softmax: decode", "4 softmax layers"],
      ].map(([name, title]) => ({ name: title, points: pointsOf(data, name, "context") }));
      if (series.some(({ points }) => points.length < 2)) return undefined;
      const title = "Decoding four layers of MiniMax-M1's width";
      return lineChart({ title, x: "context, tokens", y: "tokens/s", note: where(data), series });
    },
  },
  "decode-batch": {
    about: "fulgur-mini: tokens per second against sequences at a time",
    draw() {
      const reports = [
        ["GPU", report("decode-webgpu-h100", "decode-webgpu")],
        ["two CPU cores", report("decode-cpu")],
      ].filter(([, data]) => data);
      const series = reports
        .map(([name, data]) => ({ name, points: pointsOf(data, "decode", "batch") }))
        .filter(({ points }) => points.length > 1);
      if (series.length === 0) return undefined;
      return lineChart({
        title: "fulgur-mini: decoding several sequences at a time",
        x: "sequences",
        y: "tokens/s, all together",
        note: reports
          .map(([, data]) => data.date)
          .sort()
          .at(-1),
        xBase: 2,
        series,
      });
    },
  },
  "shares-webgpu": {
    about: "Kernels on the GPU: share of the floor that the machine sets",
    draw: () =>
      sharesOf("Share of the floor, by kernel (GPU)", [
        report("gemv-webgpu-h100", "gemv-webgpu"),
        report("gemm-webgpu-h100", "gemm-webgpu"),
        report("attention-webgpu-h100", "attention-webgpu"),
        report("lightning-webgpu-h100", "lightning-webgpu"),
      ]),
  },
  "shares-cpu": {
    about: "Kernels on the CPU: share of the floor that the machine sets",
    draw: () =>
      sharesOf("Share of the floor, by kernel (two CPU cores)", [
        report("gemv-cpu"),
        report("gemm-cpu"),
        report("attention-cpu"),
        report("lightning-cpu"),
      ]),
  },
  "peers-cpu": {
    about: "Fulgur beside other libraries on two CPU cores, measured in turns",
    draw: () =>
      peersOf("Beside other libraries on two CPU cores (longer is faster)", [
        ["one thread", report("gemm-cpu-1-thread")],
        ["two threads", report("gemm-cpu")],
        ["fulgur-mini's shape", report("decode-cpu-llama-cpp", "decode-cpu")],
        ["fulgur-mini's shape", report("prefill-cpu-llama-cpp", "prefill-cpu")],
        ["fulgur-mini's shape in Chromium", report("decode-chromium-wllama")],
      ]),
  },
  "kv-llama-mini": {
    about: "llama-mini: what the kinds of caches cost in perplexity, against the bits that they take",
    page: "kv-caches",
    draw: () => qualityOf("llama-mini", report("kv/quality-llama-mini")),
  },
  "kv-fulgur-mini": {
    about: "fulgur-mini: what the kinds of caches cost in perplexity, against the bits that they take",
    page: "kv-caches",
    draw: () => qualityOf("fulgur-mini", report("kv/quality-fulgur-mini")),
  },
  "train-memory": {
    about: "Peak device memory of a training step against the length of its rows, with and without recomputation: flat",
    page: "training",
    draw() {
      const data = report("train-webgpu-h100-memory");
      if (!data) return undefined;
      const series = [
        ["layers kept", undefined],
        ["layers recomputed", "yes"],
      ].map(([name, recompute]) => ({
        name,
        points: data.results
          .filter(({ sizes }) => sizes.deviceMiB && sizes.recompute === recompute)
          .map(({ sizes }) => [sizes.sequence, sizes.deviceMiB]),
      }));
      const title = "fulgur-mini's size, 16,384 tokens a step: peak memory";
      return lineChart({ title, x: "tokens of a row", y: "MiB", xBase: 2, note: where(data), series });
    },
  },
  "peers-train": {
    about: "Training steps of a hybrid beside transformers on PyTorch, in turns on one GPU",
    page: "training",
    draw: () =>
      peersOf("A training step beside PyTorch on the same GPU (longer is faster)", [
        ["train", report("train-webgpu-h100-mini")],
        ["train", report("train-webgpu-h100-130m")],
      ]),
  },
  "peers-webgpu": {
    about: "Fulgur on WebGPU beside PyTorch on CUDA, measured in turns on one GPU",
    draw: () =>
      peersOf(
        "Beside PyTorch on the same GPU (longer is faster)",
        ["gemm", "gemv", "attention", "lightning"].map((suite) => [
          suite,
          report(`${suite}-webgpu-h100-pytorch`, `${suite}-webgpu-h100`, `${suite}-webgpu`),
        ]),
      ),
  },
};

/** Perplexity above the 16-bit cache's, in percent, against effective bits. */
function qualityOf(model, data) {
  const exact = data?.results.find(({ kv }) => kv === "f16");
  if (!exact) return undefined;
  const families = ["rtn", "kivi", "rotatekv", "akvq", "normsplit", "meansplit"];
  const points = data.results
    // The recipes as they are named; what their options do is told in the table.
    .filter(({ kv, effectiveBits }) => !kv.includes(":") && effectiveBits < 8)
    .map(({ kv, effectiveBits, nllPerToken }) => ({
      name: kv,
      x: effectiveBits,
      // Less than 0.1 % is nothing that so many tokens could tell.
      y: Math.max(0.1, 100 * (Math.exp(nllPerToken - exact.nllPerToken) - 1)),
      colour: Math.max(0, families.indexOf(kv.split("-")[0])),
    }));
  return pointChart({
    title: `${model}: perplexity lost against the 16-bit cache`,
    x: "effective bits of a key or value",
    y: "% (0.1 and less lie on the lowest line)",
    note: data.date,
    points,
  });
}

function peersOf(title, reports) {
  const groups = reports.flatMap(([what, data]) => (data ? besidePeers(what, data) : []));
  if (groups.length === 0) return undefined;
  const places = new Set(reports.flatMap(([, data]) => (data ? [where(data)] : [])));
  return barChart({ title, groups, note: [...places].join("; ") });
}

/** [size, tokens/s] of our results of a name. */
function pointsOf({ results }, name, size) {
  return results
    .filter((one) => one.name === name && isOurs(one) && one.tokensPerSecond)
    .map(({ sizes, tokensPerSecond }) => [sizes[size], tokensPerSecond])
    .sort(([a], [b]) => a - b);
}

/** The larger sizes only: small ones measure the launch. */
function sharesOf(title, reports) {
  const present = reports.filter(Boolean);
  const groups = present
    .map((data) => ({ name: `${data.suite}, ${where(data)}`, bars: largest(data.results).map(shareBar) }))
    .filter(({ bars }) => bars.length > 0);
  if (groups.length === 0) return undefined;
  return barChart({
    title,
    most: 1,
    groups,
    note: "1 (the line) would be a machine that does only what cannot be avoided.",
  });
}

function shareBar({ name, sizes, share }) {
  const size = sizes.n ?? sizes.context ?? sizes.tokens;
  const of = size === undefined ? "" : sizes.n ? ` ${short(size)}³` : `, ${short(size)}`;
  const batch = sizes.batch === undefined ? "" : `, batch ${sizes.batch}`;
  return {
    name: `${name}${of}${batch}`,
    value: share,
    label: percent(share),
    colour: share >= 0.6 ? 2 : share >= 0.3 ? 0 : 1,
  };
}

/** Our results with a share: of each name and batch the largest size. */
function largest(results) {
  const best = new Map();
  const size = ({ sizes }) => sizes.n ?? sizes.context ?? sizes.tokens ?? 0;
  for (const one of results) {
    if (!isOurs(one) || one.share === undefined || one.name.startsWith("8B")) continue;
    const key = `${one.name} ${one.sizes.batch ?? ""}`;
    if (!best.has(key) || size(one) > size(best.get(key))) best.set(key, one);
  }
  return [...best.values()];
}

/** A group of bars for the largest size that both we and a peer did, of each name. */
function besidePeers(what, { results, suite }) {
  const isOwn = (one) => isOurs(one) || (suite === "decode" && /^WebAssembly/.test(one.device));
  // Ours may have sizes that peers have not, such as the kind of cache.
  const fits = (own, peer) => Object.entries(peer.sizes).every(([key, value]) => own.sizes[key] === value);
  const names = new Set(results.filter((one) => !isOwn(one) && !/^(8B|mini)/.test(one.name)).map(({ name }) => name));
  return [...names].flatMap((name) => {
    const named = results.filter((one) => one.name === name);
    const theirs = named.filter((one) => !isOwn(one));
    const own = named.filter(isOwn).findLast((one) => theirs.some((peer) => fits(one, peer)));
    if (!own) return [];
    const all = [own, ...theirs.filter((peer) => fits(own, peer))];
    const inTokens = all.every(({ tokensPerSecond }) => tokensPerSecond);
    const bars = all.map((one, i) => ({
      name: i === 0 ? "fulgur" : one.device.replace(/ \(.*NVIDIA.*\)$/, ""),
      value: 1 / one.seconds,
      label: inTokens ? `${short(one.tokensPerSecond)} tokens/s` : timeText(one.seconds),
      colour: i,
    }));
    const { n, context, tokens, batch } = own.sizes;
    const sizes = Object.entries({ n, context, tokens, batch }).filter(([, value]) => value !== undefined);
    const title = [
      ...(name.startsWith(what) ? [] : [what]),
      name,
      ...sizes.map(([key, value]) => `${key} ${value.toLocaleString("en")}`),
    ].join(", ");
    return [{ name: title, bars }];
  });
}

const timeText = (seconds) => (seconds < 1e-3 ? `${short(seconds * 1e6)} µs` : `${short(seconds * 1e3)} ms`);

mkdirSync(join(root, "docs", "images"), { recursive: true });
for (const [name, { about, draw, page = "performance" }] of Object.entries(plots)) {
  const file = join(root, "docs", "images", `${name}.svg`);
  const svg = draw();
  if (svg) writeFileSync(file, svg);
  else rmSync(file, { force: true });
  say(svg ? `docs/images/${name}.svg` : `${name}: no figures yet`);
  const pageFile = join(root, "docs", `${page}.md`);
  const text = readFileSync(pageFile, "utf8");
  const place = new RegExp(`<!-- plot: ${name} -->\\n*(!\\[[^\\n]*)?\\n*`);
  if (!place.test(text)) say(`docs/${page}.md has no line <!-- plot: ${name} -->`);
  const shown = text.replace(place, `<!-- plot: ${name} -->\n\n${svg ? `![${about}](images/${name}.svg)\n\n` : ""}`);
  writeFileSync(pageFile, `${shown.trimEnd()}\n`);
}
