/** Every suite once, as small as it gets: what they print is right in form, and nothing stays allocated. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CpuDevice } from "../../device/index.js";
import { openFolder } from "../../formats/index.js";
import { loadLanguageModel } from "../../models/index.js";
import { packageRoot } from "../model-options.js";
import { UsageError } from "../output.js";
import { attentionSuite } from "./attention.js";
import type { BenchResult } from "./bench-result.js";
import { gemmSuite } from "./gemm.js";
import { gemvSuite } from "./gemv.js";
import { lightningSuite } from "./lightning.js";
import { writeRandomModel } from "./load.js";
import { m1SliceSuite, sliceConfig } from "./m1-slice.js";
import { checkPeer, Peers } from "./peers.js";
import { matrixBytes, randomCheckpoint, randomMatrix } from "./random-weights.js";
import { multiplyAddPeak } from "./roofs.js";
import { type BenchFlags, type DeviceInput, suites } from "./suites.js";
import { trainSuite } from "./train.js";

let device: CpuDevice;
beforeAll(async () => {
  device = await CpuDevice.open({ threads: 2 });
});
afterAll(() => device.close());

const { signal } = new AbortController();
const flags: BenchFlags = {
  model: join(packageRoot, "models", "fulgur-mini"),
  device: "cpu",
  threads: 1,
  kv: "f32",
  precision: "auto",
  scale: 1 / 64,
  runs: 1,
};

function input(more: Partial<BenchFlags> = {}): DeviceInput {
  return { device, peers: Peers.none(), flags: { ...flags, ...more }, signal, say: () => undefined };
}

function check(results: readonly BenchResult[]): void {
  for (const result of results) {
    for (const value of Object.values(result)) {
      if (typeof value === "number") expect(value, JSON.stringify(result)).toBeGreaterThan(0);
    }
    if (result.share !== undefined) expect(result.share).toBeCloseTo((result.floorSeconds ?? 0) / result.seconds, 2);
  }
}

const names = (results: readonly BenchResult[]) => results.map(({ name }) => name);

describe("suites of kernels", () => {
  test.each([
    ["gemm", gemmSuite, { sizes: [32] }, ["multiply-add", "gemm f32", "gemm f16", "gemm bf16", "gemm int8"]],
    [
      "gemv",
      gemvSuite,
      { shape: [64, 96] as const, weights: ["int8", "int4"] as const },
      ["read", "gemv int8", "gemv int4"],
    ],
    [
      "attention",
      attentionSuite,
      { context: [65], lengths: [33] },
      [
        ...["read", "multiply-add"],
        ...["M1: decode f32", "M1: decode f16", "M1: prompt f32"],
        ...["8B: decode f32", "8B: decode f16", "8B: prompt f32"],
        ...["mini: decode f32", "mini: decode f16", "mini: prompt f32"],
      ],
    ],
    [
      "train",
      trainSuite,
      { tokens: 32, sequence: [16], recompute: true },
      ["multiply-add", "read", "train mini", "train mini"],
    ],
    [
      "lightning",
      lightningSuite,
      { batch: [1], lengths: [33] },
      ["read", "multiply-add", "M1: decode", "M1: prompt", "mini: decode", "mini: prompt"],
    ],
    ["m1-slice", m1SliceSuite, { context: [70], vocab: 64 }, ["read", "hybrid: decode", "softmax: decode"]],
  ] as const)("%s", async (_, suite, more, expected) => {
    const before = device.memory.live;
    const { results } = await suite(input(more as Partial<BenchFlags>));
    expect(names(results)).toEqual(expected);
    check(results);
    expect(device.memory.live).toBe(before);
  });

  test("m1-slice in full is for GPUs", async () => {
    await expect(m1SliceSuite(input({ scale: 1 }))).rejects.toThrow(UsageError);
  });
});

test("decode, prefill and load of the model in the repository", async () => {
  const context = { flags: { ...flags, batch: [1], context: [5], lengths: [5] }, signal, say: () => undefined };
  const decode = await suites.decode.run("decode", context);
  expect(names(decode.results)).toEqual(["read", "decode"]);
  check(decode.results);
  const longer = { ...context.flags, positions: 20_000, lengths: [9] };
  expect(names((await suites.prefill.run("prefill", { ...context, flags: longer })).results)).toContain("prefill");
  const load = await suites.load.run("load", context);
  expect(names(load.results)).toContain("first token in all");
  await expect(
    suites.decode.run("decode", { ...context, flags: { ...context.flags, context: [10 ** 6] } }),
  ).rejects.toThrow(/--context 1000000: fulgur-mini reaches/);
  await expect(suites.load.run("load", { ...context, flags: { ...flags, against: ["jax-js"] } })).rejects.toThrow(
    UsageError,
  );
});

test("a generated model can be loaded, has about the size asked for, and is removed", async () => {
  const folder = mkdtempSync(join(tmpdir(), "fulgur-test-"));
  try {
    await writeRandomModel(folder, 2 ** 24, signal);
    const opened = await openFolder(folder);
    using language = await loadLanguageModel(device, opened);
    expect(language.weightBytes).toBeGreaterThan(2 ** 23);
    expect(language.weightBytes).toBeLessThan(2 ** 25);
  } finally {
    rmSync(folder, { recursive: true });
  }
  const generated = () => readdirSync(tmpdir()).filter((name) => name.startsWith("fulgur-bench-"));
  const before = generated();
  await suites.load.run("load", { flags: { ...flags, generateGib: 2 ** -6 }, signal, say: () => undefined });
  expect(generated()).toEqual(before);
});

test("the slice at full size is M1's layer", () => {
  const config = sliceConfig({ scale: 1, vocab: 4096, maxPositions: 1000, layers: [0, 0, 0, 1] });
  expect(config).toMatchObject({
    hidden_size: 6144,
    num_attention_heads: 64,
    num_key_value_heads: 8,
    head_dim: 128,
    rotary_dim: 64,
    intermediate_size: 9216,
  });
});

test("the arithmetic peak is a roof of our products", async () => {
  const { gflops } = await multiplyAddPeak(device, { runs: 2, signal });
  expect(gflops).toBeGreaterThan(0.1);
});

describe("random weights", () => {
  test.each(["f32", "f16", "bf16", "int8", "int4"] as const)(
    "%s: bytes, and values of a model's size",
    async (kind) => {
      using matrix = randomMatrix(device, { kind, rows: 40, columns: 33 });
      const perRow = { f32: 256, f16: 128, bf16: 128, int8: 64 + 4, int4: 32 + 8 }[kind];
      expect(matrixBytes(matrix)).toBe(40 * perRow);
      if (kind !== "f32") return;
      const values = await matrix.codes.readFloat32();
      expect(Math.max(...values.map(Math.abs))).toBeLessThan(0.035);
      expect(new Set(values).size).toBeGreaterThan(1000);
    },
  );

  test("a checkpoint streams what it says", async () => {
    const tree = {
      m: { spec: "matrix", columns: 8, alternatives: [[{ name: "m", shape: [5, 8] }]], widen: false, exact: false },
      v: { spec: "vector", parts: [{ name: "v", shape: [3] }] },
    } as const;
    const checkpoint = randomCheckpoint(tree);
    expect(checkpoint.totalBytes).toBe(86);
    const pieces: number[] = [];
    for await (const { offset, bytes } of checkpoint.stream("m", { chunkBytes: 32 })) pieces.push(offset, bytes.length);
    expect(pieces).toEqual([0, 32, 32, 32, 64, 16]);
    const ones = await checkpoint.read("v");
    expect([...new Uint16Array(ones.buffer, ones.byteOffset, 3)]).toEqual([0x3c00, 0x3c00, 0x3c00]);
    await expect(checkpoint.read("x")).rejects.toThrow(/no tensor x/);
  });
});

describe("peers", () => {
  test.each([
    ["chess", "gemm", undefined, /expected one of jax-js/],
    ["node-llama-cpp", "gemm", undefined, /takes part in decode, prefill, not in gemm/],
    ["jax-js", "gemm", undefined, /--peers DIR or FULGUR_PEERS .*npm i --ignore-scripts @jax-js\/jax/],
    ["jax-js", "gemm", "/no/such/folder", /@jax-js\/jax is not installed in/],
  ])("%s in %s from %s", (name, suite, folder, message) => {
    expect(() => checkPeer(name, suite, folder)).toThrow(message);
  });

  test("a child takes turns", async () => {
    const file = join(packageRoot, "bench", "peers", "serve.mjs");
    const script = `const { serve } = await import(${JSON.stringify(file)});
      await serve("test 1", { gemm: ({ n }) => n === 1 ? undefined : { run: () => { if (n === 2) throw new Error("no"); }, count: 2 } });`;
    const requests = [3, 3, 2, 1].map((n) => JSON.stringify({ suite: "gemm", n })).join("\n");
    const out = execFileSync(process.execPath, ["--input-type=module", "--eval", script], { input: `${requests}\n` });
    const answers = out
      .toString()
      .trim()
      .split("\n")
      .map((line): unknown => JSON.parse(line));
    expect(answers).toEqual([
      { label: "test 1" },
      { seconds: expect.any(Number) },
      { seconds: expect.any(Number) },
      { error: "no" },
      { skip: true },
    ]);
  });

  test("a GGUF file of the model's shape", () => {
    const folder = mkdtempSync(join(tmpdir(), "fulgur-test-"));
    try {
      const out = join(folder, "random.gguf");
      const script = join(packageRoot, "bench", "peers", "write-gguf.mjs");
      execFileSync(process.execPath, [script, join(flags.model, "config.json"), out]);
      expect(existsSync(out)).toBe(true);
      const bytes = readFileSync(out);
      expect(bytes.subarray(0, 4).toString()).toBe("GGUF");
      expect(bytes.readUInt32LE(4)).toBe(3);
      // 3 of its own, 9 for a lightning layer with its experts, 10 for one with softmax attention.
      expect(Number(bytes.readBigUInt64LE(8))).toBe(3 + 9 * 10 + 3 * 10);
      expect(bytes.includes("minimax-01")).toBe(true);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
