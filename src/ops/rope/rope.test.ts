import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { LOW_POSITIONS, type RopeScaling, ropeFrequencies, ropeTableValues } from "./rope.js";

interface Frequencies {
  readonly rope_type: string;
  readonly dim: number;
  readonly theta: number;
  readonly params: Record<string, number>;
  readonly attention_factor: number;
  readonly inverse: number[];
}

const fixture = JSON.parse(readFileSync(new URL("../../../test/fixtures/ops/rope.json", import.meta.url), "utf8")) as {
  frequencies: Frequencies[]; // written by the golden script in this form
};

function scalingOf({ rope_type, params }: Frequencies): RopeScaling | undefined {
  const factor = params.factor!;
  const originalMaxPositions = params.original_max_position_embeddings!;
  switch (rope_type) {
    case "linear":
      return { type: "linear", factor };
    case "llama3":
      return {
        type: "llama3",
        factor,
        lowFreqFactor: params.low_freq_factor!,
        highFreqFactor: params.high_freq_factor!,
        originalMaxPositions,
      };
    case "yarn":
      return { type: "yarn", factor, originalMaxPositions };
    default:
      return undefined;
  }
}

describe("ropeFrequencies", () => {
  test.each(fixture.frequencies.map((f) => ({ name: `${f.rope_type}, ${f.dim} channels, theta ${f.theta}`, f })))(
    "golden: $name",
    ({ f }) => {
      const scaling = scalingOf(f);
      const { inverse, attentionFactor } = ropeFrequencies({
        rotaryDim: f.dim,
        theta: f.theta,
        ...(scaling ? { scaling } : {}),
      });
      expect(inverse.length).toBe(f.dim / 2);
      // Frameworks form the powers in float32 before some cases: 1e-6 of the value is their rounding, not ours.
      f.inverse.forEach((golden, i) => {
        expect(Math.abs(inverse[i]! / golden - 1), `channel ${i}`).toBeLessThan(1e-6);
      });
      expect(attentionFactor).toBeCloseTo(f.attention_factor, 12);
    },
  );

  test("yarn: the attention factor from mscale, and as given", () => {
    const base = { type: "yarn", factor: 40, originalMaxPositions: 4096 } as const;
    const of = (scaling: RopeScaling) => ropeFrequencies({ rotaryDim: 64, theta: 1e4, scaling }).attentionFactor;
    expect(of({ ...base, mscale: 1, mscaleAllDim: 1 })).toBe(1);
    expect(of({ ...base, mscale: 2, mscaleAllDim: 1 })).toBeCloseTo(
      (0.2 * Math.log(40) + 1) / (0.1 * Math.log(40) + 1),
      12,
    );
    expect(of({ ...base, attentionFactor: 0.5 })).toBe(0.5);
  });

  test.each([
    [{ rotaryDim: 7, theta: 1e4 }, "rope: rotaryDim expected an even number ≥ 2, got 7"],
    [{ rotaryDim: 8, theta: 0 }, "rope: theta expected a number > 0, got 0"],
    [
      { rotaryDim: 8, theta: 1e4, scaling: { type: "linear", factor: -1 } as const },
      "rope: linear factor expected a number > 0, got -1",
    ],
  ])("%j is refused", (options, message) => {
    expect(() => ropeFrequencies(options)).toThrow(message);
  });
});

describe("ropeTableValues", () => {
  test("combined values err by at most 2e-7 up to ten million positions", () => {
    const { inverse } = ropeFrequencies({ rotaryDim: 16, theta: 1e7 });
    const half = 8;
    const positions = [0, 1, 1023, 1024, 131_071, 999_999, 1_000_000, 8_388_607, 9_999_999];
    for (let p = 0; p < 1e7; p += 104_729) positions.push(p);
    const values = ropeTableValues(inverse, 1.25, Math.ceil(1e7 / LOW_POSITIONS));
    const f = Math.fround;
    let worst = 0;
    for (const p of positions) {
      const low = (p % LOW_POSITIONS) * 2 * half;
      const high = (LOW_POSITIONS + Math.floor(p / LOW_POSITIONS)) * 2 * half;
      for (let i = 0; i < half; i += 1) {
        const [ca, sa] = [values[low + i]!, values[low + half + i]!];
        const [cb, sb] = [values[high + i]!, values[high + half + i]!];
        const cos = f(f(ca * cb) - f(sa * sb));
        const sin = f(f(sa * cb) + f(ca * sb));
        const angle = p * inverse[i]!;
        worst = Math.max(worst, Math.abs(cos / 1.25 - Math.cos(angle)), Math.abs(sin / 1.25 - Math.sin(angle)));
      }
    }
    expect(worst).toBeLessThan(2e-7);
  });
});
