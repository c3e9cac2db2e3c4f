/**
 * onnxruntime-web (WebAssembly) and onnxruntime-node (native): float32 products with constant weights, which the runtime may
 * pack once, as in a model. Times include handing the activations in and the result out.
 */
import { serve, values, versionOf } from "./serve.mjs";

export async function start(load, { name, threads }) {
  const ort = await load(name);
  const { InferenceSession, Tensor, env } = ort.InferenceSession ? ort : ort.default;
  const isWeb = name === "onnxruntime-web";
  if (isWeb) env.wasm.numThreads = threads;
  const options = {
    executionProviders: [isWeb ? "wasm" : "cpu"],
    // Threads that spin while idle would take the cores from whoever has the next turn.
    extra: { session: { intra_op: { allow_spinning: "0" } } },
    ...(isWeb ? {} : { intraOpNumThreads: threads, interOpNumThreads: 1 }),
  };
  const how = `${isWeb ? "wasm" : "native"}, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  await serve(`${name} ${await versionOf(name)} (${how})`, {
    async gemm({ n, kind }) {
      if (kind !== "f32") return undefined;
      const session = await InferenceSession.create(productModel(n, values(n * n)), options);
      const x = new Tensor("float32", values(n * n), [n, n]);
      return { run: async () => void (await session.run({ x })), end: () => session.release() };
    },
  });
}

/** An ONNX model y = MatMul(x, w), with field numbers of onnx.proto3. */
export function productModel(n, weights) {
  const dimension = field(1, integer(1, n));
  const shape = Buffer.concat([dimension, dimension]);
  const value = (name) => [text(1, name), field(2, field(1, integer(1, FLOAT), field(2, shape)))];
  const tensor = [
    integer(1, n),
    integer(1, n),
    integer(2, FLOAT),
    text(8, "w"),
    bytes(9, Buffer.from(weights.buffer, weights.byteOffset, weights.byteLength)),
  ];
  const node = [text(1, "x"), text(1, "w"), text(2, "y"), text(4, "MatMul")];
  const graph = [
    field(1, ...node),
    text(2, "product"),
    field(5, ...tensor),
    field(11, ...value("x")),
    field(12, ...value("y")),
  ];
  return Buffer.concat([integer(1, 8), field(7, ...graph), field(8, text(1, ""), integer(2, 13))]);
}

const FLOAT = 1;

function varint(value) {
  const out = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...out, rest]);
    out.push((rest % 128) | 128);
  }
}

const integer = (number, value) => Buffer.concat([varint(number * 8), varint(value)]);
const bytes = (number, data) => Buffer.concat([varint(number * 8 + 2), varint(data.length), data]);
const text = (number, value) => bytes(number, Buffer.from(value));
const field = (number, ...parts) => bytes(number, Buffer.concat(parts));
