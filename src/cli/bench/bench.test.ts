import { Command } from "commander";
import { describe, expect, test } from "vitest";
import { define } from "../commands/bench.js";
import { InputError } from "../output.js";
import { measured, withFloor } from "./bench-result.js";
import { promptIds } from "./prompts.js";
import { decodeStepBytes, promptOperations, sharesOf } from "./step-bytes.js";
import { profileTable, resultTable } from "./tables.js";
import { median } from "./timing.js";

function bench(...args: string[]): Promise<Command> {
  const program = new Command("fulgur").exitOverride();
  define(program);
  for (const command of program.commands)
    command.exitOverride().configureOutput({ writeErr: () => undefined, writeOut: () => undefined });
  return program.parseAsync(["bench", ...args], { from: "user" });
}

describe("wrong use is refused before anything runs", () => {
  test.each([
    [["encode"], /'encode' is invalid .* Allowed choices are gemm, gemv, attention/],
    [["--batch", "1,,2"], /whole numbers from 1 to 256/],
    [["--batch", "0"], /whole numbers from 1 to 256/],
    [["--context", "x"], /whole numbers from 1/],
    [["gemm", "--sizes", "0"], /whole numbers from 1 to 16384/],
    [["gemm", "--weights", "f32,f8"], /expected f32, f16, bf16, int8, int4/],
    [["gemv", "--shape", "5"], /two whole numbers/],
    [["m1-slice", "--scale", "2"], /from 0.015625 to 1/],
    [["load", "--generate-gib", "0"], /from 0.001/],
    [["gemm", "--against", "chess"], /expected jax-js/],
    [["--runs", "0"], /whole number from 1/],
    [["--kv", "f8"], /unknown cache kind "f8": expected one of f32, f16/],
  ])("%j", async (args, message) => {
    await expect(bench(...args)).rejects.toThrow(message);
  });

  test("a model folder that is not there", async () => {
    await expect(bench("--model", "no/such/folder")).rejects.toThrow(InputError);
  });
});

test.each([
  [[3, 1, 2], 2],
  [[4, 1, 2, 3], 2.5],
  [[7], 7],
])("median of %j", (values, expected) => expect(median(values)).toBe(expected));

test("median of nothing", () => expect(() => median([])).toThrow(/at least one/));

test("prompts repeat, stay inside the vocabulary, and differ by seed", () => {
  const ids = promptIds(200, 50);
  expect(ids).toEqual(promptIds(200, 50));
  expect(ids).not.toEqual(promptIds(200, 50, 2));
  expect(ids.every((id) => Number.isInteger(id) && id >= 0 && id < 50)).toBe(true);
  expect(new Set(ids).size).toBeGreaterThan(40);
});

describe("bytes of a decode step", () => {
  const state = {
    softmaxLayers: 2,
    kvHeads: 3,
    headDim: 4,
    lightningLayers: 5,
    lightningHeads: 2,
    lightningHeadDim: 8,
    vocabSize: 10,
    maxPositions: 100,
  };
  const model = { weightBytes: 1000, state };
  const expertNames = [
    "model.layers.0.block_sparse_moe.experts.1.w1.weight",
    "model.layers.0.mlp.experts.gate_up_proj",
  ];

  test("shares of a file", () => {
    const tensors = [
      { name: "model.embed_tokens.weight", bytes: 100 },
      { name: "model.layers.0.self_attn.qkv_proj.weight", bytes: 300 },
      ...expertNames.map((name) => ({ name, bytes: 300 })),
    ];
    const config = { num_local_experts: 8, num_experts_per_tok: 2, vocab_size: 10, hidden_size: 5 };
    expect(sharesOf(tensors, config)).toEqual({ experts: 0.6, lookup: 0, chosen: 0.25, headParameters: 50 });
    const untied = [...tensors, { name: "lm_head.weight", bytes: 1000 }];
    expect(sharesOf(untied, config)).toEqual({ experts: 0.3, lookup: 0.05, chosen: 0.25, headParameters: 50 });
    expect(sharesOf(tensors.slice(0, 2), {})).toEqual({ experts: 0, lookup: 0, chosen: 1, headParameters: 0 });
  });

  test("one sequence reads the chosen experts, many read all", () => {
    const shares = { experts: 0.6, lookup: 0.1, chosen: 0.25 };
    const rest = { length: 0, cacheBits: 32 };
    const states = 2 * 5 * 2 * 64 * 4;
    expect(decodeStepBytes(model, shares, { batch: 1, ...rest })).toBeCloseTo(300 + 150 + states, 9);
    expect(decodeStepBytes(model, shares, { batch: 2, ...rest })).toBeCloseTo(
      300 + 600 * (1 - 0.75 ** 2) + 2 * states,
      9,
    );
  });

  test("caches count by length and bits", () => {
    const shares = { experts: 0, lookup: 0, chosen: 1 };
    const bytes = (length: number, cacheBits: number) =>
      decodeStepBytes(model, shares, { batch: 3, length, cacheBits });
    expect(bytes(7, 16) - bytes(0, 16)).toBe(3 * 7 * 2 * 2 * 3 * 4 * 2);
    expect(bytes(7, 32) - bytes(0, 32)).toBe(3 * 7 * 2 * 2 * 3 * 4 * 4);
  });
});

