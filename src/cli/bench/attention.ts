/**
 * `bench attention`: softmax attention over cached keys and values, one new token after a context, and whole prompts.
 *
 * Decode: keys and values are read once, so the floor is their bytes over the bandwidth. Prompts: the floor is
 * 4 · H · D operations for each pair of a token and a key that it sees, over the arithmetic peak of vectors.
 */
import { cacheKind, SequencePool } from "../../cache/index.js";
import { buildStep } from "../../nn/index.js";
import { PAGE_TOKENS } from "../../ops/index.js";
import { type BenchResult, digits, measured, place, type SuiteOutput, workingSetBytes } from "./bench-result.js";
import { fillCaches } from "./fill-cache.js";
import { type SoftmaxShape, softmaxShapes, stateSpec } from "./layer-shapes.js";
import { randomTensor } from "./random-weights.js";
import { measureRoofs } from "./roofs.js";
import type { DeviceInput } from "./suites.js";
import { launchSeconds, median } from "./timing.js";

export async function attentionSuite(input: DeviceInput): Promise<SuiteOutput> {
  const { device, flags, signal, say } = input;
  say("measuring bandwidth and arithmetic peak");
  const { roofs, results } = await measureRoofs(device, { runs: flags.runs, signal });
  for (const shape of softmaxShapes) {
    for (const kv of new Set(["f32", "f16", flags.kv])) {
      for (const context of flags.context ?? [1024, 8192, 32768]) {
        results.push(...(await decodeAt(input, shape, kv, context, roofs)));
      }
    }
    for (const tokens of flags.lengths ?? [512, 2048]) {
      results.push(...(await prompt(input, shape, tokens, roofs)));
    }
  }
  return { results };
}

type Roofs = Parameters<typeof measured>[2];

async function decodeAt(
  { device, flags, signal, say, peers }: DeviceInput,
  shape: SoftmaxShape,
  kv: string,
  context: number,
  roofs: Roofs,
): Promise<BenchResult[]> {
  const { heads, kvHeads, headDim } = shape;
  const bits = cacheKind(kv).bits({ softmaxLayers: 1, kvHeads, headDim });
  const cacheBytes = (context * 2 * kvHeads * headDim * bits) / 8;
  // Enough layers in turn that no cache of the machine holds them, but no more than the model has.
  const wanted = workingSetBytes(device);
  const layers = Math.max(1, Math.min(shape.layers, Math.ceil(wanted / cacheBytes)));
  say(`attention ${shape.name}, ${kv} keys and values, context ${context}: ${layers} layers`);
  const spec = stateSpec({ softmaxLayers: layers, kvHeads, headDim });
  using pool = new SequencePool(device, spec, { slots: 1, kv, maxTokens: context + PAGE_TOKENS });
  using sequence = pool.open();
  await fillCaches(device, pool, sequence, context, signal);
  using qkv = randomTensor(device, [1, (heads + 2 * kvHeads) * headDim]);
  using step = buildStep(device, [{ slot: sequence.slot, past: context - 1, ids: [0] }]);
  const options = { heads, scale: 1 / Math.sqrt(headDim) };
  const launches = pool.caches.map((cache) => () => cache.attend(qkv, options, step).dispose());
  const { runs } = flags;
  const beside = peers.beside({ suite: "attention", heads, kvHeads, headDim, tokens: 1, context, layers, kind: kv });
  const seconds = median(await launchSeconds(device, launches, { runs, signal, after: beside.measure }));
  const work = { operations: 4 * heads * headDim * context, bytes: cacheBytes };
  const name = `${shape.name}: decode ${kv}`;
  const sizes = { heads, kvHeads, headDim, context, layers };
  return [
    { name, ...place(device), sizes, ...measured(seconds, work, roofs) },
    ...beside.results().map((peer) => ({ name, sizes, ...peer, seconds: digits(peer.seconds) })),
  ];
}

async function prompt(
  { device, flags, signal, say, peers }: DeviceInput,
  shape: SoftmaxShape,
  tokens: number,
  roofs: Roofs,
): Promise<BenchResult[]> {
  const { heads, kvHeads, headDim } = shape;
  const kv = flags.kv;
  say(`attention ${shape.name}, prompt of ${tokens} tokens`);
  const spec = stateSpec({ softmaxLayers: 1, kvHeads, headDim });
  using pool = new SequencePool(device, spec, { slots: 1, kv, maxTokens: tokens + PAGE_TOKENS });
  using sequence = pool.open();
  await fillCaches(device, pool, sequence, tokens, signal);
  using qkv = randomTensor(device, [tokens, (heads + 2 * kvHeads) * headDim]);
  using step = buildStep(device, [{ slot: sequence.slot, past: 0, ids: new Array<number>(tokens).fill(0) }]);
  const options = { heads, scale: 1 / Math.sqrt(headDim) };
  const launches = pool.caches.map((cache) => () => cache.attend(qkv, options, step).dispose());
  const { runs } = flags;
  const beside = peers.beside({
    suite: "attention",
    heads,
    kvHeads,
    headDim,
    tokens,
    context: tokens,
    layers: 1,
    kind: kv,
  });
  const seconds = median(await launchSeconds(device, launches, { runs, signal, after: beside.measure }));
  const operations = (4 * heads * headDim * tokens * (tokens + 1)) / 2;
  const name = `${shape.name}: prompt ${kv}`;
  const sizes = { heads, kvHeads, headDim, tokens };
  return [
    {
      name,
      ...place(device),
      sizes,
      ...measured(seconds, { operations }, roofs),
      tokensPerSecond: digits(tokens / seconds),
    },
    ...beside.results().map((peer) => ({ name, sizes, ...peer, seconds: digits(peer.seconds) })),
  ];
}
