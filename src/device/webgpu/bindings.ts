/** Reads a kernel's bindings from its WGSL text, so that its bind group layout can be explicit and shared. */
import { DeviceError } from "../errors.js";
import type { WebGpuKernel } from "./kernel.js";

export type Access = "read" | "read_write";

export interface Bindings {
  readonly hasParams: boolean;
  /** Access of storage bindings 1, 2, … */
  readonly storage: readonly Access[];
}

const declaration =
  /((?:@(?:group|binding)\(\s*\d+u?\s*,?\s*\)\s*)+)var\s*<\s*(uniform|storage)\s*(?:,\s*(read_write|read|write)\s*)?>\s*(\w+)/g;

/** @throws {DeviceError} The text departs from the convention of `WebGpuKernel`. */
export function parseBindings(kernel: WebGpuKernel): Bindings {
  const fail = (problem: string): never => {
    throw new DeviceError(`kernel "${kernel.label}": ${problem}`, kernel.label);
  };
  const text = kernel.code.replace(/\/\/.*|\/\*[\s\S]*?\*\//g, "");
  const storage: Access[] = [];
  let hasParams = false;
  for (const [, attributes = "", space, access, name] of text.matchAll(declaration)) {
    const group = Number(/@group\(\s*(\d+)/.exec(attributes)?.[1]);
    const binding = Number(/@binding\(\s*(\d+)/.exec(attributes)?.[1]);
    if (group !== 0) fail(`${name} must be in @group(0)`);
    if (space === "uniform") {
      if (binding !== 0) fail(`uniform ${name} must be @binding(0), got ${binding}`);
      hasParams = true;
    } else {
      if (!(binding >= 1)) fail(`storage ${name} must be at @binding(1) or later, got ${binding}`);
      if (access === "write") fail(`storage ${name} must be read or read_write`);
      if (storage[binding - 1] !== undefined) fail(`two storage variables at @binding(${binding})`);
      storage[binding - 1] = access === "read_write" ? "read_write" : "read";
    }
  }
  for (let i = 0; i < storage.length; i++) {
    if (storage[i] === undefined) fail(`no storage variable at @binding(${i + 1}), but one behind it`);
  }
  if (storage.length === 0) fail("has no storage binding");
  return { hasParams, storage };
}

/** The same kernel with every storage variable declared `read_write`. */
export function withAllWritable(kernel: WebGpuKernel): WebGpuKernel {
  return {
    label: kernel.label,
    code: kernel.code.replace(/var\s*<\s*storage\s*(?:,\s*read\s*)?>/g, "var<storage, read_write>"),
  };
}
