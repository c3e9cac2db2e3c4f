/**
 * The parameter block of a kernel: one value that yields both the WGSL struct and the writer of its bytes, so that the two
 * cannot disagree.
 *
 * Fields are scalars of four bytes, in the order of their declaration, without padding between them; the block is padded to
 * 16 bytes, as WGSL's uniform address space wants.
 */

export type ParamType = "u32" | "i32" | "f32";

export interface ParamsSchema<F extends Record<string, ParamType>> {
  readonly fields: F;
  /** "struct Params { channels: u32, eps: f32 }" */
  readonly wgsl: string;
  /** A multiple of 16. */
  readonly byteLength: number;
  /**
   * The bytes for `WebGpuLaunch.params`.
   *
   * @throws {RangeError} A value is missing, or is no whole number of its field's range.
   */
  write(values: { readonly [K in keyof F]: number }): Uint8Array;
}

/** Declares a parameter block. */
export function params<const F extends Record<string, ParamType>>(fields: F): ParamsSchema<F> {
  const entries = Object.entries<ParamType>(fields);
  if (entries.length === 0)
    throw new RangeError("params: WGSL has no empty struct; leave the uniform binding out instead");
  for (const [name] of entries) {
    // An integer-like key would be moved to the front by JavaScript, so a name must be a name.
    if (!/^[a-zA-Z]\w*$/.test(name)) throw new RangeError(`params: ${JSON.stringify(name)} is no WGSL field name`);
  }
  const byteLength = Math.ceil(entries.length / 4) * 16;
  return {
    fields,
    wgsl: `struct Params { ${entries.map(([name, type]) => `${name}: ${type}`).join(", ")} }`,
    byteLength,
    write(values) {
      const bytes = new Uint8Array(byteLength);
      const view = new DataView(bytes.buffer);
      let offset = 0;
      for (const [name, type] of entries) {
        const value: number | undefined = values[name];
        if (type === "f32") {
          if (typeof value !== "number")
            throw new RangeError(`params: ${name} expected a number, got ${String(value)}`);
          view.setFloat32(offset, value, true);
        } else {
          const wrapped = type === "u32" ? Number(value) >>> 0 : Number(value) | 0;
          // `Object.is` would refuse −0, which is a fine zero.
          if (value !== wrapped) throw new RangeError(`params: ${name} expected ${type}, got ${String(value)}`);
          view.setUint32(offset, wrapped, true);
        }
        offset += 4;
      }
      return bytes;
    },
  };
}
