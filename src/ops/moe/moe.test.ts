import { readFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { devices, webgpuOrSkip } from "../../../test/devices.js";
import { expectNear } from "../../../test/near.js";
import { CpuDevice, type Device, WebGpuDevice } from "../../device/index.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import type { WeightKind, WeightMatrix } from "../matmul/weight-matrix.js";
import { weightCodecs, weightFromFloat32 } from "../matmul/weights/create.js";
import { moe } from "./moe.js";
import { moeMatrixVariants, moeVariants } from "./moe.launch-webgpu.js";
import { type MoeReferenceInput, moeReference } from "./moe.reference.js";

interface Case {
  readonly name: string;
  readonly T: number;
  readonly H: number;
  readonly I: number;
  readonly E: number;
  readonly k: number;
  readonly kind?: WeightKind;
  readonly normalise?: boolean;
  readonly residual?: boolean;
  readonly shared?: "plain" | "mixed";
  /** Added to the logits of each expert. */
  readonly favour?: readonly number[];
}

const kinds = ["f32", "f16", "bf16", "int8", "int4"] as const;
const favourOne = [0, 0, 20, 0];

const cases: readonly Case[] = [
  ...kinds.flatMap((kind): Case[] => [
    { name: `${kind}: one token`, kind, T: 1, H: 32, I: 37, E: 4, k: 2, residual: true },
    { name: `${kind}: eight tokens, odd H`, kind, T: 8, H: 35, I: 5, E: 4, k: 2, shared: "mixed" },
    { name: `${kind}: 17 tokens, odd H`, kind, T: 17, H: 35, I: 37, E: 4, k: 2, shared: "mixed", residual: true },
  ]),
  // Tiles on the CPU too, which takes rows for more tokens of these kinds.
  { name: "int8: 70 tokens", kind: "int8", T: 70, H: 35, I: 37, E: 2, k: 1, residual: true },
  { name: "int4: 70 tokens", kind: "int4", T: 70, H: 35, I: 37, E: 2, k: 1, shared: "mixed" },
  // The software adapter takes seconds to compile a tile for a kind: one such case for each.
  { name: "nine tokens, all of two experts", T: 9, H: 36, I: 33, E: 2, k: 2 },
  { name: "one expert", T: 3, H: 8, I: 4, E: 1, k: 1 },
  { name: "two tokens, top 1", T: 2, H: 64, I: 32, E: 8, k: 1, normalise: false },
  { name: "three tokens, all experts", T: 3, H: 34, I: 12, E: 8, k: 8, shared: "plain" },
  { name: "columns of several blocks", T: 2, H: 280, I: 70, E: 2, k: 1 },
  { name: "40 tokens, all experts", T: 40, H: 9, I: 6, E: 8, k: 8 },
  { name: "40 tokens, raw weights", T: 40, H: 36, I: 10, E: 8, k: 2, normalise: false, shared: "plain" },
  { name: "40 tokens, top 1 of two", T: 40, H: 12, I: 3, E: 2, k: 1, residual: true },
  { name: "40 tokens, columns of several blocks", T: 40, H: 280, I: 40, E: 4, k: 1 },
  { name: "few tokens choose one expert", T: 5, H: 12, I: 10, E: 4, k: 1, favour: favourOne },
  { name: "all tokens choose one expert", T: 33, H: 12, I: 10, E: 4, k: 1, favour: favourOne },
  { name: "unused experts at both ends", T: 17, H: 12, I: 10, E: 8, k: 2, favour: [-30, 0, 0, -30, 0, 0, -30, -30] },
  { name: "more experts than tokens choose", T: 9, H: 6, I: 2, E: 40, k: 1 },
  { name: "large tiles", T: 97, H: 12, I: 9, E: 2, k: 1 },
];

/** Float32 sums of two chained products of up to some hundred terms: about √n · 2⁻²⁴ each, with room for cancellation. */
const float = { relativeRms: 2e-6 };
/** The CPU rounds tokens to 16 bits for few-token products with integer weights: 2⁻¹⁵ of a token's largest number, twice. */
const toleranceOf = (c: Case, device: Device) =>
  device.kind === "cpu" && (c.kind === "int8" || c.kind === "int4") ? { relativeRms: 1e-4 } : float;

describe.each(await devices())("moe on $label", (device) => {
  test.each(cases)("$name", (c) => check(device, c));

  test.each([3, 17])("permuting %i tokens permutes the result, and a token alone gets the same", async (T) => {
    const c: Case = { name: "permuted", T, H: 35, I: 12, E: 4, k: 2, kind: "bf16" };
    const inputs = draw(c);
    const order = Array.from({ length: T }, (_, t) => (t * 2 + 1) % T);
    const rows = (from: ArrayLike<number>, which: readonly number[]) =>
      Float32Array.from(which.flatMap((t) => Array.from({ length: c.H }, (_, i) => from[t * c.H + i]!)));
    const y = await compute(device, c, inputs);
    const permuted = await compute(device, c, { ...inputs, x: rows(inputs.x, order) });
    expectNear(permuted, rows(y, order), float);
    for (const t of [0, T - 1]) {
      const alone = await compute(device, { ...c, T: 1 }, { ...inputs, x: rows(inputs.x, [t]) });
      expectNear(alone, rows(y, [t]), float);
    }
  });

  test.each([2, 12])("a captured list follows the routing of other inputs, %i tokens", async (T) => {
    const c: Case = { name: "captured", T, H: 12, I: 10, E: 4, k: 2 };
    const first = draw(c);
    const second = draw({ ...c, name: "captured again" });
    const liveBefore = device.memory.live;
    {
      const w = weightsOf(device, c, first);
      const x = upload(device, first.x, [T, c.H]);
      let y: ReturnType<typeof moe> | undefined;
      const list = device.capture(() => {
        y = moe(x, w, { experts: c.E, topK: c.k, normalise: true });
      });
      for (const input of [second.x, first.x]) {
        x.write(input);
        list.replay();
        expectNear(await y!.readFloat32(), moeReference(referenceOf(c, { ...first, x: input })), float);
      }
      for (const resource of [list, x, y!, w.router, w.gateUp, w.down]) resource.dispose();
    }
    expect(device.memory.live).toBe(liveBefore);
  });

  test("the golden block, and with its shared expert", async () => {
    const { block } = golden();
    const { H, I, experts: E, top_k: k, N: T } = block;
    const c: Case = { name: "golden", T, H, I, E, k };
    // w1 and w3 are [E, I, H]: an expert's gate rows stand before its up rows.
    const gateUp = Array.from({ length: E }, (_, e) =>
      [block.w1, block.w3].flatMap((w) => w.slice(e * I * H, (e + 1) * I * H)),
    ).flat();
    const inputs = { x: block.x, router: block.gate, gateUp, down: block.w2 };
    const rounded = Object.fromEntries(Object.entries(inputs).map(([name, v]) => [name, Float32Array.from(v)]));
    const plain = rounded as unknown as Inputs; // the same fields
    const near = { relativeRms: 1e-6 };
    expectNear(await compute(device, c, plain), block.y, near);

    const dot = (w: readonly number[], row: number, x: ArrayLike<number>, at: number, count: number) =>
      Array.from({ length: count }, (_, i) => w[row * count + i]! * x[at + i]!).reduce((a, b) => a + b, 0);
    const coefficient = Float32Array.from({ length: T }, (_, t) => dot(block.sharedGate, 0, block.x, t * H, H));
    const output = Float32Array.from({ length: T * H }, (_, at) => {
      const t = Math.floor(at / H);
      const inner = Array.from({ length: I }, (_, i) => {
        const z = dot(block.sharedW1, i, block.x, t * H, H);
        return (z / (1 + Math.exp(-z))) * dot(block.sharedW3, i, block.x, t * H, H);
      });
      return dot(block.sharedW2, at % H, inner, 0, I);
    });
    expectNear(
      await compute(device, { ...c, shared: "mixed" }, { ...plain, shared: { output, coefficient } }),
      block.sharedY,
      near,
    );
  });

  test("what does not fit is a readable error", () => {
    device.scope(() => {
      const c: Case = { name: "wrong", T: 2, H: 4, I: 3, E: 2, k: 1 };
      const w = weightsOf(device, c, draw(c));
      for (const matrix of Object.values(w)) device.track(matrix);
      const x = upload(device, new Float32Array(8), [2, 4]);
      const options = { experts: 2, topK: 1, normalise: true };
      expect(() => moe(x.reshape([1, 8]), w, options)).toThrow("moe: router expected [2, 8] ([E, H]), got [2, 4].");
      expect(() => moe(x, w, { ...options, experts: 3 })).toThrow("moe: router expected [3, 4] ([E, H]), got [2, 4].");
      expect(() => moe(x, { ...w, gateUp: w.down }, options)).toThrow(
        "moe: gateUp expected [12, 4] ([E·2·I, H]), got [8, 3].",
      );
      expect(() => moe(x, w, { ...options, shared: { output: x, coefficient: x } })).toThrow(
        "moe: shared coefficient expected [2, 1], got [2, 4].",
      );
    });
  });
});

describe("moe on the CPU", async () => {
  const single = await CpuDevice.open({ threads: 1 });
  const three = await CpuDevice.open({ threads: 3 });
  afterAll(async () => {
    await single.close();
    await three.close();
  });

  test.each(cases.filter((c) => c.H >= 32))("$name: the same bits whatever the number of threads", async (c) => {
    const inputs = draw(c);
    expect(await compute(three, c, inputs)).toEqual(await compute(single, c, inputs));
  });
});

describe.skipIf(!(await webgpuOrSkip()))("moe on WebGPU", async () => {
  const plain = await WebGpuDevice.open({ allowSoftware: true, disableFeatures: ["subgroups"] });
  const narrow = await WebGpuDevice.open({ allowSoftware: true, maxBindingBytes: 4096 });
  afterAll(async () => {
    await plain.close();
    await narrow.close();
  });

  const withoutSubgroups = ["int4: one token", "f16: eight tokens, odd H", "three tokens, all experts"];
  test.each(cases.filter((c) => withoutSubgroups.includes(c.name)))("without subgroups: $name", (c) => check(plain, c));

  // Most experts' rows begin at places where a binding cannot.
  test.each([...kinds.map((kind) => ({ T: 2, kind })), { T: 10, kind: "int8" as const }])(
    "experts beyond a binding: $kind, T=$T",
    async ({ T, kind }) => {
      const c: Case = { name: "narrow", T, kind, H: 31, I: 7, E: 24, k: 2, residual: true, shared: "mixed" };
      const before = narrow.counters.dispatches;
      await check(narrow, c);
      const split = narrow.counters.dispatches - before;
      // Whole: router, route, group, map, gate, down, combine.
      expect(split).toBeGreaterThan(7);
    },
  );

  test("an expert that exceeds a binding is a readable error", () => {
    narrow.scope(() => {
      const c: Case = { name: "wide", T: 1, H: 8, I: 40, E: 2, k: 1 };
      const w = weightsOf(narrow, c, draw(c));
      for (const matrix of Object.values(w)) narrow.track(matrix);
      const x = upload(narrow, new Float32Array(8), [1, 8]);
      expect(() => moe(x, w, { experts: 2, topK: 1, normalise: true })).toThrow(
        "moe: an expert of f32 [80, 8] exceeds a binding of 4096 bytes",
      );
    });
  });

  test("every variant compiles without a message", async () => {
    const variants = [...moeVariants(), ...moeMatrixVariants()];
    expect(new Set(variants.map(({ label }) => label)).size).toBe(variants.length);
    const checked = await compileOnNullBackend(variants);
    const wrong = checked.filter(({ messages }) => messages.length > 0);
    expect(wrong.slice(0, 3).map(({ kernel, messages }) => [kernel.label, messages])).toEqual([]);
  });
});

interface Inputs {
  readonly x: Float32Array;
  readonly router: Float32Array;
  readonly gateUp: Float32Array;
  readonly down: Float32Array;
  readonly residual?: Float32Array;
  readonly shared?: { readonly output: Float32Array; readonly coefficient?: Float32Array };
}

/** Seeded by the case's name; tokens whose choice rounding could change are drawn again. */
function draw(c: Case): Inputs {
  const { T, H, I, E, k } = c;
  const random = generator(c.name);
  const numbers = (size: number, factor = 1) => Float32Array.from({ length: size }, () => factor * random());
  const router = numbers(E * H, 2 / Math.sqrt(H));
  for (let e = 0; e < E; e++) router[e * H] = c.favour?.[e] ?? router[e * H]!;
  const x = new Float32Array(T * H);
  for (let t = 0; t < T; t++) {
    for (let attempt = 0; ; attempt++) {
      if (attempt > 100) throw new Error(`no clear choice for token ${t} of ${c.name}`);
      const row = numbers(H);
      if (c.favour) row[0] = 1;
      const logits = Array.from({ length: E }, (_, e) =>
        row.reduce((sum, value, i) => sum + value * router[e * H + i]!, 0),
      );
      logits.sort((a, b) => b - a);
      x.set(row, t * H);
      if (k === E || logits[k - 1]! - logits[k]! > 1e-3) break;
    }
  }
  return {
    x,
    router,
    gateUp: numbers(E * 2 * I * H, 2 / Math.sqrt(H)),
    down: numbers(E * H * I, 2 / Math.sqrt(I)),
    ...(c.residual ? { residual: numbers(T * H) } : {}),
    ...(c.shared
      ? { shared: { output: numbers(T * H), ...(c.shared === "mixed" ? { coefficient: numbers(T, 3) } : {}) } }
      : {}),
  };
}

const scales = { alpha: 0.75, beta: -1.5 };

function referenceOf(c: Case, inputs: Inputs): MoeReferenceInput {
  const { T, H, I, E, k, kind = "f32", normalise = true } = c;
  const codec = weightCodecs[kind];
  const rounded = (values: Float32Array, rows: number, columns: number) =>
    codec.decode(codec.encode(values, rows, columns, 32), rows, columns, 32);
  return {
    ...{ T, H, I, experts: E, topK: k, normalise, x: inputs.x, router: inputs.router, shared: inputs.shared },
    gateUp: rounded(inputs.gateUp, E * 2 * I, H),
    down: rounded(inputs.down, E * H, I),
    residual: inputs.residual && { tensor: inputs.residual, ...scales },
  };
}

function weightsOf(
  device: Device,
  { H, I, E, kind = "f32" }: Case,
  inputs: Inputs,
): Record<"router" | "gateUp" | "down", WeightMatrix> {
  return {
    router: weightFromFloat32(device, inputs.router, E, H, "f32"),
    gateUp: weightFromFloat32(device, inputs.gateUp, E * 2 * I, H, kind),
    down: weightFromFloat32(device, inputs.down, E * H, I, kind),
  };
}

async function compute(device: Device, c: Case, inputs: Inputs): Promise<Float32Array> {
  const { T, H, E, k, normalise = true } = c;
  const { residual, shared } = inputs;
  const liveBefore = device.memory.live;
  const y = await device.scope(async () => {
    const coefficient = shared?.coefficient;
    return moe(upload(device, inputs.x, [T, H]), weightsOf(device, c, inputs), {
      experts: E,
      topK: k,
      normalise,
      residual: residual && { tensor: upload(device, residual, [T, H]), ...scales },
      ...(shared && {
        shared: {
          output: upload(device, shared.output, [T, H]),
          ...(coefficient && { coefficient: upload(device, coefficient, [T, 1]) }),
        },
      }),
    }).readFloat32();
  });
  expect(device.memory.live).toBe(liveBefore);
  return y;
}

async function check(device: Device, c: Case): Promise<void> {
  const inputs = draw(c);
  expectNear(await compute(device, c, inputs), moeReference(referenceOf(c, inputs)), toleranceOf(c, device));
}

type GoldenField =
  | "x"
  | "gate"
  | "w1"
  | "w3"
  | "w2"
  | "sharedGate"
  | "sharedW1"
  | "sharedW3"
  | "sharedW2"
  | "y"
  | "sharedY";

interface Golden {
  readonly block: Record<GoldenField, number[]> & {
    readonly H: number;
    readonly I: number;
    readonly experts: number;
    readonly top_k: number;
    readonly N: number;
  };
}

function golden(): Golden {
  const file = new URL("../../../test/fixtures/ops/moe.json", import.meta.url);
  return JSON.parse(readFileSync(file, "utf8")) as Golden; // our own file
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
