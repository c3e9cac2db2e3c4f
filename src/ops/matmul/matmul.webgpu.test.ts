/** The WebGPU products on the software adapter, kind by kind and path by path, against float64 loops. */
import { afterAll, describe, expect, test } from "vitest";
import { WebGpuDevice } from "../../device/index.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { empty, upload } from "../../tensor/index.js";
import { type ForcedChoice, launchMatmulWebGpu, matmulMatrixVariants, matmulVariants } from "./matmul.launch-webgpu.js";
import type { Activation } from "./plan.js";
import type { WeightKind } from "./weight-matrix.js";
import { weightCodecs, weightFromFloat32 } from "./weights/create.js";

interface Case {
  readonly name: string;
  readonly T: number;
  readonly K: number;
  /** Columns of the result. */
  readonly N: number;
  readonly kind: WeightKind;
  readonly group?: number;
  readonly bias?: boolean;
  readonly activation?: Activation;
  readonly gate?: boolean;
  readonly multiply?: boolean;
  readonly residual?: boolean;
}

const everything = { gate: true, activation: "gelu", bias: true, multiply: true, residual: true } as const;

const kinds = ["f32", "f16", "bf16", "int8", "int4"] as const;

const cases: readonly Case[] = [
  ...kinds.flatMap((kind): Case[] => [
    { name: `${kind}: one token, padded row`, kind, T: 1, K: 36, N: 5 },
    { name: `${kind}: three tokens, odd K`, kind, T: 3, K: 37, N: 3 },
    { name: `${kind}: gate, one token`, kind, T: 1, K: 64, N: 7, gate: true, activation: "silu" },
    // SwiftShader switches threads at every barrier, which makes tiles slow: two steps of K are enough.
    { name: `${kind}: tile`, kind, T: 9, K: 20, N: 5 },
  ]),
  { name: "tiles, beyond their edges", kind: "f32", T: 9, K: 41, N: 35 },
  { ...everything, name: "tile with gate and all options", kind: "int8", T: 10, K: 20, N: 6 },
  { name: "one column", kind: "f32", T: 1, K: 1, N: 1 },
  { name: "more rows than a workgroup takes", kind: "f16", T: 2, K: 32, N: 71 },
  { name: "int4: groups of 64, K within a group", kind: "int4", group: 64, T: 2, K: 160, N: 3 },
  { name: "int4: groups of 128", kind: "int4", group: 128, T: 1, K: 256, N: 3 },
  { name: "longer rows than lanes", kind: "int8", T: 1, K: 1200, N: 3 },
  { name: "eight tokens, bias and sigmoid", kind: "bf16", T: 8, K: 64, N: 6, bias: true, activation: "sigmoid" },
  { name: "seven tokens, gelu, multiply", kind: "f32", T: 7, K: 32, N: 4, activation: "gelu", multiply: true },
  { name: "residual", kind: "int8", T: 2, K: 32, N: 9, residual: true },
  { ...everything, name: "gate with all options", kind: "int4", T: 4, K: 96, N: 5 },
  { name: "tile, bias and silu", kind: "f16", T: 33, K: 40, N: 34, bias: true, activation: "silu" },
];

const software = await WebGpuDevice.open({ allowSoftware: true });
const plain = await WebGpuDevice.open({ allowSoftware: true, disableFeatures: ["subgroups"] });
// Codes of all cases below are larger; everything else fits.
const narrow = await WebGpuDevice.open({ allowSoftware: true, maxBindingBytes: 4096 });

afterAll(async () => {
  for (const device of [software, plain, narrow]) await device.close();
});

