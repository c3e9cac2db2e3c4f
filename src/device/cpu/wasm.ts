/**
 * The few WebAssembly types that this folder needs. The DOM library, which declares them, is not part of the build, and
 * a global declaration of our own would collide with it in the programs that use this package.
 */

export interface WasmModule {
  readonly [Symbol.toStringTag]: string;
}

export interface WasmMemory {
  readonly buffer: ArrayBufferLike;
  /** @throws {RangeError} The system or the maximum refuses. */
  grow(pages: number): number;
}

export interface WasmInstance {
  readonly exports: Readonly<Record<string, unknown>>;
}

interface WasmNamespace {
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => WasmModule;
  readonly Instance: new (module: WasmModule, imports: object) => WasmInstance;
  readonly Memory: new (descriptor: { initial: number; maximum: number; shared: boolean }) => WasmMemory;
  compile(bytes: Uint8Array<ArrayBuffer>): Promise<WasmModule>;
  validate(bytes: Uint8Array<ArrayBuffer>): boolean;
}

/** The engine's own WebAssembly object. */
export const wasm: WasmNamespace = (globalThis as unknown as { WebAssembly: WasmNamespace }).WebAssembly; // untyped global

/** A kernel processes tasks `begin … end − 1` as worker number `worker`; `args` is the address of its argument words. */
export type Kernel = (args: number, begin: number, end: number, worker: number) => void;

/** The kernels of a module, sorted by name: host and workers derive the same numbers from the same module. */
export interface Kernels {
  readonly names: readonly string[];
  readonly functions: readonly Kernel[];
}

export function instantiate(module: WasmModule, memory: WasmMemory): Kernels {
  const { exports } = new wasm.Instance(module, { env: { memory } });
  const names = Object.keys(exports)
    .filter((name) => typeof exports[name] === "function")
    .sort();
  // build-kernels.mjs has checked that every exported function takes the four numbers of a kernel.
  return { names, functions: names.map((name) => exports[name] as Kernel) };
}

/** A module whose only function uses f32x4.relaxed_madd: valid where relaxed SIMD is on. */
const relaxedProbe = Uint8Array.from([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 123, 123, 123, 1, 123, 3, 2, 1, 0, 10, 13, 1, 11, 0, 32, 0, 32, 1, 32, 2,
  253, 133, 2, 11,
]);

export function hasRelaxedSimd(): boolean {
  return wasm.validate(relaxedProbe);
}
