/**
 * Products of tiles on matrix units, as text: what the float16 kernels of causal attention and of lightning attention's gradient are made
 * of. Operands are halves, sums are float32.
 *
 * A workgroup has 64 rows, each of its four subgroups sixteen: their operands as fragments in registers, results as sums of
 * fragments. Lines that go by lie in workgroup memory, 64 in a block. A product's sums go through a strip of the subgroup's own,
 * from which two lanes take a row, and back as halves for the next product.
 *
 * Axes      D numbers of a line, a multiple of 16, at most 64: D / 16 fragments.
 * Precision what is rounded to halves is held inside ±65504.
 */
import type { WebGpuDevice } from "../../device/index.js";
import { range, TILE_THREADS } from "./tile-products.wgsl.js";

export { matrixEnables } from "../matmul/matrix-tile.wgsl.js";

const SUBGROUP = 32;
/** Vectors of a strip: a line of 64 sums and one of padding, sixteen times; then as many halves. */
const SUMS_STRIDE = 17;
const HALVES_STRIDE = 9;
const HALVES_AT = 16 * SUMS_STRIDE;
const STRIP = HALVES_AT + 16 * HALVES_STRIDE;

const bytes = (headDim: number): number => 16 * (2 * 64 * (headDim / 8 + 1) + 4 * STRIP + 32);

/** Whether the device has matrix units for heads of this size. */
export function takesMatrixTiles(device: WebGpuDevice, headDim: number): boolean {
  const { features, limits } = device;
  return (
    features.f16 &&
    features.subgroups &&
    features.subgroupSize.min === SUBGROUP &&
    features.subgroupSize.max === SUBGROUP &&
    features.subgroupMatrix.some(
      ({ component, result, M, N, K }) => component === "f16" && result === "f32" && M === 16 && N === 16 && K === 16,
    ) &&
    headDim % 16 === 0 &&
    headDim <= 64 &&
    limits.maxWorkgroupStorageBytes >= bytes(headDim)
  );
}

/** Goes before a kernel. */
export const matrixTileConstants = (headDim: number): string => /* wgsl */ `
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;
const D4 = ${headDim / 4}u;
const OCTETS = ${headDim / 8}u;
const STRIDE = OCTETS + 1u;
const TILE = 64u;
const SUMS_STRIDE = ${SUMS_STRIDE}u;
const HALVES_STRIDE = ${HALVES_STRIDE}u;
const HALVES_AT = ${HALVES_AT}u;
var<workgroup> lines: array<array<vec4u, ${64 * (headDim / 8 + 1)}>, 2>;   // halves [line, octet]
var<workgroup> strips: array<array<vec4u, ${STRIP}>, 4>;      // of each subgroup: sums [16, 64], then halves [16, 64]
fn halves(a: vec4f, b: vec4f) -> vec4u {
  // A larger number would become infinite.
  let x = clamp(a, vec4f(-65504.0), vec4f(65504.0));
  let y = clamp(b, vec4f(-65504.0), vec4f(65504.0));
  return vec4u(pack2x16float(x.xy), pack2x16float(x.zw), pack2x16float(y.xy), pack2x16float(y.zw));
}`;

export const matrixTileEntry = /* wgsl */ `
@compute @workgroup_size(${TILE_THREADS})
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32,
) {`;

/** Goes first into it. */
export const matrixTileSetup = /* wgsl */ `
  // Two lanes have a row of the subgroup's strip: octets 2 i + half.
  let stripRow = lane / 2u;
  let half = lane % 2u;
  let mine = 16u * subgroup + stripRow;`;

/** An octet of halves of a line, as a WGSL expression without branches; zeros beyond the edges. */
export type Octet = (line: string, c: string) => string;

/** Lines that all products read, into block 0, or into both: first everything is fetched, so that no load waits for another. */
export function stage(fragments: number, ...blocks: readonly Octet[]): string {
  const each = (text: (block: number, octet: Octet, e: number, line: string, c: string) => string) =>
    blocks
      .flatMap((octet, block) =>
        range(fragments).map((e) => {
          const at = `(thread + ${e * TILE_THREADS}u)`;
          return text(block, octet, e, `${at} / OCTETS`, `${at} % OCTETS`);
        }),
      )
      .join("\n");
  return `    {
${each((block, octet, e, line, c) => `      let octet${block}_${e} = ${octet(line, c)};`)}
${each((block, _, e, line, c) => `      lines[${block}u][${line} * STRIDE + ${c}] = octet${block}_${e};`)}
    }`;
}

