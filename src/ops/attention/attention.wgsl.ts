/** All WebGPU kernels of attention, for a test that compiles them. */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { combineKernel } from "./combine.wgsl.js";
import { decodeGroup, decodeKernel, decodeShape } from "./decode.wgsl.js";
import { kvStores } from "./kv-pages.wgsl.js";
import { prefillHeads, prefillKernel } from "./prefill.wgsl.js";

/** Every storage type and form, at head sizes and groups that stand for all: smallest, odd multiples, those at the memory limit. */
export function attentionVariants(): WebGpuKernel[] {
  const kernels = [combineKernel({ lanes: 4 }), combineKernel({ lanes: 32 })];
  for (const store of kvStores) {
    for (const headDim of [4, 12, 24, 64, 80, 128, 256]) {
      for (const carry of [false, true]) {
        for (const group of [1, 2]) {
          const heads = prefillHeads(headDim, group);
          kernels.push(prefillKernel({ store, headDim, heads, segments: 1, carry }));
        }
      }
      for (const smallestSubgroup of [0, 32]) {
        for (const heads of [1, 3, 8]) {
          const group = decodeGroup(heads, smallestSubgroup);
          const shape = decodeShape(store, headDim, group, smallestSubgroup);
          kernels.push(
            decodeKernel({ store, headDim, group, split: heads > 1, segments: 1, partial: heads === 8, ...shape }),
          );
        }
      }
    }
  }
  // The null backend binds eight buffers; more segments than one are compiled as modules only.
  kernels.push(prefillKernel({ store: "f16", headDim: 64, heads: 2, segments: 3, carry: true }));
  kernels.push(
    decodeKernel({
      store: "f16",
      headDim: 64,
      group: 2,
      split: true,
      segments: 3,
      partial: true,
      ...decodeShape("f16", 64, 2, 32),
    }),
  );
  return kernels;
}
