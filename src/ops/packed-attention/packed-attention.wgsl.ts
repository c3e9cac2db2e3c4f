/** All WebGPU kernels of attention over packed pages that can be asked for, at sizes that stand for all. */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { hasScales, type PackedFormat, type SideFormat } from "../packed-kv/format.js";
import { combineKernel, unrotateKernel } from "./combine.wgsl.js";
import { decodeKernel } from "./decode.wgsl.js";
import { nearKernel } from "./near.wgsl.js";
import { type DecodeDevice, decodeShape } from "./packed-attention.launch-webgpu.js";
import { prefillKernel } from "./prefill.wgsl.js";
import { restoreKernel, restorePart } from "./restore.wgsl.js";
import { canRotateInRegisters, rotatedScoresKernel } from "./rotated-scores.wgsl.js";

/** Sides for each width, layout and quantiser, at head size D. */
function sides(headDim: number): { readonly keys: readonly SideFormat[]; readonly values: readonly SideFormat[] } {
  const group = headDim % 16 === 0 ? Math.min(32, headDim & -headDim) : headDim;
  const token = (bits: SideFormat["bits"]): SideFormat => ({
    ...{ bits, group, layout: "token", quantiser: "min", clip: 1, norm: false },
  });
  const channel = (bits: SideFormat["bits"], norm: boolean): SideFormat => ({
    ...{ bits, group: 32, layout: "channel", quantiser: "min", clip: 1, norm },
  });
  const levels = (bits: 2 | 3): SideFormat => ({
    ...{ bits, group: headDim, layout: "token", quantiser: "levels", clip: 1, norm: false },
  });
  const even = (bits: 2 | 3, size: number): SideFormat => ({ ...token(bits), group: size, quantiser: "even" });
  const values = [token(2), token(3), token(4), token(8), levels(2), levels(3), even(2, headDim), even(3, group)];
  return {
    values,
    keys: [...values, even(2, group), channel(2, false), channel(2, true), channel(3, true), channel(4, false)],
  };
}

const plain = {
  ...{ ropeAtRead: false, ordered: false, meanPairs: 0, keyRotation: 0, valueRotation: 0 },
  ...{ sinks: 4, recent: 32, marked: 0, strictPrefill: false },
};

const floats: DecodeDevice = { smallestSubgroup: 32, integerDots: false, workgroupBytes: 32_768 };
const integerDots: DecodeDevice = { ...floats, integerDots: true };

export function packedAttentionVariants(): WebGpuKernel[] {
  const kernels: WebGpuKernel[] = [];
  for (const headDim of [8, 24, 64, 80, 128, 256]) {
    const { keys, values } = sides(headDim);
    const rotation = headDim & -headDim;
    for (const finish of [
      { headDim, rotation, mean: false },
      { headDim, rotation: 0, mean: true },
    ]) {
      kernels.push(combineKernel(finish), unrotateKernel(finish));
    }
    keys.forEach((key, i) => {
      const format: PackedFormat = {
        ...plain,
        ...{ kvHeads: 2, headDim, keys: key, values: values[i % values.length]! },
        ...(hasScales(key) ? { meanPairs: 3 } : {}),
      };
      // Every format at every head size; groups, subgroups and skipped tokens take turns.
      const heads = [1, 3, 8][i % 3]!;
      const shape = decodeShape(format, heads, i % 2 === 0 ? floats : { ...floats, smallestSubgroup: undefined });
      const near = { skips: key.layout === "token" && i % 4 < 2, near: i % 2 > 0, side: i % 3 > 0 };
      kernels.push(decodeKernel({ format, ...shape, ...near }));
      const integers = decodeShape(format, 1 + (i % 2), integerDots);
      if (integers.integerKeys || integers.integerValues) {
        kernels.push(decodeKernel({ format: { ...format, marked: i % 2 }, ...integers, ...near }));
      }
      const prefill = { side: i % 2 === 0, carry: i % 3 === 0, skips: key.layout === "token" && i % 4 < 2 };
      const marks = { marked: i % 4 === 2 ? 8 : 0, strictPrefill: i % 2 === 0 };
      kernels.push(prefillKernel({ format: { ...format, ...marks }, ...prefill }));
    });
    const rotated = { ...plain, kvHeads: 4, headDim, values: values[0]!, ropeAtRead: true, keyRotation: rotation };
    [values[0]!, values[1]!, values[2]!].forEach((side, i) => {
      const format: PackedFormat = { ...rotated, keys: side, ordered: i > 0 };
      const part = restorePart(format);
      kernels.push(restoreKernel({ format, part, headsPerKvHead: i }));
      const shared = 1 + (i % 2);
      if (canRotateInRegisters(format, shared)) {
        kernels.push(
          rotatedScoresKernel({ format, headsPerKvHead: shared, tokens: i > 0 ? 64 : 16, subgroups: i < 2 }),
        );
      }
      kernels.push(
        decodeKernel({
          format,
          ...decodeShape(format, i + 1, i > 0 ? integerDots : floats),
          skips: i > 0,
          near: i > 0,
          side: true,
        }),
      );
      kernels.push(prefillKernel({ format, skips: i > 0, side: true, carry: true }));
    });
    for (const marked of [0, 20]) {
      const format: PackedFormat = { ...plain, kvHeads: 2, headDim, keys: keys[0]!, values: values[0]!, marked };
      kernels.push(nearKernel({ format, side: true }), nearKernel({ format, side: false }));
    }
  }
  return kernels;
}
