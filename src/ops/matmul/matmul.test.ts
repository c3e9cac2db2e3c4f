import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { CpuDevice, type Device } from "../../device/index.js";
import { upload } from "../../tensor/index.js";
import { type MatmulOptions, matmul } from "./matmul.js";
import { activationReference, matmulReference } from "./matmul.reference.js";
import type { Activation } from "./plan.js";
import type { WeightKind, WeightMatrix } from "./weight-matrix.js";
import { createWeightMatrix, weightCodecs, weightFromFloat32, writeRows } from "./weights/create.js";

const kinds = ["f32", "f16", "bf16", "int8", "int4"] as const satisfies readonly WeightKind[];

/** N' outputs, K inputs; int4 group. */
const shapes = [
  { N: 1, K: 1, group: 32 },
  { N: 7, K: 33, group: 64 },
  { N: 12, K: 96, group: 64 },
  { N: 20, K: 300, group: 128 },
] as const;

const epilogues = [
  { what: "plain" },
  { what: "silu of gate × up", gate: true },
  { what: "bias, gelu, residual", bias: true, activation: "gelu", residual: true },
  {
    what: "bias, sigmoid gate, multiply, residual",
    bias: true,
    activation: "sigmoid",
    gate: true,
    multiply: true,
    residual: true,
  },
] as const satisfies readonly {
  what: string;
  bias?: boolean;
  activation?: Activation;
  gate?: boolean;
  multiply?: boolean;
  residual?: boolean;
}[];

interface Case {
  readonly kind: WeightKind;
  readonly T: number;
  readonly N: number;
  readonly K: number;
  readonly group: number;
  readonly bias?: boolean;
  readonly activation?: Activation;
  readonly gate?: boolean;
  readonly multiply?: boolean;
  readonly residual?: boolean;
}

// Each kind meets each T, each T each shape and each epilogue; the offsets keep them from going in step.
const cases = kinds.flatMap((kind, a) =>
  [1, 2, 3, 5, 8, 17].flatMap((T, b) =>
    [0, 1].map((c) => {
      const shape = shapes[(a + b + 2 * c) % shapes.length]!;
      const epilogue = epilogues[(a + 3 * b + c) % epilogues.length]!;
      return { name: `${kind} T=${T} N=${shape.N} K=${shape.K}: ${epilogue.what}`, kind, T, ...shape, ...epilogue };
    }),
  ),
);

