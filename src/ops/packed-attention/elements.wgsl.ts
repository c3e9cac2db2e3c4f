/** WGSL that reads four adjacent channels of a packed row, for kernels that stage them for many readers. */
import { hasParams, PACKED_PAGE_TOKENS, pageSections, type SideFormat } from "../packed-kv/format.js";
import { levelsOf, literal } from "./unpack.wgsl.js";

/**
 * `fn ${name}Elements(page, head, at, c) -> vec4f`: channels 4·c … 4·c + 3 of a head's row at token slot `at` of a page of
 * `buffer`, an array of u32.
 */
export function elementsWgsl(name: string, buffer: string, side: SideFormat, kvHeads: number, headDim: number): string {
  const { bits, layout, group, quantiser, norm } = side;
  const sections = pageSections(side, kvHeads, headDim);
  const low = bits === 3 ? 2 : bits;
  const steps = `vec4u(0u, ${low}u, ${2 * low}u, ${3 * low}u)`;
  const half = (i: string) =>
    `unpack2x16float(${buffer}[first + ${sections.scales}u + ${i} / 2u] >> (16u * (${i} % 2u))).x`;
  const scale = half("line");
  const centre = literal((2 ** bits - 1) / 2);
  const perWord = 8 / low; // vec4 of a word
  return /* wgsl */ `
fn ${name}Elements(page: u32, head: u32, at: u32, c: u32) -> vec4f {
  let first = page * ${sections.words}u;
  let line = head * ${PACKED_PAGE_TOKENS}u + at;
  let row = first + line * ${sections.rowWords}u;
  let word = ${buffer}[row + c / ${perWord}u] >> (c % ${perWord}u * ${4 * low}u);
  var codes = (vec4u(word) >> ${steps}) & vec4u(${2 ** low - 1}u);
${
  bits === 3
    ? `
  let high = ${buffer}[row + ${Math.ceil(headDim / 16)}u + c / 8u] >> (c % 8u * 4u);
  codes |= ((vec4u(high) >> vec4u(0u, 1u, 2u, 3u)) & vec4u(1u)) << vec4u(2u);`
    : ""
}
${
  quantiser === "levels"
    ? `
  var x = vec4f(codes) - ${centre};
${levelsOf("x", bits, [0, 0, 0, 0])}
  return x * ${scale};`
    : quantiser === "even"
      ? `
  let own = line * ${headDim / group}u + c * 4u / ${group}u;
  return (vec4f(codes) - ${centre}) * ${half("own")};`
      : layout === "token"
        ? `
  let param = unpack2x16float(${buffer}[first + ${sections.params}u + line * ${headDim / group}u + c * 4u / ${group}u]);
  let x = fma(vec4f(codes), vec4f(param.x), vec4f(param.y));`
        : `
  let param = first + ${sections.params}u + (head * ${PACKED_PAGE_TOKENS / group}u + at / ${group}u) * ${headDim}u + c * 4u;
  let p0 = unpack2x16float(${buffer}[param]);
  let p1 = unpack2x16float(${buffer}[param + 1u]);
  let p2 = unpack2x16float(${buffer}[param + 2u]);
  let p3 = unpack2x16float(${buffer}[param + 3u]);
  let x = fma(vec4f(codes), vec4f(p0.x, p1.x, p2.x, p3.x), vec4f(p0.y, p1.y, p2.y, p3.y));`
}
${hasParams(side) ? `  return x${norm ? ` * ${scale}` : ""};` : ""}
}`;
}