/** This subgroup's sixteen lines of a block, as left operands. */
export const owned = (name: string, block: 0 | 1, fragments: number): string =>
  range(fragments)
    .map(
      (k) =>
        `  let ${name}${k} = subgroupMatrixLoad<Left, row_major>(&lines[${block}u], 16u * subgroup * STRIDE + ${2 * k}u, STRIDE);`,
    )
    .join("\n");

/**
 * Owned lines times the 64 of a block, into the strip, which all may read then.
 *
 * Sums are set to zero by a statement: Dawn begins a variable without a value at zero once, not each time a loop comes to it.
 */
export function dots(left: string, block: 0 | 1, fragments: number): string {
  return `    {
${range(4)
  .map((j) => `      var s${j}: Sums; s${j} = Sums();`)
  .join("\n")}
${range(fragments)
  .flatMap((k) =>
    range(4).map(
      (j) =>
        `      s${j} = subgroupMatrixMultiplyAccumulate(${left}${k}, subgroupMatrixLoad<Right, col_major>(&lines[${block}u], ${16 * j}u * STRIDE + ${2 * k}u, STRIDE), s${j});`,
    ),
  )
  .join("\n")}
${range(4)
  .map((j) => `      subgroupMatrixStore<row_major>(&strips[subgroup], ${4 * j}u, s${j}, SUMS_STRIDE);`)
  .join("\n")}
    }
    workgroupBarrier();`;
}

/**
 * results += owned lines times a block: its lines along the sum ("lines"), or its lines as the sum's terms ("terms").
 */
export function addOwned(
  results: string,
  left: string,
  block: 0 | 1,
  along: "lines" | "terms",
  fragments: number,
): string {
  const right = (k: number, n: number) =>
    along === "lines"
      ? `subgroupMatrixLoad<Right, col_major>(&lines[${block}u], ${16 * n}u * STRIDE + ${2 * k}u, STRIDE)`
      : `subgroupMatrixLoad<Right, row_major>(&lines[${block}u], ${16 * k}u * STRIDE + ${2 * n}u, STRIDE)`;
  return range(fragments)
    .flatMap((k) =>
      range(fragments).map(
        (n) => `    ${results}${n} = subgroupMatrixMultiplyAccumulate(${left}${k}, ${right(k, n)}, ${results}${n});`,
      ),
    )
    .join("\n");
}

/** results += the strip's halves times the 64 lines of a block. */
export function add(results: string, block: 0 | 1, fragments: number): string {
  return `    workgroupBarrier();
${range(4)
  .map(
    (k) => `    {
      let a = subgroupMatrixLoad<Left, row_major>(&strips[subgroup], HALVES_AT + ${2 * k}u, HALVES_STRIDE);
${range(fragments)
  .map(
    (n) =>
      `      ${results}${n} = subgroupMatrixMultiplyAccumulate(a, subgroupMatrixLoad<Right, row_major>(&lines[${block}u], ${16 * k}u * STRIDE + ${2 * n}u, STRIDE), ${results}${n});`,
  )
  .join("\n")}
    }`,
  )
  .join("\n")}`;
}

export const declareResults = (name: string, fragments: number): string =>
  range(fragments)
    .map((n) => `  var ${name}${n} = Sums();`)
    .join("\n");

/** A row's results leave through the strip. */
export function storeResults(name: string, fragments: number, store: (quad: string, value: string) => string): string {
  return `  workgroupBarrier();
${range(fragments)
  .map((n) => `  subgroupMatrixStore<row_major>(&strips[subgroup], ${4 * n}u, ${name}${n}, SUMS_STRIDE);`)
  .join("\n")}
  workgroupBarrier();
  if (mine < count) {
${range(fragments)
  .flatMap((i) =>
    range(2).map((e) => {
      const quad = `(4u * ${i}u + 2u * half + ${e}u)`;
      return `    ${store(quad, `bitcast<vec4f>(strips[subgroup][stripRow * SUMS_STRIDE + ${quad}])`)}`;
    }),
  )
  .join("\n")}
  }`;
}

/** For the eight quads of a lane's half of a row: i, and the quad's number in the row. */
export const quads = (text: (i: number, quad: string) => string): string =>
  range(8)
    .map((i) => text(i, `(${4 * (i >> 1) + (i & 1)}u + 2u * half)`))
    .join("\n");

export const readSums = (name: string): string =>
  quads((i, quad) => `    var ${name}${i} = bitcast<vec4f>(strips[subgroup][stripRow * SUMS_STRIDE + ${quad}]);`);

export const writeHalves = (name: string): string =>
  range(4)
    .map(
      (i) =>
        `    strips[subgroup][HALVES_AT + stripRow * HALVES_STRIDE + ${2 * i}u + half] = halves(${name}${2 * i}, ${name}${2 * i + 1});`,
    )
    .join("\n");