/** Numbers in −1 … 1, the same for the same seed. */
function numbers(count: number, seed: number): Float32Array {
  let state = (seed * 2654435761) >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

const alpha = 0.5;
const beta = -1.5;

function inputsOf(c: Case) {
  const rows = c.gate ? 2 * c.N : c.N;
  const x = numbers(c.T * c.K, 1 + c.T);
  const encoded = weightCodecs[c.kind].encode(numbers(rows * c.K, 2), rows, c.K, c.group);
  return {
    x,
    rows,
    encoded,
    w: weightCodecs[c.kind].decode(encoded, rows, c.K, c.group),
    bias: c.bias ? numbers(rows, 3) : undefined,
    multiply: c.multiply ? numbers(c.T * c.N, 4) : undefined,
    residual: c.residual ? numbers(c.T * c.N, 5) : undefined,
  };
}

type Inputs = ReturnType<typeof inputsOf>;

function weightsOf(device: Device, c: Case, { rows, encoded }: Inputs): WeightMatrix {
  const w = createWeightMatrix(device, { kind: c.kind, rows, columns: c.K, group: c.group });
  writeRows(w, 0, rows, encoded.codes, encoded.scales);
  return w;
}

function multiplyOn(device: Device, c: Case, i: Inputs): Promise<Float32Array> {
  return device.scope(async () => {
    const options: MatmulOptions = {
      ...(i.bias && { bias: upload(device, i.bias, [i.rows]) }),
      ...(c.activation && { activation: c.activation }),
      ...(c.gate && { gate: true }),
      ...(i.multiply && { multiply: upload(device, i.multiply, [c.T, c.N]) }),
      ...(i.residual && { residual: { tensor: upload(device, i.residual, [c.T, c.N]), alpha, beta } }),
    };
    const y = matmul(upload(device, i.x, [c.T, c.K]), weightsOf(device, c, i), options);
    expect(y.shape).toEqual([c.T, c.N]);
    return y.readFloat32();
  });
}

function referenceOf(c: Case, i: Inputs): Float64Array {
  const residual = i.residual && { tensor: i.residual, alpha, beta };
  return matmulReference({ ...c, ...i, residual });
}

/** Relative error of an activation in float32: WGSL allows exp(z) an error of 3 + 2|z| units in the last place. */
const ACTIVATION_ERROR = 2 ** -19;
/** The largest slope of any of the activations: gelu's. */
const SLOPE = 1.13;

/**
 * How far each element may be off: a sum of K products errs by about √K · 2^-24 · Σ|x w|, and by half a step of the 16-bit
 * x for int8 and int4 on the CPU; then the epilogue's derivatives.
 */
function boundsOf(c: Case, i: Inputs): Float64Array {
  const isQuantised = c.kind === "int8" || c.kind === "int4";
  const activation = c.activation ?? (c.gate ? "silu" : "none");
  const bounds = new Float64Array(c.T * c.N);
  for (let t = 0; t < c.T; t++) {
    const x = i.x.subarray(t * c.K, (t + 1) * c.K);
    const largest = x.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    const sumOf = (row: number) => {
      let [sum, magnitudes, weights] = [i.bias?.[row] ?? 0, Math.abs(i.bias?.[row] ?? 0), 0];
      for (let k = 0; k < c.K; k++) {
        const w = i.w[row * c.K + k]!;
        sum += x[k]! * w;
        magnitudes += Math.abs(x[k]! * w);
        weights += Math.abs(w);
      }
      const rounding = (Math.sqrt(c.K) + 3) * 2 ** -24 * magnitudes;
      return { sum, error: rounding + (isQuantised ? (weights * largest) / 65534 : 0) };
    };
    for (let n = 0; n < c.N; n++) {
      const z = sumOf(n);
      let y = activationReference(activation, z.sum);
      let error = activation === "none" ? z.error : SLOPE * z.error + ACTIVATION_ERROR * Math.abs(y);
      if (c.gate) {
        const up = sumOf(c.N + n);
        error = error * (Math.abs(up.sum) + up.error) + Math.abs(y) * up.error;
        y *= up.sum;
      }
      const at = t * c.N + n;
      if (i.multiply) error *= Math.abs(i.multiply[at]!);
      if (i.multiply) y *= i.multiply[at]!;
      if (i.residual) error *= Math.abs(beta);
      bounds[at] = error + 2 ** -22 * (Math.abs(y * beta) + Math.abs(alpha * (i.residual?.[at] ?? 0)));
    }
  }
  return bounds;
}

function expectWithin(actual: Float32Array, expected: Float64Array, bounds: Float64Array): void {
  expect(actual.length).toBe(expected.length);
  for (const [at, value] of actual.entries()) {
    const error = Math.abs(value - expected[at]!);
    if (!(error <= bounds[at]!)) {
      throw new Error(`element ${at}: got ${value}, expected ${expected[at]} ± ${bounds[at]}, error ${error}`);
    }
  }
}

describe.each(await devices())("matmul on $label", (device) => {
  // A software adapter needs a second for a tile: one for each kind will do there.
  const own = cases.filter((c, index) => !(device.isSoftware && c.T === 17 && index % 2 === 0));

  test.each(own)("$name", async (c) => {
    const liveBefore = device.memory.live;
    const inputs = inputsOf(c);
    expectWithin(await multiplyOn(device, c, inputs), referenceOf(c, inputs), boundsOf(c, inputs));
    // The scope disposed tensors and weights alike.
    expect(device.memory.live).toBe(liveBefore);
  });

  test.each([1, 5])("halves at both ends of their range, T=%i", async (T) => {
    const halves = [65504, -65504, 2 ** -24, -(2 ** -24), 3 * 2 ** -24, 2 ** -14, 1 - 2 ** -11, 0];
    for (const size of [1, 3e6]) {
      const w = Float32Array.from({ length: 8 * 8 }, (_, i) => (i % 8 === i >> 3 ? halves[i % 8]! : 0));
      const x = Float32Array.from({ length: T * 8 }, (_, i) => size * (i % 8 === 0 ? 1 : 0.75));
      const y = await device.scope(() =>
        matmul(upload(device, x, [T, 8]), weightFromFloat32(device, w, 8, 8, "f16")).readFloat32(),
      );
      const expected = matmulReference({ x, w, T, K: 8, rows: 8 });
      // One product each: rounded once. WGSL may flush subnormal halves, so only the CPU must have those.
      for (const [at, value] of y.entries()) {
        const isSubnormal = Math.abs(halves[at % 8]!) < 2 ** -14;
        if (device.kind === "cpu" || !isSubnormal) {
          expect(Math.abs(value - expected[at]!)).toBeLessThanOrEqual(2 ** -24 * Math.abs(expected[at]!));
        }
      }
    }
  });

  test.each(["int8", "int4"] as const)("the largest sums of %s over many columns", async (kind) => {
    const K = 4160;
    const w = new Float32Array(2 * K).fill(1).fill(-1, K);
    const x = new Float32Array(K).fill(3);
    const y = await device.scope(() =>
      matmul(upload(device, x, [1, K]), weightFromFloat32(device, w, 2, K, kind)).readFloat32(),
    );
    for (const [row, value] of y.entries()) {
      const expected = (row === 0 ? 3 : -3) * K;
      expect(Math.abs(value / expected - 1)).toBeLessThan(2 ** -16 + Math.sqrt(K) * 2 ** -24);
    }
  });

  test.each(kinds)("tokens of zeros, tiny numbers and NaN with %s weights", async (kind) => {
    const x = new Float32Array(3 * 40);
    x.fill(1e-35, 40, 80).fill(NaN, 80, 81);
    const w = numbers(5 * 40, 7);
    const y = await device.scope(() =>
      matmul(upload(device, x, [3, 40]), weightFromFloat32(device, w, 5, 40, kind)).readFloat32(),
    );
    expect([...y.subarray(0, 5)].map(Math.abs)).toEqual([0, 0, 0, 0, 0]);
    for (const value of y.subarray(5, 10)) expect(Math.abs(value)).toBeLessThan(40e-35);
    // WGSL gives no promise about NaN.
    if (device.kind === "cpu") expect([...y.subarray(10)]).toEqual([NaN, NaN, NaN, NaN, NaN]);
  });

  test("wrong shapes are named", () => {
    device.scope(() => {
      const w = weightFromFloat32(device, numbers(3 * 4, 1), 3, 4, "f32");
      const x = upload(device, numbers(8, 1), [2, 4]);
      const wrong = upload(device, numbers(6, 1), [3, 2]);
      expect(() => matmul(wrong, w)).toThrow("matmul: x expected [T ≥ 1, K=4] (as the weights), got [3, 2].");
      expect(() => matmul(x, w, { gate: true })).toThrow("matmul: w expected an even number of rows");
      expect(() => matmul(x, w, { bias: wrong })).toThrow("matmul: bias expected [3], got [3, 2].");
      expect(() => matmul(x, w, { multiply: wrong })).toThrow("matmul: multiply expected [2, 3], got [3, 2].");
      expect(() => matmul(x, w, { residual: { tensor: wrong, alpha: 1, beta: 1 } })).toThrow(
        "residual expected [2, 3]",
      );
    });
  });
});

describe("threads", async () => {
  const all = await Promise.all([1, 2, 3].map((threads) => CpuDevice.open({ threads })));
  afterAll(() => Promise.all(all.map((device) => device.close())));

  test("one, two and three give the same bits", async () => {
    const anyCase = fc.record({
      kind: fc.constantFrom(...kinds),
      T: fc.integer({ min: 1, max: 70 }),
      N: fc.integer({ min: 1, max: 60 }),
      K: fc.integer({ min: 1, max: 600 }),
      group: fc.constantFrom(32, 64, 128),
      gate: fc.boolean(),
      bias: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(anyCase, async (c) => {
        const inputs = inputsOf(c);
        const [one, ...more] = await Promise.all(all.map((device) => multiplyOn(device, c, inputs)));
        for (const other of more) expect(other).toEqual(one);
        expectWithin(one!, referenceOf(c, inputs), boundsOf(c, inputs));
      }),
      { numRuns: 40, seed: 1 },
    );
  });
});
