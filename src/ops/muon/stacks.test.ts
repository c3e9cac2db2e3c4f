import { expect, test } from "vitest";
import type { MuonPart, MuonTensor } from "./muon.js";
import { type Stack, stacksOf } from "./stacks.js";

const tensor = (parts: readonly MuonPart[]) => ({ parts }) as unknown as MuonTensor; // the places alone are asked for

const shown = ({ count, rows, columns, stride, series }: Stack) => ({
  size: [count, rows, columns, stride],
  series: series.map(({ first, step, count, isTall }) => [first, step, count, isTall]),
});

const limits = { align: 16, numbers: 1e6, matrices: 100 };

test("matrices of one size are a stack, those at equal distances a series", () => {
  const gateUp = tensor(Array.from({ length: 6 }, (_, i) => ({ first: 4 * i, rows: 4, columns: 9 })));
  const down = tensor([0, 9, 20, 31].map((first) => ({ first, rows: 9, columns: 4 })));
  const qkv = tensor([
    { first: 0, rows: 8, columns: 9 },
    { first: 8, rows: 4, columns: 9 },
    { first: 12, rows: 4, columns: 9 },
  ]);
  expect(stacksOf([gateUp, down, qkv], limits).map(shown)).toEqual([
    {
      size: [12, 4, 9, 16],
      series: [
        [0, 4, 6, false],
        [0, 9, 2, true],
        [20, 11, 2, true],
        [8, 4, 2, false],
      ],
    },
    { size: [1, 8, 9, 16], series: [[0, 0, 1, false]] },
  ]);
});

test("a stack ends at its limits, also inside a series", () => {
  const tensors = [
    tensor(Array.from({ length: 5 }, (_, i) => ({ first: 3 * i, rows: 2, columns: 16 }))),
    tensor([{ first: 1, rows: 2, columns: 16 }]),
  ];
  const series = [
    [[0, 3, 2, false]],
    [[6, 3, 2, false]],
    [
      [12, 3, 1, false],
      [1, 0, 1, false],
    ],
  ];
  for (const own of [
    { ...limits, numbers: 95 },
    { ...limits, matrices: 2 },
  ]) {
    expect(stacksOf(tensors, own).map((stack) => shown(stack).series)).toEqual(series);
  }
  // A matrix that is too large is taken all the same.
  expect(stacksOf(tensors, { ...limits, numbers: 1 }).map(({ count }) => count)).toEqual([1, 1, 1, 1, 1, 1]);
});
