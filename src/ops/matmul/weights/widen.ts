/** A weight matrix as numbers that the products of a backward pass take. */
import type { Device, WebGpuDevice, WebGpuKernel } from "../../../device/index.js";
import { empty, type Tensor } from "../../../tensor/index.js";
import { halvesRowOctets } from "../gemm-subgroup-matrix.wgsl.js";
import { kept } from "../matmul.launch-webgpu.js";
import type { WeightKind, WeightMatrix } from "../weight-matrix.js";
import { weightParamValues } from "./load.wgsl.js";
import { WIDEN_WORKGROUP, type WidenVariant, widenKernel, widenLabel, widenParams } from "./widen.wgsl.js";

const kernelNames: Record<Exclude<WeightKind, "f32">, string> = {
  f16: "matmulWidenF16",
  bf16: "matmulWidenBf16",
  int8: "matmulWidenInt8",
  int4: "matmulWidenInt4",
};

/** @returns f32 [rows, rowStride]: of float32 weights their own memory, of others a copy. */
export function widened(device: Device, w: WeightMatrix): Tensor {
  if (w.kind === "f32") return w.codes.retain();
  const out = empty(device, [w.rows, w.rowStride], "f32", "widened weights");
  if (device.kind === "webgpu") launch(device, w, "f32", out, w.rowStride / 8);
  else {
    device.run(kernelNames[w.kind], {
      arguments: [w.codes, w.scales, out, w.rowStride, Math.log2(w.group)],
      tasks: w.rows,
      cost: { bytes: w.codes.byteLength + out.byteLength, operations: 0 },
    });
  }
  return out;
}

/** @returns u32 [rows, 4 · octets], rows filled up with zeros to a multiple of 64 columns. */
export function weightHalves(device: WebGpuDevice, w: WeightMatrix): Tensor {
  const octets = halvesRowOctets(w.columns);
  const out = empty(device, [w.rows, 4 * octets], "u32", "weight halves");
  launch(device, w, "halves", out, octets);
  return out;
}

function launch(device: WebGpuDevice, w: WeightMatrix, to: WidenVariant["to"], out: Tensor, outOctets: number): void {
  const v: WidenVariant = { kind: w.kind, to };
  const height = Math.min(w.rows, device.limits.maxWorkgroupsPerDimension);
  device.run(
    kept(widenLabel(v), () => widenKernel(v)),
    {
      buffers: [w.codes, w.scales, out].filter((tensor) => tensor !== undefined),
      params: widenParams.write({ ...weightParamValues(w), rows: w.rows, octets: w.rowStride / 8, outOctets }),
      grid: [Math.ceil(outOctets / WIDEN_WORKGROUP), height, Math.ceil(w.rows / height)],
      cost: { bytes: w.codes.byteLength + out.byteLength, operations: 0 },
    },
  );
}

export function widenVariants(): WebGpuKernel[] {
  return (["f32", "f16", "bf16", "int8", "int4"] as const).flatMap((kind) =>
    (["f32", "halves"] as const).map((to) => {
      const v: WidenVariant = { kind, to };
      return { label: widenLabel(v), code: widenKernel(v) };
    }),
  );
}