describe("matmul on the WebGPU software adapter", () => {
  test.each(cases)("$name", (c) => check(software, c));

  // Tiles use no subgroups anyway.
  test.each(cases.filter((c) => c.T <= 8 && c.K < 1000))("without subgroups: $name", (c) => check(plain, c));

  test.each(kinds)("%s: blocks of tokens where tiles would be few", (kind) =>
    check(software, { ...everything, name: "blocks", kind, T: 19, K: 68, N: 6 }, 1, { busyTiles: 128 }),
  );

  // Small chunks: the software adapter writes out the clearing of workgroup memory while it compiles.
  test.each([
    { name: "int8, one token", kind: "int8", T: 1, K: 300, N: 21, bias: true },
    { name: "int8, gate", kind: "int8", T: 2, K: 280, N: 9, gate: true, activation: "silu" },
    { name: "int4, one token, odd K", kind: "int4", T: 1, K: 613, N: 9 },
    { name: "int4, groups of 64, seven tokens", kind: "int4", group: 64, T: 7, K: 576, N: 7, residual: true },
    { ...everything, name: "int4, gate with all options", kind: "int4", T: 3, K: 288, N: 10 },
    { name: "f16, row ends within a step", kind: "f16", T: 2, K: 131, N: 5 },
  ] satisfies Case[])("x in workgroup memory: $name", async (c) => {
    const before = software.counters.pipelines;
    await check(software, c, 1, {
      staged: { rows: c.T > 4 ? 1 : 2, workgroup: 16, unroll: c.T === 1 ? 2 : 1, chunk: 8 },
    });
    expect(software.counters.pipelines).toBe(before + 1);
  });

  test("finite for large activations", async () => {
    const c = { name: "large", kind: "f32", T: 1, K: 2, N: 4 } as const;
    for (const activation of ["silu", "sigmoid", "gelu"] as const) await check(software, { ...c, activation }, 1e5);
  });

  test("columns beyond K do not reach padded weights", async () => {
    const w = weightFromFloat32(software, new Float32Array(5).fill(1), 1, 5, "f32");
    const x = upload(software, [1, 1, 1, 1, 1, Infinity, 0, 0, 0, 0], [2, 5]);
    const out = empty(software, [1, 1]);
    launchMatmulWebGpu(software, { ...unadorned, x, w, out, T: 1, K: 5, N: 1 });
    expect([...(await out.readFloat32())]).toEqual([5]);
    for (const resource of [w, x, out]) resource.dispose();
  });
});

describe("matmul with weights that exceed a binding", () => {
  test.each([
    ...kinds.flatMap((kind): Case[] => [
      { name: `${kind}, one token`, kind, T: 1, K: 70, N: 150, bias: true },
      { name: `${kind}, gate`, kind, T: 2, K: 70, N: 101, gate: true, activation: "silu", bias: true },
    ]),
    { name: "tiles with gate", kind: "f16", T: 9, K: 40, N: 70, gate: true, activation: "silu", residual: true },
  ] satisfies Case[])("$name", async (c) => {
    const before = narrow.counters.dispatches;
    await check(narrow, c);
    expect(narrow.counters.dispatches - before).toBeGreaterThan(1);
  });

  test("a row that exceeds a binding is a readable error", () => {
    narrow.scope(() => {
      const w = weightFromFloat32(narrow, new Float32Array(2 * 1056), 2, 1056, "f32");
      const x = empty(narrow, [1, 1056]);
      const out = empty(narrow, [1, 2]);
      const launch = (): void => launchMatmulWebGpu(narrow, { ...unadorned, x, w, out, T: 1, K: 1056, N: 2 });
      expect(launch).toThrow("weights f32 [2, 1056]: 2 rows of 4224 bytes exceed a binding of 4096 bytes");
    });
  });
});

test("every kernel compiles without a message", async () => {
  const variants = [...matmulVariants(), ...matmulMatrixVariants()];
  const labels = new Set(variants.map(({ label }) => label));
  expect(labels.size).toBe(variants.length);
  const checked = await compileOnNullBackend(variants);
  expect(
    checked
      .filter(({ messages }) => messages.length > 0)
      .slice(0, 3)
      .map(({ kernel, messages }) => [kernel.label, messages]),
  ).toEqual([]);
});

const unadorned = {
  bias: undefined,
  activation: "none",
  gate: false,
  multiply: undefined,
  residual: undefined,
  precision: "f32",
} as const;

