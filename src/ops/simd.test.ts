import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type BufferSlice, CpuDevice } from "../device/index.js";

let device: CpuDevice;
beforeAll(async () => {
  device = await CpuDevice.open({ threads: 1 });
});
afterAll(() => device.close());

const slice = (byteLength: number): BufferSlice => ({
  allocation: device.allocate(byteLength),
  byteOffset: 0,
  byteLength,
});

function upload(data: ArrayBufferView): BufferSlice {
  const to = slice(data.byteLength);
  device.write(to, data);
  return to;
}

/** Runs a check kernel on `data` and returns the result's bytes. */
async function map(kernel: string, data: ArrayBufferView, outBytes: number, how: number, bytesPerTask: number) {
  const [from, to] = [upload(data), slice(outBytes)];
  device.run(kernel, { arguments: [from, to, how], tasks: data.byteLength / bytesPerTask });
  const result = await device.read(to);
  device.free(from.allocation);
  device.free(to.allocation);
  return result;
}

const float = new DataView(new ArrayBuffer(4));
const bitsOf = (value: number): number => {
  float.setFloat32(0, value);
  return float.getUint32(0);
};

/** The float64 value of f16 bits, by definition. */
function halfValue(h: number): number {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 31;
  const fraction = h & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}

/** f32 to the nearest of a sorted table of finite magnitudes by index, ties to the even index. */
function nearestHalf(value: number): number {
  const sign = Object.is(value, -0) || value < 0 ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  let low = 0;
  let high = 0x7bff;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (halfValue(middle) <= magnitude) low = middle;
    else high = middle - 1;
  }
  const below = magnitude - halfValue(low);
  const above = (low === 0x7bff ? 65536 : halfValue(low + 1)) - magnitude;
  return sign | (above < below || (above === below && low & 1) ? low + 1 : low);
}

/** f32 numbers of all kinds: a fixed sequence of bits, and all halves with their midpoints and neighbours. */
function awkwardFloats(): Float32Array {
  const bits: number[] = [
    0, 0x80000000, 1, 0x80000001, 0x7f7fffff, 0x7f800000, 0xff800000, 0x477fefff, 0x477ff000, 0x33000000,
  ];
  let state = 12345;
  for (let index = 0; index < 20_000; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bits.push(state);
  }
  for (let h = 0; h < 0x7c00; h += 3) {
    const middle = bitsOf((halfValue(h) + (h === 0x7bff ? 65536 : halfValue(h + 1))) / 2);
    bits.push(middle, middle + 1, Math.max(middle - 1, 0), bitsOf(-halfValue(h)));
  }
  while (bits.length % 8) bits.push(0);
  return new Float32Array(Uint32Array.from(bits).buffer);
}

