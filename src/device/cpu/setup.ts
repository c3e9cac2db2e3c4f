/** What a CPU device is made of: the platform's files and threads, the build of the kernels, the memory. */
import { NoDeviceError } from "../errors.js";
import type { Platform } from "./platform.js";
import { hasRelaxedSimd, instantiate, type Kernels, type WasmMemory, type WasmModule, wasm } from "./wasm.js";

/** Of a WebAssembly memory, in bytes. */
export const PAGE = 65536;
/** 4 GiB, the end of a 32-bit memory. */
const MAX_PAGES = 65536;
export const INITIAL_PAGES = 16;

export async function findPlatform(): Promise<Platform> {
  const isNode = typeof process !== "undefined" && typeof process.getBuiltinModule === "function";
  return isNode ? (await import("./threads-node.js")).platform : (await import("./threads-web.js")).platform;
}

export function chooseRelaxedSimd(platform: Platform, wanted: "auto" | boolean): boolean {
  if (wanted === false) return false;
  if (wanted === true) platform.enableRelaxedSimd();
  if (hasRelaxedSimd()) return true;
  if (wanted === true) throw new NoDeviceError("relaxed SIMD was asked for, but this engine does not have it");
  return false;
}

/** Undefined if the module wants a memory of the other kind. */
export function tryInstantiate(
  module: WasmModule,
  shared: boolean,
): { memory: WasmMemory; maximumPages: number; kernels: Kernels } | undefined {
  const { memory, maximumPages } = makeMemory(shared);
  try {
    return { memory, maximumPages, kernels: instantiate(module, memory) };
  } catch {
    return undefined; // a LinkError; the caller tries the other kind or reports it
  }
}

/** Phones and 32-bit systems may not have 4 GiB of addresses in one piece: try less. */
function makeMemory(shared: boolean): { memory: WasmMemory; maximumPages: number } {
  let cause: unknown;
  for (const maximumPages of [MAX_PAGES, MAX_PAGES / 2, MAX_PAGES / 4]) {
    try {
      const memory = new wasm.Memory({ initial: INITIAL_PAGES, maximum: maximumPages, shared });
      return { memory, maximumPages };
    } catch (error) {
      cause = error;
    }
  }
  throw new NoDeviceError("this engine has no room for a WebAssembly memory of 1 GiB", undefined, { cause });
}
