/** TensorFlow.js on WebAssembly (SIMD; no threads in Node): float32 products. Times include reading the result. */
import { join } from "node:path";
import { serve, values, versionOf } from "./serve.mjs";

export async function start(load) {
  const tf = await load("@tensorflow/tfjs-core");
  const backend = await load("@tensorflow/tfjs-backend-wasm");
  const setWasmPaths = backend.setWasmPaths ?? backend.default.setWasmPaths;
  setWasmPaths(`${join(process.cwd(), "node_modules/@tensorflow/tfjs-backend-wasm/dist")}/`);
  await tf.setBackend("wasm");
  await serve(`tfjs-backend-wasm ${await versionOf("@tensorflow/tfjs-backend-wasm")}`, {
    gemm({ n, kind }) {
      if (kind !== "f32") return undefined;
      const a = tf.tensor2d(values(n * n), [n, n]);
      const b = tf.tensor2d(values(n * n), [n, n]);
      const run = async () => {
        const product = tf.matMul(a, b);
        await product.data();
        product.dispose();
      };
      return { run, end: () => tf.dispose([a, b]) };
    },
  });
}
