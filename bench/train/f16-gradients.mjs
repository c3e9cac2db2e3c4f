/**
 * Gradients of a hybrid of fulgur-mini's layout with random weights: products in float16 against float32, tensor by tensor.
 *
 *   node bench/train/f16-gradients.mjs [--rows 4] [--sequence 1024] [--layers 12] [--vocabulary 8192] [--software]
 *
 * Prints the loss of each precision, its relative distance from float32's, and the tensors whose gradients are farthest, as
 * relative RMS. Matrix units are what it is for: a software adapter multiplies the same halves in float32, and backward alone.
 * Exit 1 if a loss is farther than 1e-3 (head alone: 1e-6), or a median distance than 2 %.
 */
import { parseArgs } from "node:util";
import { randomCheckpoint } from "../../dist/cli/bench/random-weights.js";
import { trainConfig } from "../../dist/cli/bench/train.js";
import { WebGpuDevice } from "../../dist/device/index.js";
import { loadWeights, namedRows, trainableTensors } from "../../dist/models/index.js";
import { miniMaxM1 } from "../../dist/models/minimax-m1.js";
import { textGradient } from "../../dist/train/text-gradient.js";
import { trainingMemory } from "../../dist/train/training-memory.js";

const { values: flags } = parseArgs({
  options: {
    rows: { type: "string", default: "4" },
    sequence: { type: "string", default: "1024" },
    layers: { type: "string", default: "12" },
    vocabulary: { type: "string", default: "8192" },
    software: { type: "boolean", default: false },
  },
});
const [rows, sequence] = [Number(flags.rows), Number(flags.sequence)];
const device = await WebGpuDevice.open({ allowSoftware: flags.software, ...trainingMemory });
const mini = trainConfig("mini", sequence);
const json = {
  ...mini,
  num_hidden_layers: Number(flags.layers),
  layer_types: mini.layer_types.slice(-Number(flags.layers)),
  vocab_size: Number(flags.vocabulary),
};
const config = miniMaxM1.parseConfig(json, "random weights");
const tree = miniMaxM1.weights(config, () => undefined);

let state = 7;
const nextId = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Numerical Recipes
  return Math.floor((state / 2 ** 32) * config.vocabSize);
};
const texts = Array.from({ length: rows }, () => Array.from({ length: sequence }, nextId));

/** The sum of the tokens' losses (so that gradients are of a size that float16 holds) and all gradients. */
async function gradientsOf(precision, head) {
  const checkpoint = randomCheckpoint(tree, "f32");
  const { signal } = new AbortController();
  const weights = await loadWeights(device, checkpoint, tree, { source: "random weights", precision, signal });
  const named = namedRows(tree, weights, (name) => checkpoint.entries.has(name));
  const trained = trainableTensors(named);
  const language = miniMaxM1.build(device, config, weights);
  const { loss, gradients } = textGradient(language, trained, texts, { count: 1, precision: head });
  const values = [];
  for (const gradient of gradients) values.push(gradient ? await gradient.readFloat32() : new Float32Array(0));
  const nameOf = (tensor) => named.find(({ holder }) => holder === tensor || holder.codes === tensor)?.name;
  const result = { loss: (await loss.readFloat32())[0], values, names: trained.map(nameOf) };
  for (const resource of [loss, ...gradients, language]) resource?.dispose();
  return result;
}

function distance(a, b) {
  let error = 0;
  let norm = 0;
  for (const [i, x] of b.entries()) {
    error += (a[i] - x) ** 2;
    norm += x ** 2;
  }
  return norm === 0 ? Math.sqrt(error) : Math.sqrt(error / norm);
}

const wide = await gradientsOf("f32", "f32");
console.log(`float32: loss ${(wide.loss / (rows * (sequence - 1))).toFixed(6)} a token`);
for (const [label, precision, head, mostLoss] of [
  ["head in float16", "f32", "f16", 1e-6],
  ["all in float16", "f16", "f16", 1e-3],
]) {
  const narrow = await gradientsOf(precision, head);
  const lossDistance = Math.abs(narrow.loss / wide.loss - 1);
  const found = wide.values.map((value, i) => ({ d: distance(narrow.values[i], value), name: wide.names[i] }));
  found.sort((a, b) => b.d - a.d);
  const median = found[found.length >> 1].d;
  const worst = found.slice(0, 3).map(({ d, name }) => `${d.toExponential(1)} ${name}`);
  console.log(
    `${label}: loss off by ${lossDistance.toExponential(1)}; gradients: median ${median.toExponential(1)}, worst`,
  );
  console.log(`  ${worst.join("\n  ")}`);
  if (!(lossDistance <= mostLoss && median <= 0.02)) process.exitCode = 1;
}
await device.close();
