/**
 * Muon's own kernels on WebGPU; the products are in `stack-product.wgsl.ts`.
 *
 *   momentum    M of some tensors, a workgroup a block
 *   gather      U of matrices of one size from some tensors into a stack, tall ones turned
 *   norms       of a slice of each matrix: its largest number, and the sum of squares relative to that
 *   normalise   the stack, each matrix by its norm
 *   apply       the stack to some tensors' weights
 *
 * A stack is [matrices, R, stride], R ≤ C ≤ stride, with zeros in the padding.
 */
import { params, type WebGpuKernel } from "../../device/index.js";
import { findBlock, loadFrom, spanFields, storeTo } from "../global-norm/tensor-blocks.js";

const LANES = 128;
/** Rows and columns of a tile that is moved, perhaps turned. */
export const TILE = 32;
const TILE_LINES = 8;

/** Tensors of a launch of `momentum`: two bindings each, and the record. */
export const momentumTensors = (maxStorageBuffers: number): number =>
  Math.min(8, Math.floor((maxStorageBuffers - 1) / 2));
/** Series of matrices of a launch of `gather`: two bindings each, record and stack. */
export const gatherSeries = (maxStorageBuffers: number): number => Math.min(7, Math.floor((maxStorageBuffers - 2) / 2));
/** Series of matrices of a launch of `apply`: one binding each, record and stack. */
export const applySeries = (maxStorageBuffers: number): number => Math.min(14, maxStorageBuffers - 2);

/** What is made once for each argument. */
function kept<T>(make: (count: number) => T): (count: number) => T {
  const made = new Map<number, T>();
  return (count) => {
    const value = made.get(count) ?? make(count);
    made.set(count, value);
    return value;
  };
}

const bindings = (texts: readonly string[]): string =>
  texts.map((text, i) => `@group(0) @binding(${i + 1}) var<storage, ${text}: array<f32>;`).join("\n");

const each = (count: number, f: (i: number) => string): string[] => Array.from({ length: count }, (_, i) => f(i));

export const momentumParams = kept((tensors) =>
  params({ keep: "f32", ...spanFields("size", tensors, "u32"), ...spanFields("end", tensors, "u32") }),
);

export const momentumKernel = kept(
  (tensors): WebGpuKernel => ({
    label: `muon momentum of ${tensors}`,
    code: /* wgsl */ `
${momentumParams(tensors).wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${bindings([...each(tensors, (i) => `read> g${i}`), ...each(tensors, (i) => `read_write> kept${i}`), "read> record"])}
${findBlock(tensors)}
${loadFrom("gradient", "g", tensors)}
${loadFrom("momentum", "kept", tensors)}
${storeTo("keep", "kept", tensors)}
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (record[2] == 0.0) { return; }
  let block = findBlock(group.y * groups.x + group.x);
  for (var i = block.first + lane; i < block.last; i += ${LANES}u) {
    keep(block.which, i, p.keep * momentum(block.which, i) + record[1] * gradient(block.which, i));
  }
}`,
  }),
);

/**
 * Of a launch that moves matrices: of one size, in series. Matrices of a series lie `step` rows apart from row `first` of
 * their tensor, whose rows are `width` numbers; `end` counts matrices as far as this series' last one.
 */
export const seriesParams = kept((series) =>
  params({
    // Of a matrix in the stack, and the first one that is moved.
    ...({ rows: "u32", columns: "u32", stride: "u32", matrix: "u32", keep: "f32" } as const),
    ...spanFields("end", series, "u32"),
    ...spanFields("first", series, "u32"),
    ...spanFields("step", series, "u32"),
    ...spanFields("width", series, "u32"),
    ...spanFields("isTall", series, "u32"),
    ...spanFields("rate", series, "f32"),
    ...spanFields("loss", series, "f32"),
  }),
);

