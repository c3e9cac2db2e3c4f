import { expect, test } from "vitest";
import { NoDeviceError } from "../errors.js";
import { compileOnNullBackend } from "./check-variants.js";
import type { WebGpuKernel } from "./kernel.js";

const binding = "@group(0) @binding(1) var<storage, read_write> y: array<f32>;";
const kernel = (label: string, code: string): WebGpuKernel => ({ label, code });

const isAvailable = await compileOnNullBackend([]).then(
  () => true,
  (error: unknown) => {
    if (!(error instanceof NoDeviceError)) throw error;
    console.warn(`skipped: compilation on Dawn's null backend (${error.message})`);
    return false;
  },
);

test.skipIf(!isAvailable)("features that software adapters lack compile", async () => {
  const checked = await compileOnNullBackend([
    kernel("f16", `enable f16;\n${binding}\n@compute @workgroup_size(64) fn main() { y[0] = f32(1.0h); }`),
    kernel(
      "subgroups",
      `enable subgroups;\n${binding}\n@compute @workgroup_size(64) fn main() { y[0] = subgroupAdd(1.0); }`,
    ),
    kernel(
      "matrices",
      `enable f16;
enable chromium_experimental_subgroup_matrix;
@group(0) @binding(1) var<storage, read> x: array<f16>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(32) fn main() {
  let a = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&x, 0u, 16u);
  let b = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, row_major>(&x, 256u, 16u);
  var c: subgroup_matrix_result<f32, 16, 16>;
  c = subgroupMatrixMultiplyAccumulate(a, b, c);
  subgroupMatrixStore<row_major>(&y, 0u, c, 16u);
}`,
    ),
    kernel("beyond its invocations", `${binding}\n@compute @workgroup_size(1024) fn main() { y[0] = 1.0; }`),
    kernel(
      "beyond its workgroup memory",
      `${binding}\nvar<workgroup> w: array<f32, 8192>;\n@compute @workgroup_size(64) fn main() { w[0] = 1.0; y[0] = w[1]; }`,
    ),
    kernel(
      "beyond its storage buffers",
      `${Array.from({ length: 10 }, (_, i) => `@group(0) @binding(${i + 1}) var<storage, read_write> b${i}: array<f32>;`).join("\n")}
@compute @workgroup_size(64) fn main() { b9[0] = b0[0]; }`,
    ),
  ]);
  expect(checked.map(({ kernel: { label }, messages }) => ({ label, messages }))).toEqual(
    [
      "f16",
      "subgroups",
      "matrices",
      "beyond its invocations",
      "beyond its workgroup memory",
      "beyond its storage buffers",
    ].map((label) => ({ label, messages: [] })),
  );
});

test.skipIf(!isAvailable)("errors, warnings and departures from the convention are told", async () => {
  const checked = await compileOnNullBackend([
    kernel("error", `${binding}\n@compute @workgroup_size(1) fn main() { y[0] = 1u; }`),
    kernel("warning", `${binding}\n@compute @workgroup_size(1) fn main() { return; y[0] = 1.0; }`),
    kernel("pipeline", `${binding}\n@compute @workgroup_size(1) fn other() { y[0] = 1.0; }`),
    kernel(
      "binding",
      "@group(0) @binding(0) var<storage, read_write> y: array<f32>;\n@compute @workgroup_size(1) fn main() { y[0] = 1.0; }",
    ),
  ]);
  const [error, warning, pipeline, bindings] = checked.map(({ messages }) => messages.join("\n"));
  expect(error).toContain("line 2:46: error: ");
  expect(warning).toContain("warning: code is unreachable");
  expect(pipeline).toContain("main");
  expect(bindings).toContain("@binding(1) or later");
});
