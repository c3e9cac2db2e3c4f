/**
 * WGSL that reads weights of any kind as float32, for every kernel over a `WeightMatrix` (products, embedding, experts).
 *
 * Codes are bound as vectors of 16 bytes, `array<vec4u>`; one such vector holds VECTOR_QUADS × 4 columns of a row. Rows are
 * padded with zeros, so that loads inside `rowStride` need no guard. Experts are rows too: add `expert · rows` to the row.
 *
 * `weightDecoding(kind)` once a kernel:
 *   const VECTOR_QUADS: u32                          columns of a 16-byte vector / 4: 1 (f32), 2 (f16, bf16), 4 (int8), 8 (int4)
 *   fn decodeQuad(vector: vec4u, quad: u32) -> vec4f   columns 4·quad … 4·quad + 3 of a vector, not yet scaled
 *   fn rawQuad(vector: vec4u, quad: u32) -> vec4f      the same divided by quadUnit(quad), a power of two: what multiplies many
 *   fn quadUnit(quad: u32) -> f32                      rows with the same x puts the unit into x
 *
 * `weightAccess({ name: "W", … })` once a binding, here with the name W:
 *   fn vectorW(row: u32, vector: u32) -> vec4u        16 bytes of a row
 *   fn scaleW(row: u32, vector: u32) -> f32           the factor of all columns of that vector (1 for float kinds)
 *   fn loadW4(row: u32, quad: u32) -> vec4f           columns 4·quad … 4·quad + 3
 *   fn loadW8(row: u32, octet: u32) -> mat2x4f        columns 8·octet … 8·octet + 7: [0] the first four, [1] the rest
 *
 * The kernel's parameter block (a uniform named `p`) contains `weightParams`, filled by `weightParamValues(w)`.
 *
 * Precision bf16 and f16 widen exactly (subnormal halves as the driver treats them), int8 and int4 to scale · code in float32.
 */
import type { WeightKind, WeightMatrix } from "../weight-matrix.js";

/** Columns in 16 bytes of codes. */
export const vectorColumns = { f32: 4, f16: 8, bf16: 8, int8: 16, int4: 32 } as const satisfies Record<
  WeightKind,
  number
>;

/** Fields that a kernel's parameter schema must include. */
export const weightParams = {
  /** 16-byte vectors in a row. */
  rowVectors: "u32",
  /** Scales in a row: 1 for int8, groups for int4. */
  rowScales: "u32",
  /** 2^scaleShift 16-byte vectors share a scale (int4). */
  scaleShift: "u32",
} as const;

export function weightParamValues(
  w: Pick<WeightMatrix, "kind" | "rowStride" | "group">,
): Record<keyof typeof weightParams, number> {
  const rowVectors = w.rowStride / vectorColumns[w.kind];
  if (w.kind !== "int4") return { rowVectors, rowScales: 1, scaleShift: 0 };
  // Groups are 32, 64 or 128 columns.
  const scaleShift = Math.log2(w.group / vectorColumns.int4);
  return { rowVectors, rowScales: Math.ceil(w.rowStride / w.group), scaleShift };
}

/** Int8 and int4 bind scales next to the codes. */
export function hasScales(kind: WeightKind): boolean {
  return kind === "int8" || kind === "int4";
}

const decoding: Record<WeightKind, string> = {
  f32: /* wgsl */ `
const VECTOR_QUADS = 1u;
fn decodeQuad(vector: vec4u, quad: u32) -> vec4f { return bitcast<vec4f>(vector); }`,

  f16: /* wgsl */ `
const VECTOR_QUADS = 2u;
fn decodeQuad(vector: vec4u, quad: u32) -> vec4f {
  let pairs = select(vector.xy, vector.zw, quad == 1u);
  return vec4f(unpack2x16float(pairs.x), unpack2x16float(pairs.y));
}`,

  bf16: /* wgsl */ `
const VECTOR_QUADS = 2u;
fn decodeQuad(vector: vec4u, quad: u32) -> vec4f {
  // A bf16 number is the upper half of the float32 with the same value.
  let pairs = select(vector.xy, vector.zw, quad == 1u);
  return bitcast<vec4f>(vec4u(pairs.x << 16u, pairs.x & 0xffff0000u, pairs.y << 16u, pairs.y & 0xffff0000u));
}`,

  // Conversions from integer run at a quarter of the rate of other arithmetic on common GPUs. Or-ing a small integer n into
  // the bits of 2^23 gives the float32 number 2^23 + n, and subtracting 2^23 is exact.
  int8: /* wgsl */ `
const VECTOR_QUADS = 4u;
fn decodeQuad(vector: vec4u, quad: u32) -> vec4f {
  // A vector indexed by a variable would go through memory.
  let word = select(select(vector.x, vector.y, quad == 1u), select(vector.z, vector.w, quad == 3u), quad >= 2u);
  // Bytes 1 and 3 stay at bit 8, where 2^15 counts ones. ^ 0x80: code + 128.
  let high = word >> 16u;
  let bits = (vec4u(word, word, high, high) & vec4u(0xffu, 0xff00u, 0xffu, 0xff00u))
    ^ vec4u(0x4b000080u, 0x47008000u, 0x4b000080u, 0x47008000u);
  return bitcast<vec4f>(bits) - vec4f(8388736.0, 32896.0, 8388736.0, 32896.0);
}`,

  int4: /* wgsl */ `
const VECTOR_QUADS = 8u;
fn quadUnit(quad: u32) -> f32 { return bitcast<f32>((127u - (quad >> 1u) * 4u) << 23u); }
fn decodeQuad(vector: vec4u, quad: u32) -> vec4f { return rawQuad(vector, quad) * quadUnit(quad); }
fn rawQuad(vector: vec4u, quad: u32) -> vec4f {
  // Word m holds columns 8j + 2m in nibble j and 8j + 2m + 1 in nibble j + 4; quad = 2j + (m >= 2). The nibble stays
  // where it is, at bit 4j, and counts 16^j.
  let words = select(vector.xy, vector.zw, (quad & 1u) == 1u);
  let bit = (quad >> 1u) * 4u;
  let nibbles = vec4u(words.x, words.x >> 16u, words.y, words.y >> 16u) & vec4u(15u << bit);
  return bitcast<vec4f>(nibbles | vec4u(0x4b000000u)) - (8388608.0 + f32(8u << bit));
}`,
};

