/** The formats of the recipes that the reference values were made with. */
import { z } from "zod";
import type { CodeBits, PackedFormat, SideFormat } from "../../../ops/index.js";
import { widestBlock } from "../../../ops/index.js";

const bits = z.union([z.literal(2), z.literal(3), z.literal(4)]);

/** Settings of a case as its file's index has them: T tokens, H key/value heads, d channels, Hq query heads. */
export const settingsSchema = z.looseObject({
  T: z.number().int(),
  H: z.number().int(),
  d: z.number().int(),
  Hq: z.number().int(),
  bits: bits.optional(),
  kbits: bits.optional(),
  vbits: bits.optional(),
  g: z.number().int().optional(),
  G: z.number().int().optional(),
  clip: z.number().optional(),
  mode: z.enum(["zp", "min"]).optional(),
  rotate: z.boolean().optional(),
  residual: z.number().int().optional(),
  sink: z.number().int().optional(),
  pos0: z.number().int().optional(),
  layer: z.enum(["text", "pivot"]).optional(),
  recent: z.number().int().optional(),
  npivot: z.number().int().optional(),
});

export type Settings = z.infer<typeof settingsSchema>;

export interface StoreRecipe {
  readonly format: PackedFormat;
  /** In the names of its tensors: "k_words", "k2_words". */
  readonly suffix: string;
}

/** The stores of a case: one, or AKVQ-VL's two widths. */
export function storesOf(recipe: string, s: Settings): StoreRecipe[] {
  const { H: kvHeads, d: headDim } = s;
  const group = Math.min(s.g ?? headDim, headDim);
  const side = (o: Partial<SideFormat>): SideFormat => ({
    ...{ bits: s.bits ?? 2, layout: "token", group, quantiser: "min", clip: s.clip ?? 1, norm: false },
    ...o,
  });
  const rotation = widestBlock(headDim);
  const plain = {
    ...{ kvHeads, headDim, ropeAtRead: false, keyRotation: 0, valueRotation: 0, ordered: false, meanPairs: 0 },
    ...{ sinks: 0, recent: 0, marked: 0, strictPrefill: false },
  };
  const one = (format: PackedFormat) => [{ format, suffix: "" }];
  switch (recipe) {
    case "rotatekv": {
      const both = side({ quantiser: "zp" });
      const keyRotation = widestBlock((s.G ?? 1) * headDim);
      const format = { ...plain, keys: both, values: both, ropeAtRead: true, ordered: true, keyRotation };
      // Two tokens are kept: the first of the sequence where it begins at position 0, else marked ones.
      return one({ ...format, valueRotation: rotation, ...((s.pos0 ?? 0) > 0 ? { marked: 2 } : { sinks: 2 }) });
    }
    case "rtn": {
      const both = side({ quantiser: s.mode ?? "zp" });
      const rotations = s.rotate ? { keyRotation: rotation, valueRotation: rotation } : {};
      return one({ ...plain, ...rotations, keys: both, values: both });
    }
    case "kivi":
      return one({
        ...{ ...plain, recent: s.residual ?? 0 },
        keys: side({ layout: "channel", group: s.g ?? headDim }),
        values: side({}),
      });
    case "normsplit":
      return one({
        ...{ ...plain, keyRotation: rotation, valueRotation: rotation, recent: s.residual ?? 0, sinks: s.sink ?? 0 },
        keys: side({ layout: "channel", group: s.g ?? headDim, norm: true }),
        values: side({ clip: 1 }),
      });
    case "meansplit": {
      const levels = (width: CodeBits) => side({ quantiser: "levels", bits: width, group: headDim });
      return one({
        ...{ ...plain, keyRotation: rotation, valueRotation: rotation, sinks: s.sink ?? 0, meanPairs: headDim / 2 },
        keys: levels(s.kbits ?? 2),
        values: levels(s.vbits ?? 2),
      });
    }
    case "akvq": {
      const format = { ...plain, keyRotation: rotation, valueRotation: rotation, recent: s.recent ?? 0 };
      const width = (n: CodeBits, clip: number) => {
        const both = side({ quantiser: "zp", bits: n, clip });
        return { format: { ...format, keys: both, values: both }, suffix: `${n}` };
      };
      if (s.layer === "text") return [width(4, 1), width(2, 0.8)];
      const two = width(2, 0.8);
      return [{ ...two, format: { ...two.format, marked: s.npivot ?? 0 } }];
    }
    default:
      return [];
  }
}

/** The same quantisers on rows as they are: nothing is rotated, kept back or divided. */
export function rowFormat(format: PackedFormat): PackedFormat {
  return {
    ...format,
    ...{ ropeAtRead: false, keyRotation: 0, valueRotation: 0, ordered: false, meanPairs: 0 },
    ...{ sinks: 0, recent: 0, marked: 0 },
    keys: { ...format.keys, norm: false },
  };
}

/** Prepares alike, but rounds nothing: the reference values were packed from numbers that had not been in a ring. */
export function unroundedFormat(format: PackedFormat): PackedFormat {
  const keys: SideFormat =
    format.keys.layout === "channel"
      ? { ...format.keys, layout: "token", group: format.headDim, norm: false }
      : format.keys;
  return { ...format, keys, sinks: 0, recent: 0, marked: 0 };
}