async function check(device: WebGpuDevice, c: Case, scale = 1, forced: ForcedChoice = {}): Promise<void> {
  const { T, K, N, kind, group = 32, gate = false, activation = "none" } = c;
  const random = generator(c.name);
  const draw = (size: number, factor = 1): Float32Array => Float32Array.from({ length: size }, () => factor * random());
  const rows = gate ? 2 * N : N;
  const values = draw(rows * K);
  const x = draw(T * K, scale);
  const bias = c.bias ? draw(rows) : undefined;
  const multiply = c.multiply ? draw(T * N) : undefined;
  const residual = c.residual ? draw(T * N) : undefined;
  const codec = weightCodecs[kind];
  const weights = codec.decode(codec.encode(values, rows, K, group), rows, K, group);

  const liveBefore = device.memory.live;
  const got = await device.scope(async () => {
    const out = empty(device, [T, N]);
    const w = weightFromFloat32(device, values, rows, K, kind, group);
    const plan = {
      x: upload(device, x, [T, K]),
      ...unadorned,
      w,
      out,
      T,
      K,
      N,
      bias: bias && upload(device, bias, [rows]),
      activation,
      gate,
      multiply: multiply && upload(device, multiply, [T, N]),
      residual: residual && { tensor: upload(device, residual, [T, N]), alpha: 0.75, beta: -1.5 },
    };
    launchMatmulWebGpu(device, plan, forced);
    return out.readFloat32();
  });
  expect(device.memory.live).toBe(liveBefore);

  for (let t = 0; t < T; t++) {
    for (let n = 0; n < N; n++) {
      const z = dot(x, t * K, weights, n * K, K);
      const up = gate ? dot(x, t * K, weights, (N + n) * K, K) : { sum: 1, absolute: 0 };
      const zBias = z.sum + (bias?.[n] ?? 0);
      const upBias = gate ? up.sum + (bias?.[N + n] ?? 0) : 1;
      const at = t * N + n;
      const factor = multiply?.[at] ?? 1;
      const y = activate(activation, zBias) * upBias * factor;
      const expected = residual ? 0.75 * residual[at]! - 1.5 * y : y;
      // Each sum errs by less than K ulps of its absolute sum (K additions); slopes of the activations are at most 1.2,
      // and exp adds a few ulps of the result.
      const unit = 2 ** -23;
      const sumError = (K + 8) * unit * (z.absolute + 1);
      const upError = gate ? (K + 8) * unit * (up.absolute + 1) : 0;
      const bound =
        1.5 *
        Math.abs(factor) *
        (1.2 * sumError * (Math.abs(upBias) + upError) + upError * Math.abs(activate(activation, zBias)));
      const error = Math.abs(got[at]! - expected);
      expect(error, `[${t}, ${n}]: got ${got[at]}, expected ${expected}`).toBeLessThanOrEqual(
        bound + 16 * unit * Math.abs(expected),
      );
    }
  }
}

function dot(a: Float32Array, aAt: number, b: Float64Array, bAt: number, K: number): { sum: number; absolute: number } {
  let sum = 0;
  let absolute = 0;
  for (let k = 0; k < K; k++) {
    const product = a[aAt + k]! * b[bAt + k]!;
    sum += product;
    absolute += Math.abs(product);
  }
  return { sum, absolute };
}

function activate(activation: Activation, z: number): number {
  switch (activation) {
    case "none":
      return z;
    case "sigmoid":
      return 1 / (1 + Math.exp(-z));
    case "silu":
      return z / (1 + Math.exp(-z));
    case "gelu":
      return 0.5 * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3)));
  }
}

/** Numbers in −1 … 1 that depend on the case's name alone. */
function generator(name: string): () => number {
  let state = [...name].reduce((hash, letter) => Math.imul(hash ^ letter.charCodeAt(0), 0x01000193), 0x811c9dc5);
  return () => {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
    let mixed = Math.imul(state ^ (state >>> 12), 0x297a2d39);
    mixed ^= mixed >>> 15;
    return (mixed | 0) / 2 ** 31;
  };
}
