/** @jax-js/jax on WebAssembly: float32 products. Times include reading the result. */
import { serve, values, versionOf } from "./serve.mjs";

export async function start(load) {
  const { init, defaultDevice, numpy } = await load("@jax-js/jax");
  await init("wasm");
  defaultDevice("wasm");
  await serve(`jax-js ${await versionOf("@jax-js/jax")} (wasm)`, {
    gemm({ n, kind }) {
      if (kind !== "f32") return undefined;
      const a = numpy.array(values(n * n)).reshape([n, n]);
      const b = numpy.array(values(n * n)).reshape([n, n]);
      // Arrays are used up by what they are given to, unless `ref` keeps them.
      return { run: async () => void (await numpy.matmul(a.ref, b.ref).data()) };
    },
  });
}
