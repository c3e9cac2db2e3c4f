/**
 * `bench lightning`: lightning attention, one token from state to state, and whole prompts.
 *
 * Decode: the state is read and written once, 2 · H · D² float32; the floor is these bytes over the bandwidth. The layers of
 * the model take turns, as in a decode step: a small model's states stay in the caches, and then its share passes 1.
 * Prompts: 4 · H · D² operations a token at least (its product with the state, its part in it); the blocks' own products
 * come on top and are not part of the floor.
 */
import { SequencePool } from "../../cache/index.js";
import { buildStep, lightningSlopes } from "../../nn/index.js";
import { lightningAttention } from "../../ops/index.js";
import { type Tensor, upload } from "../../tensor/index.js";
import { type BenchResult, digits, measured, place, type SuiteOutput } from "./bench-result.js";
import { type LightningShape, lightningShapes, stateSpec } from "./layer-shapes.js";
import { randomTensor } from "./random-weights.js";
import { measureRoofs } from "./roofs.js";
import type { DeviceInput } from "./suites.js";
import { launchSeconds, median } from "./timing.js";

export async function lightningSuite(input: DeviceInput): Promise<SuiteOutput> {
  const { device, flags, signal, say } = input;
  say("measuring bandwidth and arithmetic peak");
  const { roofs, results } = await measureRoofs(device, { runs: flags.runs, signal });
  for (const shape of lightningShapes) {
    for (const batch of flags.batch ?? [1, 8])
      results.push(...(await timed(input, shape, { batch, tokens: 1 }, roofs)));
    for (const tokens of flags.lengths ?? [512, 2048]) {
      results.push(...(await timed(input, shape, { batch: 1, tokens }, roofs)));
    }
  }
  return { results };
}

async function timed(
  { device, flags, signal, say, peers }: DeviceInput,
  shape: LightningShape,
  { batch, tokens }: { readonly batch: number; readonly tokens: number },
  roofs: Parameters<typeof measured>[2],
): Promise<BenchResult[]> {
  const { heads, headDim } = shape;
  const { runs } = flags;
  const isDecode = tokens === 1;
  const layers = isDecode ? shape.layers : 1;
  say(`lightning ${shape.name}: ${isDecode ? `decode, batch ${batch}` : `prompt of ${tokens} tokens`}`);
  const spec = stateSpec({ lightningLayers: layers, lightningHeads: heads, lightningHeadDim: headDim });
  using pool = new SequencePool(device, spec, { slots: batch });
  const rows = Array.from({ length: batch }, () => pool.open());
  using step = buildStep(
    device,
    rows.map(({ slot }) => ({ slot, past: 0, ids: new Array<number>(tokens).fill(0) })),
  );
  using qkv = randomTensor(device, [batch * tokens, heads * 3 * headDim], 0.5);
  using decay = upload(device, lightningSlopes(heads, "official"), [heads]);
  const launches = pool.states.map((state: Tensor) => () => lightningAttention(qkv, state, decay, step).dispose());
  const beside = peers.beside({ suite: "lightning", heads, headDim, batch, tokens, layers });
  const seconds = median(await launchSeconds(device, launches, { runs, signal, after: beside.measure }));
  const activations = batch * tokens * heads * headDim * 4 * 4; // q, k, v and the result
  const bytes = 2 * batch * heads * headDim ** 2 * 4 + activations;
  const operations = (isDecode ? 5 : 4) * heads * headDim ** 2 * batch * tokens;
  const name = `${shape.name}: ${isDecode ? "decode" : "prompt"}`;
  const sizes = { heads, headDim, ...(isDecode ? { batch, layers } : { tokens }) };
  const speed = isDecode ? {} : { tokensPerSecond: digits(tokens / seconds) };
  return [
    { name, ...place(device), sizes, ...measured(seconds, { bytes, operations }, roofs), ...speed },
    ...beside.results().map((peer) => ({ name, sizes, ...peer, seconds: digits(peer.seconds) })),
  ];
}