/** The constant and the function that turn stored codes into numbers; see the file's header. */
export function weightDecoding(kind: WeightKind): string {
  return kind === "int4" ? decoding.int4 : `${decoding[kind]}${unitQuads}`;
}

const unitQuads = /* wgsl */ `
fn quadUnit(quad: u32) -> f32 { return 1.0; }
fn rawQuad(vector: vec4u, quad: u32) -> vec4f { return decodeQuad(vector, quad); }`;

export interface WeightAccess {
  readonly kind: WeightKind;
  /** Suffix of the functions: W gives `loadW4`, … */
  readonly name: string;
  /** Binding number of the codes. */
  readonly codes: number;
  /** Binding number of the scales (used by int8 and int4 alone), or the name of another access whose scales are read. */
  readonly scales: number | string;
  /** WGSL expression: row of the scales that belongs to row 0 of the codes, where the two are bound from different rows. */
  readonly scaleRow?: string;
}

/** Bindings and load functions of one matrix; needs `weightDecoding` and `p` with `weightParams`. See the file's header. */
export function weightAccess({ kind, name, codes, scales, scaleRow = "0u" }: WeightAccess): string {
  return /* wgsl */ `
@group(0) @binding(${codes}) var<storage, read> codes${name}: array<vec4u>;
${hasScales(kind) ? scaleAccess(kind, name, scales, scaleRow) : unscaled(name)}
fn vector${name}(row: u32, vector: u32) -> vec4u { return codes${name}[row * p.rowVectors + vector]; }
fn load${name}4(row: u32, quad: u32) -> vec4f {
  let at = quad / VECTOR_QUADS;
  return decodeQuad(vector${name}(row, at), quad % VECTOR_QUADS) * scale${name}(row, at);
}
${kind === "f32" ? load8Float(name) : load8(name)}`;
}

function unscaled(name: string): string {
  return /* wgsl */ `fn scale${name}(row: u32, vector: u32) -> f32 { return 1.0; }`;
}

function scaleAccess(kind: WeightKind, name: string, scales: number | string, scaleRow: string): string {
  const array = `scales${typeof scales === "string" ? scales : name}`;
  const column = kind === "int4" ? " + (vector >> p.scaleShift)" : "";
  return /* wgsl */ `${typeof scales === "string" ? "" : `@group(0) @binding(${scales}) var<storage, read> ${array}: array<f32>;`}
fn scale${name}(row: u32, vector: u32) -> f32 { return ${array}[(row + ${scaleRow}) * p.rowScales${column}]; }`;
}

function load8(name: string): string {
  return /* wgsl */ `
fn load${name}8(row: u32, octet: u32) -> mat2x4f {
  let quad = 2u * octet;
  let at = quad / VECTOR_QUADS;
  let vector = vector${name}(row, at);
  let first = quad % VECTOR_QUADS;
  let scale = scale${name}(row, at);
  return mat2x4f(decodeQuad(vector, first) * scale, decodeQuad(vector, first + 1u) * scale);
}`;
}

function load8Float(name: string): string {
  return /* wgsl */ `
fn load${name}8(row: u32, octet: u32) -> mat2x4f {
  return mat2x4f(load${name}4(row, 2u * octet), load${name}4(row, 2u * octet + 1u));
}`;
}
