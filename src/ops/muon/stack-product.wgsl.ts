/**
 * Products of all matrices of a stack [matrices, R, stride] in one launch: tiles of 64 × 64 results, 16 deep at a time through
 * workgroup memory, the next ones on their way to registers. A thread has 8 × 4 results.
 *
 *   gram       Y = X Xᵀ               both operands run along the sum in memory: they are turned while they are staged
 *   square     Y = α X + β X X        X symmetric
 *   multiply   Y = α Q + β P Q        P symmetric
 *
 * A symmetric operand's column is its row, so the last two read both operands across the sum, and stage vectors as they
 * are. The results of the first two are symmetric: tiles below the diagonal are not computed, those above are stored twice.
 *
 * Axes      strides are multiples of 16, with zeros beyond the columns that count; the results' padding comes out as zeros.
 * Precision float32, summed in order.
 */
import { params, type WebGpuKernel } from "../../device/index.js";

export type StackProduct = "gram" | "square" | "multiply";

/** Rows and columns of a workgroup's results. */
export const PRODUCT_TILE = 64;
/** What strides are multiples of. */
export const STACK_ALIGN = 16;

/** `depth` numbers are summed. Strides in vectors of four: of both operands and of the result. */
export const productParams = params({
  rows: "u32",
  depth: "u32",
  strideP: "u32",
  strideQ: "u32",
  strideY: "u32",
  alpha: "f32",
  beta: "f32",
});

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

const operands: Readonly<Record<StackProduct, readonly string[]>> = {
  gram: ["X"],
  square: ["X"],
  multiply: ["P", "Q"],
};

/** Names of the operands in the text: P's tile gives the rows of the result, Q's the columns. */
const namesOf = (product: StackProduct): { p: string; q: string } => {
  const [p = "X", q = p] = operands[product];
  return { p, q };
};

// The first half of the threads stages P's tile, the second Q's: a block of 4 lines by 4 numbers each.
const stageAlong = (p: string): string => /* wgsl */ `
struct Place { at: u32, row: u32, to: u32 }
fn placeOf(lane: u32, group: vec3u) -> Place {
  let block = lane % 64u;
  let row = select(group.y, group.x, lane >= 64u) * TILE + block % 16u * 4u;
  let at = (group.z * p.rows + row) * p.strideP + block / 16u;
  return Place(at, row, lane / 64u * (DEPTH * QUADS) + block / 16u * (4u * QUADS) + block % 16u);
}
fn load(place: Place, depth: u32) -> mat4x4f {
  var lines = mat4x4f();
  let at = place.at + depth / 4u;
${range(4)
  .map((i) => `  if (place.row + ${i}u < p.rows) { lines[${i}] = ${p}[at + ${i}u * p.strideP]; }`)
  .join("\n")}
  return transpose(lines);
}
const NEXT = QUADS;`;

// A thread stages two vectors of each operand.
const stageAcross = (p: string, q: string): string => /* wgsl */ `
struct Place { p: u32, q: u32, hasP: bool, hasQ: bool, row: u32, to: u32 }
fn placeOf(lane: u32, group: vec3u) -> Place {
  let row = lane / QUADS;
  let quadP = group.y * QUADS + lane % QUADS;
  let quadQ = group.x * QUADS + lane % QUADS;
  let first = group.z * p.rows + row;
  return Place(first * p.strideP + quadP, first * p.strideQ + quadQ, quadP < p.strideP, quadQ < p.strideQ, row, lane);
}
fn load(place: Place, depth: u32) -> mat4x4f {
  var lines = mat4x4f();
${range(2)
  .map(
    (i) => `  if (place.row + depth + ${8 * i}u < p.rows) {
    if (place.hasP) { lines[${i}] = ${p}[place.p + (depth + ${8 * i}u) * p.strideP]; }
    if (place.hasQ) { lines[${i + 2}] = ${q}[place.q + (depth + ${8 * i}u) * p.strideQ]; }
  }`,
  )
  .join("\n")}
  return lines;
}
const NEXT = 8u * QUADS;`;