/** A workgroup's tile: TILE × TILE numbers of a matrix, in the stack and where they come from. */
const findTile = (series: number): string => /* wgsl */ `
struct Tile {
  which: u32, rate: f32, loss: f32,
  stackAt: u32,               // the matrix in the stack
  at: u32, width: u32,        // the matrix in its tensor
  isTall: bool,
  row: u32, column: u32,      // the tile in the stack's matrix
  outerRow: u32, outerColumn: u32, outerRows: u32, outerColumns: u32,   // the tile in the tensor's matrix, and its size
}
fn findTile(group: vec3u) -> Tile {
  let matrix = group.z;
  var t: Tile;
  var before = 0u;
  var first = 0u;
  var step = 0u;
  ${each(
    series,
    (i) => `${i === 0 ? "" : "else "}if (matrix < p.end${i}) {
    ${i === 0 ? "" : `before = p.end${i - 1}; `}first = p.first${i}; step = p.step${i};
    t.which = ${i}u; t.width = p.width${i}; t.isTall = p.isTall${i} != 0u; t.rate = p.rate${i}; t.loss = p.loss${i};
  }`,
  ).join("\n  ")}
  t.stackAt = (p.matrix + matrix) * p.rows * p.stride;
  t.at = (first + (matrix - before) * step) * t.width;
  t.row = group.y * TILE;
  t.column = group.x * TILE;
  t.outerRow = select(t.row, t.column, t.isTall);
  t.outerColumn = select(t.column, t.row, t.isTall);
  t.outerRows = select(p.rows, p.columns, t.isTall);
  t.outerColumns = select(p.columns, p.rows, t.isTall);
  return t;
}
const TILE = ${TILE}u;
var<workgroup> tile: array<f32, TILE * (TILE + 1u)>;   // one more a line: columns hit different banks`;

export const gatherKernel = kept(
  (series): WebGpuKernel => ({
    label: `muon gather of ${series}`,
    code: /* wgsl */ `
${seriesParams(series).wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${bindings([
  ...each(series, (i) => `read> g${i}`),
  ...each(series, (i) => `read> kept${i}`),
  "read> record",
  "read_write> stack",
])}
${loadFrom("gradient", "g", series)}
${loadFrom("momentum", "kept", series)}
${findTile(series)}
@compute @workgroup_size(TILE, ${TILE_LINES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let t = findTile(group);
  let isGood = record[2] != 0.0;
  for (var line = lane.y; line < TILE; line += ${TILE_LINES}u) {
    let row = t.outerRow + line;
    let column = t.outerColumn + lane.x;
    var u = 0.0;
    if (isGood && row < t.outerRows && column < t.outerColumns) {
      let i = t.at + row * t.width + column;
      u = record[1] * gradient(t.which, i) + p.keep * momentum(t.which, i);
    }
    tile[line * (TILE + 1u) + lane.x] = u;
  }
  workgroupBarrier();
  for (var line = lane.y; line < TILE; line += ${TILE_LINES}u) {
    let row = t.row + line;
    let column = t.column + lane.x;
    if (row < p.rows && column < p.stride) {
      let i = select(line * (TILE + 1u) + lane.x, lane.x * (TILE + 1u) + line, t.isTall);
      stack[t.stackAt + row * p.stride + column] = tile[i];
    }
  }
}`,
  }),
);

export const applyKernel = kept(
  (series): WebGpuKernel => ({
    label: `muon apply to ${series}`,
    code: /* wgsl */ `
${seriesParams(series).wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${bindings([...each(series, (i) => `read_write> w${i}`), "read> record", "read> stack"])}
${loadFrom("weight", "w", series)}
${storeTo("put", "w", series)}
${findTile(series)}
@compute @workgroup_size(TILE, ${TILE_LINES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let t = findTile(group);
  for (var line = lane.y; line < TILE; line += ${TILE_LINES}u) {
    let row = t.row + line;
    let column = t.column + lane.x;
    var x = 0.0;
    if (row < p.rows && column < p.columns) { x = stack[t.stackAt + row * p.stride + column]; }
    tile[line * (TILE + 1u) + lane.x] = x;
  }
  workgroupBarrier();
  if (record[2] == 0.0) { return; }
  for (var line = lane.y; line < TILE; line += ${TILE_LINES}u) {
    let row = t.outerRow + line;
    let column = t.outerColumn + lane.x;
    if (row < t.outerRows && column < t.outerColumns) {
      let x = tile[select(line * (TILE + 1u) + lane.x, lane.x * (TILE + 1u) + line, t.isTall)];
      let i = t.at + row * t.width + column;
      let before = weight(t.which, i);
      put(t.which, i, before - (t.rate * x + t.loss * before));
    }
  }
}`,
  }),
);