test("a prompt needs the head for its last token only", () => {
  expect(promptOperations(70, { headParameters: 50 }, 1)).toBe(140);
  expect(promptOperations(70, { headParameters: 50 }, 10)).toBe(2 * (200 + 50));
});

test("floor and share", () => {
  expect(withFloor(0.002, 0.001)).toEqual({ seconds: 0.002, floorSeconds: 0.001, share: 0.5 });
});

test("the floor is the slower of memory and arithmetic, and no floor is better than half of one", () => {
  const roofs = { bandwidth: 1e9, peak: 1e10 };
  expect(measured(1, { bytes: 5e8, operations: 1e9 }, roofs)).toEqual({
    seconds: 1,
    floorSeconds: 0.5,
    share: 0.5,
    gflops: 1,
    gbs: 0.5,
  });
  expect(measured(1, { bytes: 1e8, operations: 8e9 }, roofs)).toMatchObject({ share: 0.8 });
  expect(measured(2, { bytes: 1e8, operations: 8e9 }, { bandwidth: 1e9 })).toEqual({
    seconds: 2,
    gflops: 4,
    gbs: 0.05,
  });
  expect(measured(2, { operations: 8e9 }, {})).toEqual({ seconds: 2, gflops: 4 });
});

test("a column of names appears when peers take part", () => {
  const result = { name: "gemm", device: "cpu", sizes: { n: 8 }, seconds: 0.001 };
  expect(resultTable([result, { ...result, device: "other 1.0" }])).toMatchInlineSnapshot(`
    "name  by         sizes  time      tokens/s  GB/s  GFLOP/s  floor  floor/time
    gemm  cpu        n 8    1.000 ms
    gemm  other 1.0  n 8    1.000 ms"
  `);
});

test("tables", () => {
  const result = {
    name: "decode",
    device: "cpu",
    threads: 2,
    sizes: { batch: 1, kv: "f32" },
    ...withFloor(0.01, 0.005),
    tokensPerSecond: 100,
  };
  expect(resultTable([result])).toMatchInlineSnapshot(`
    "name    sizes            time      tokens/s  GB/s  GFLOP/s  floor     floor/time
    decode  batch 1, kv f32  10.00 ms     100.0                 5.000 ms        50 %"
  `);
  const kernel = { kernel: "matmul", calls: 3, seconds: 0.003, bytes: 3 * 2 ** 20, operations: 6e6 };
  const other = { kernel: "advance", calls: 1, seconds: 0.001, bytes: 0, operations: 0 };
  const profile = { name: "decode", sizes: { batch: 1 }, seconds: 0.005, kernels: [other, kernel], gbs: 2 };
  expect(profileTable(profile)).toMatchInlineSnapshot(`
    "decode (batch 1): 5.0 ms, 4.0 ms in kernels, 1.0 ms between them
    kernel   calls  time      bytes     GB/s  GFLOP/s  of all  floor/time
    matmul       3  3.000 ms  3.00 MiB   1.0      2.0  75.0 %        52 %
    advance      1  1.000 ms  0.00 MiB                 25.0 %"
  `);
});