function productText(product: StackProduct): string {
  const { p, q } = namesOf(product);
  const isSymmetric = product !== "multiply";
  const hasSum = product !== "gram";
  const names = operands[product];
  return /* wgsl */ `
${productParams.wgsl}
const TILE = ${PRODUCT_TILE}u;
const QUADS = TILE / 4u;   // vectors of a line of a tile
const DEPTH = 16u;
@group(0) @binding(0) var<uniform> p: Params;
${names.map((name, i) => `@group(0) @binding(${i + 1}) var<storage, read> ${name}: array<vec4f>;`).join("\n")}
@group(0) @binding(${names.length + 1}) var<storage, read_write> Y: array<vec4f>;
// Both operands' tiles, a line for each step of the sum.
var<workgroup> tiles: array<vec4f, 2u * DEPTH * QUADS>;
${product === "gram" ? stageAlong(p) : stageAcross(p, q)}
${isSymmetric ? putBoth : ""}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${isSymmetric ? "if (group.y > group.x) { return; }   // stored with the tile across the diagonal" : ""}
  let place = placeOf(lane, group);
  let line = lane / QUADS * 8u;   // of the thread's results in the tile
  let quad = lane % QUADS;
${range(8)
  .map((i) => `  var y${i} = vec4f();`)
  .join("\n")}
  for (var depth = 0u; ; depth += DEPTH) {
    // Ahead of the sums over the numbers before. The last round loads nothing new.
    let next = load(place, min(depth, (p.depth - 1u) / DEPTH * DEPTH));
    for (var k = 0u; k < DEPTH && depth > 0u; k++) {
      let a = tiles[k * QUADS + line / 4u];
      let b = tiles[k * QUADS + line / 4u + 1u];
      let c = tiles[(DEPTH + k) * QUADS + quad];
${range(8)
  .map((i) => `      y${i} = fma(vec4f(${i < 4 ? "a" : "b"}[${i % 4}]), c, y${i});`)
  .join("\n")}
    }
    if (depth >= p.depth) { break; }
    workgroupBarrier();
${range(4)
  .map((i) => `    tiles[place.to + ${i}u * NEXT] = next[${i}];`)
  .join("\n")}
    workgroupBarrier();
  }
  let row = group.y * TILE + line;
  let column = group.x * QUADS + quad;
  let at = (group.z * p.rows + row) * p.strideY + column;
  let isInside = column < p.strideY;
${range(8)
  .map(
    (i) => `  if (isInside && row + ${i}u < p.rows) {
    y${i} = ${hasSum ? `p.alpha * ${q}[at + ${i}u * p.strideY] + ` : ""}p.beta * y${i};
    Y[at + ${i}u * p.strideY] = y${i};
  }`,
  )
  .join("\n")}
${
  isSymmetric
    ? `  if (group.y == group.x) { return; }
  putTurned(mat4x4f(y0, y1, y2, y3), group.z, 4u * column, row / 4u);
  putTurned(mat4x4f(y4, y5, y6, y7), group.z, 4u * column, row / 4u + 1u);`
    : ""
}
}`;
}

// Results beyond the edges are zeros: so is what they have been made from.
const putBoth = /* wgsl */ `
fn putTurned(results: mat4x4f, matrix: u32, row: u32, quad: u32) {
  let turned = transpose(results);
  let at = (matrix * p.rows + row) * p.strideY + quad;
  if (quad >= p.strideY) { return; }
${range(4)
  .map((i) => `  if (row + ${i}u < p.rows) { Y[at + ${i}u * p.strideY] = turned[${i}]; }`)
  .join("\n")}
}`;

const products = ["gram", "square", "multiply"] as const satisfies readonly StackProduct[];

const kernels = new Map(
  products.map((product): [StackProduct, WebGpuKernel] => [
    product,
    { label: `muon ${product}`, code: productText(product) },
  ]),
);

export function productKernel(product: StackProduct): WebGpuKernel {
  return kernels.get(product) as WebGpuKernel; // made above for every product
}

export const productVariants = (): WebGpuKernel[] => products.map(productKernel);