/** `slices` of `slice` numbers each are a matrix of `size` numbers. */
export const normParams = params({ size: "u32", slice: "u32", slices: "u32" });

const NORM_LANES = 256;

/** WGSL that leaves the lanes' sum, or largest number, with all of them. */
const together = (name: string, both: string): string => /* wgsl */ `
fn ${name}(lane: u32, value: f32) -> f32 {
  workgroupBarrier();
  lanes[lane] = value;
  workgroupBarrier();
  for (var half = ${NORM_LANES / 2}u; half > 0u; half /= 2u) {
    if (lane < half) { let a = lanes[lane]; let b = lanes[lane + half]; lanes[lane] = ${both}; }
    workgroupBarrier();
  }
  return lanes[0];
}`;

const reductions = /* wgsl */ `
var<workgroup> lanes: array<f32, ${NORM_LANES}>;
${together("largest", "max(a, b)")}
${together("total", "a + b")}`;

export const normsKernel: WebGpuKernel = {
  label: "muon norms",
  code: /* wgsl */ `
${normParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${bindings(["read> stack", "read_write> norms"])}   // norms: [matrices, slices, 2]
${reductions}
@compute @workgroup_size(${NORM_LANES})   // one workgroup a slice of a matrix
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let first = group.y * p.size + group.x * p.slice;
  let last = min(first + p.slice, (group.y + 1u) * p.size);
  var most = 0.0;
  for (var i = first + lane; i < last; i += ${NORM_LANES}u) { most = max(most, abs(stack[i])); }
  most = largest(lane, most);
  // Relative to the largest: squares of small gradients would vanish.
  let unit = select(most, 1.0, most == 0.0);
  var sum = 0.0;
  for (var i = first + lane; i < last; i += ${NORM_LANES}u) {
    let u = stack[i] / unit;
    sum += u * u;
  }
  sum = total(lane, sum);
  if (lane == 0u) {
    let at = 2u * (group.y * p.slices + group.x);
    norms[at] = most;
    norms[at + 1u] = sum;
  }
}`,
};

export const normaliseKernel: WebGpuKernel = {
  label: "muon normalise",
  code: /* wgsl */ `
${normParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${bindings(["read> norms", "read_write> stack"])}
${reductions}
@compute @workgroup_size(${NORM_LANES})   // one workgroup a slice of a matrix; each adds the matrix's slices up
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = 2u * group.y * p.slices;
  var most = 0.0;
  for (var i = lane; i < p.slices; i += ${NORM_LANES}u) { most = max(most, norms[at + 2u * i]); }
  most = largest(lane, most);
  let unit = select(most, 1.0, most == 0.0);
  var sum = 0.0;
  for (var i = lane; i < p.slices; i += ${NORM_LANES}u) {
    let share = norms[at + 2u * i] / unit;
    sum += norms[at + 2u * i + 1u] * share * share;
  }
  let norm = max(1e-7, sqrt(total(lane, sum)));   // at least 1, or all are zero
  let first = group.y * p.size + group.x * p.slice;
  let last = min(first + p.slice, (group.y + 1u) * p.size);
  for (var i = first + lane; i < last; i += ${NORM_LANES}u) { stack[i] = stack[i] / unit / norm; }
}`,
};

/** Bindings that are made use of, if a device has as many. */
const MOST = 17;

export function muonVariants(): WebGpuKernel[] {
  const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);
  return [
    ...upTo(momentumTensors(MOST)).map(momentumKernel),
    ...upTo(gatherSeries(MOST)).map(gatherKernel),
    ...upTo(applySeries(MOST)).map(applyKernel),
    ...[normsKernel, normaliseKernel],
  ];
}
