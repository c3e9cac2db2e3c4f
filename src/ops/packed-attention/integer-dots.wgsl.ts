/**
 * WGSL that multiplies 2-bit codes as integers, four products an instruction (WGSL's packed_4x8_integer_dot_product).
 *
 * Four codes of a word become the bytes of a word by one shift and one mask. What they are multiplied by (q with the channels'
 * scales, or probabilities with the tokens' scales) is rounded once to an integer under a scale of its own and split into
 * bytes, a word for each digit: three signed digits for keys, as exact as a float's mantissa; two unsigned for values, of
 * which thousands are averaged.
 */
import type { Unit } from "./unpack.wgsl.js";

/** Digits of what keys are multiplied by, and the largest magnitude that is rounded: 22 bits and the sign. */
export const KEY_DIGITS = 3;
export const KEY_STEPS = 2 ** 22;

/** Masked words of a word: codes i, i + 4, i + 8, i + 12 for i = 0 … 3. */
export const CLASSES = 4;

const LOW_BYTES = "0x00ff00ffu";
const HIGH_BYTES = "0xff00ff00u";

/** Bits 0, 2 … of each byte: class i of the word's codes. */
export function codesOfClass(word: string, i: number): string {
  return i === 0 ? `${word} & 0x03030303u` : `(${word} >> ${2 * i}u) & 0x03030303u`;
}

/**
 * Statements that define `${name}0`, `${name}1`, `${name}2`: words of the signed digits of four numbers, lowest digit first.
 *
 * @param numbers Expressions of numbers of at most 2²² in magnitude; the fractional part is rounded off.
 */
export function digitWords(name: string, numbers: readonly string[]): string {
  // n + 1.5 · 2²³ keeps n in the mantissa; with 0x808080 added, bytes less 0x80 are the signed digits.
  const toDigits = (0x808080 - 0x4b400000) >>> 0;
  const bits = numbers.map((n, i) => `    let ${name}n${i} = bitcast<u32>(${n} + 12582912.0) + ${toDigits}u;`);
  const names = numbers.map((_, i) => `${name}n${i}`);
  const digits = [0, 1, 2].map((i) => `    let ${name}${i} = ${name}t${i} ^ 0x80808080u;`);
  return [...bits, transposed(name, names), ...digits].join("\n");
}

/** Statements that define `${name}t0` … `${name}t3`: byte j of four words, as the bytes of word j, in the words' order. */
export function transposed(name: string, words: readonly string[]): string {
  const [a, b, c, d] = words;
  const pair = (x: string, y: string, low: string, high: string) => `
    let ${low} = (${x} & ${LOW_BYTES}) | ((${y} << 8u) & ${HIGH_BYTES});
    let ${high} = ((${x} >> 8u) & ${LOW_BYTES}) | (${y} & ${HIGH_BYTES});`;
  return `${pair(a!, b!, `${name}ab`, `${name}AB`)}${pair(c!, d!, `${name}cd`, `${name}CD`)}
    let ${name}t0 = (${name}ab & 0xffffu) | (${name}cd << 16u);
    let ${name}t1 = (${name}AB & 0xffffu) | (${name}CD << 16u);
    let ${name}t2 = (${name}ab >> 16u) | (${name}cd & 0xffff0000u);
    let ${name}t3 = (${name}AB >> 16u) | (${name}CD & 0xffff0000u);`;
}

/** Codes of values in the order in which integer sums come: four adjacent channels a vector, times 1, 4, 16 and 64. */
export const integerValueUnit: Unit = {
  channels: 16,
  channelOf: Array.from({ length: 16 }, (_, i) => i),
  exponentOf: Array.from({ length: 16 }, (_, i) => 2 * (i % 4)),
  centre: 1.5,
};

/** Of the first class of values' codes, whose sums of integers may be odd. */
export const FIRST_CENTRE = 1;

/**
 * Statements that round a lane's weights of some tokens to 16 bits: `${name}unit`, their common scale; `${name}low0`,
 * `${name}high0`, …: words of the digits of tokens 0, 2, 1, 3, then 4, 6, 5, 7; `${name}sum`, the sum of the integers.
 */
export function weightWords(name: string, weights: readonly string[]): string {
  const most = weights.reduce((a, b) => `max(${a}, ${b})`);
  const quads = Array.from({ length: weights.length / 4 }, (_, i) => 4 * i);
  return `
    let ${name}unit = max(${most}, 1e-30) * ${Math.fround(1 / 65535)};
    let ${name}inverse = 1.0 / ${name}unit;
${weights.map((w, i) => `    let ${name}n${i} = bitcast<u32>(fma(${w}, ${name}inverse, 8388608.0));`).join("\n")}
    let ${name}sum = i32(${weights.map((_, i) => `${name}n${i}`).join(" + ")} - ${(weights.length * 0x4b000000) % 2 ** 32}u);
${quads
  .map((q, i) => {
    const [a, b, c, d] = [0, 1, 2, 3].map((t) => `${name}n${q + t}`);
    return `
    let ${name}x${i} = (${a} & 0xffffu) | (${b} << 16u);
    let ${name}y${i} = (${c} & 0xffffu) | (${d} << 16u);
    let ${name}low${i} = (${name}x${i} & ${LOW_BYTES}) | ((${name}y${i} << 8u) & ${HIGH_BYTES});
    let ${name}high${i} = ((${name}x${i} >> 8u) & ${LOW_BYTES}) | (${name}y${i} & ${HIGH_BYTES});`;
  })
  .join("")}`;
}