describe("simd helpers", () => {
  test.each([0, 1])("all halves widen exactly (form %i)", async (how) => {
    const halves = Uint16Array.from({ length: 65536 }, (_, index) => index);
    const floats = new Float32Array(await map("checkWiden", halves, 4 * 65536, how, 16));
    const wrong = [...floats.keys()].filter((h) => !Object.is(floats[h], halfValue(h)));
    expect(wrong).toEqual([]);
  });

  test.each([2, 3])("all bf16 numbers widen exactly (form %i)", async (how) => {
    const halves = Uint16Array.from({ length: 65536 }, (_, index) => index);
    const words = new Uint32Array(await map("checkWiden", halves, 4 * 65536, how, 16));
    expect([...words.keys()].filter((h) => words[h] !== (h << 16) >>> 0)).toEqual([]);
  });

  test.each([0, 1])("f32 to f16 rounds to nearest even (form %i)", async (how) => {
    const floats = awkwardFloats();
    const halves = new Uint16Array(await map("checkNarrow", floats, 2 * floats.length, how, 32));
    const wrong = [...floats.keys()].filter((index) => {
      const [value, half] = [floats[index]!, halves[index]!];
      return Number.isNaN(value) ? !Number.isNaN(halfValue(half)) : half !== nearestHalf(value);
    });
    expect(wrong.map((index) => [floats[index], halves[index]])).toEqual([]);
  });

  test.each([2, 3])("f32 to bf16 rounds to nearest even (form %i)", async (how) => {
    const floats = awkwardFloats();
    const words = new Uint32Array(floats.buffer);
    const halves = new Uint16Array(await map("checkNarrow", floats, 2 * floats.length, how, 32));
    const wrong = [...floats.keys()].filter((index) => {
      const half = halves[index]!;
      if (Number.isNaN(floats[index])) return (half & 0x7fff) <= 0x7f80;
      const [down, rest] = [words[index]! >>> 16, words[index]! & 0xffff];
      return half !== (rest > 0x8000 || (rest === 0x8000 && down & 1) ? down + 1 : down);
    });
    expect(wrong).toEqual([]);
  });

  test("exp errs by less than one unit in the last place; its scalar form has the same bits", async () => {
    const x = Float32Array.from({ length: 65536 }, (_, index) => -87 + (175 * index) / 65535);
    const y = new Float32Array(await map("checkMap", x, x.byteLength, 0, 16));
    let worst = 0;
    for (let index = 0; index < x.length; index++) {
      const exact = Math.exp(x[index]!);
      const unit = 2 ** (Math.floor(Math.log2(exact)) - 23);
      worst = Math.max(worst, Math.abs(y[index]! - exact) / unit);
    }
    expect(worst).toBeLessThan(1.01);
    expect(new Uint32Array(await map("checkMap", x, x.byteLength, 3, 16))).toEqual(new Uint32Array(y.buffer));
  });

  test("exp, sigmoid and silu at the ends", async () => {
    const x = Float32Array.of(-Infinity, -200, 0, 200, Infinity, Number.NaN, 1, -1);
    const run = async (how: number) => [...new Float32Array(await map("checkMap", x, x.byteLength, how, 16))];
    const [e, s, u] = [await run(0), await run(1), await run(2)];
    expect(e[0]).toBeLessThan(2e-38);
    expect(e[2]).toBe(1);
    expect(e[4]).toBeGreaterThan(1e38);
    expect(e[5]).toBeNaN();
    expect(s.slice(2, 5)).toEqual([0.5, 1, 1]);
    expect(s[1]).toBeLessThan(1e-38);
    expect(s[6]! + s[7]!).toBeCloseTo(1, 6);
    expect(u[2]).toBe(0);
    expect(u[3]).toBe(200);
    expect(u[6]).toBeCloseTo(0.7310585786, 6);
    expect(u[5]).toBeNaN();
  });

  test.each([
    ["f32", 0],
    ["bf16", 1],
    ["f16", 2],
  ] as const)("dot products of %s, all lengths", async (_, how) => {
    for (const count of [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 64, 101]) {
      // Small integers: every product and sum is exact in every order.
      const values = Array.from({ length: count }, (_, index) => ((index * 7) % 13) - 6);
      const x = Float32Array.from(values, (value, index) => value + (index % 3));
      const padded = Math.ceil(count / 2) * 2;
      const data16 = Uint16Array.from({ length: padded }, (_, index) => {
        const value = values[index] ?? 0;
        return how === 1 ? bitsOf(value) >>> 16 : nearestHalf(value);
      });
      const [a, b, out] = [upload(how === 0 ? Float32Array.from(values) : data16), upload(x), slice(4)];
      device.run("checkDot", { arguments: [a, b, out, count, how], tasks: 1 });
      const expected = values.reduce((sum, value, index) => sum + value * x[index]!, 0);
      expect(new Float32Array(await device.read(out))[0]).toBe(expected);
      for (const { allocation } of [a, b, out]) device.free(allocation);
    }
  });

  test.each([1, 2, 3, 4, 5])("lanes: the first %i of a vector", async (count) => {
    const data = Float32Array.of(-3, 8, 2, 5, 99, 99, 99, 99);
    const from = upload(data);
    const to = upload(new Float32Array(8).fill(-1));
    device.run("checkLanes", { arguments: [from, to, count], tasks: 1 });
    const result = new Float32Array(await device.read(to));
    const kept = [...data].slice(0, Math.min(count, 4));
    const lanes = [...kept, 0, 0, 0].slice(0, 4);
    expect([...result].slice(0, 4)).toEqual([...kept, -1, -1, -1].slice(0, 4));
    expect(result[4]).toBe(lanes.reduce((sum, value) => sum + value, 0));
    expect(new Int32Array(result.buffer)[5]).toBe(lanes.reduce((sum, value) => (sum + bitsOf(value)) | 0, 0));
    expect(result[6]).toBe(Math.max(...lanes));
    device.free(from.allocation);
    device.free(to.allocation);
  });
});
