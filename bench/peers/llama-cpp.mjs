/**
 * node-llama-cpp (native code) on a GGUF file with random weights in the shape of the model under test.
 *
 * Decode goes on from where the last run ended, so that its context grows by a few tokens; the same for all runs of ours would
 * need its states to be cut, which llama.cpp cannot for lightning layers.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serve, versionOf } from "./serve.mjs";
import { shapeOf, writeGguf } from "./write-gguf.mjs";

/** Steps beyond the context that a decode measurement may take in all. */
const headroom = 4096;

export async function start(load, { threads }) {
  const { getLlama } = await load("node-llama-cpp");
  const llama = await getLlama({ gpu: false, build: "never", maxThreads: threads, logLevel: "error" });
  const folder = mkdtempSync(join(tmpdir(), "fulgur-gguf-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit());
  let loaded;
  const modelOf = async (config) => {
    if (!loaded) {
      const modelPath = join(folder, "random.gguf");
      const shape = shapeOf(config);
      writeGguf(modelPath, shape);
      loaded = { shape, model: await llama.loadModel({ modelPath }) };
    }
    return loaded;
  };
  const ids = (count, vocab, seed) =>
    Array.from({ length: count }, (_, i) => 259 + ((i * 7919 + seed) % (vocab - 259)));
  const options = { temperature: 0, yieldEogToken: true };

  await serve(`node-llama-cpp ${await versionOf("node-llama-cpp")} (native, ${threads} threads)`, {
    async decode({ config, batch, context, steps }) {
      const { model, shape } = await modelOf(config);
      const contextSize = context + headroom;
      const made = await model.createContext({ contextSize, sequences: batch, threads, batchSize: 512 });
      const streams = Array.from({ length: batch }, (_, i) =>
        made.getSequence().evaluate(ids(context, shape.vocab, i), options),
      );
      const step = () => Promise.all(streams.map((stream) => stream.next()));
      const run = async () => {
        for (let i = 0; i < steps; i++) await step();
      };
      return { run, count: steps, end: () => made.dispose() };
    },
    async prefill({ config, tokens }) {
      const { model, shape } = await modelOf(config);
      const made = await model.createContext({ contextSize: tokens + 16, threads, batchSize: 512 });
      const sequence = made.getSequence();
      const run = async () => {
        await sequence.clearHistory();
        const stream = sequence.evaluate(ids(tokens, shape.vocab, 0), options);
        await stream.next();
        await stream.return?.();
      };
      return { run, end: () => made.dispose() };
    },
  });
}
