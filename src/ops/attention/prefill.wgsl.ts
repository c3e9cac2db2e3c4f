/**
 * WebGPU kernel of attention for many tokens: a tile of 32 queries of one or two heads against a page of 64 keys at a time.
 *
 * Both products are tiled: a thread has the scores of four queries a head and four keys, and sums of the same queries in one
 * to four vec4 of channels. Operands pass through workgroup memory in pieces, the next one under way while one is used:
 * queries and keys 16 channels at a time, then probabilities and values 16 keys at a time. Two heads of a group share keys,
 * values and 16 KiB of workgroup memory at any head size. All loops around barriers have bounds from read-only buffers at
 * indices of the workgroup, so control flow is uniform.
 */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";
import { QUERY_TILE } from "../step/layout.js";
import { PAGE_TOKENS } from "./kv-pages.js";
import { type KvStore, kvUnit } from "./kv-pages.wgsl.js";
import { segmentBindings, segmentFields } from "./segments.wgsl.js";

export interface PrefillVariant {
  readonly store: KvStore;
  readonly headDim: number;
  /** Query heads of a workgroup, all of one key/value head. */
  readonly heads: 1 | 2;
  /** Segments that the launch binds. */
  readonly segments: number;
  /** Several launches: sums are carried from one to the next in `out` and `state`. */
  readonly carry: boolean;
}

/** Two heads, where the group has an even number, and as long as their sums fit the registers. */
export function prefillHeads(headDim: number, headsPerKvHead: number): 1 | 2 {
  return headsPerKvHead % 2 === 0 && headDim <= 128 ? 2 : 1;
}

export const prefillParams = (segments: number) =>
  params({
    heads: "u32",
    kvHeads: "u32",
    pagesPerSlot: "u32",
    /** Positions that a token sees, itself included. */
    window: "i32",
    scale: "f32",
    isFirst: "u32",
    isLast: "u32",
    ...segmentFields(segments),
  });

/** A vec4 of a piece of queries for each. */
const THREADS = 128;
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/**
 * Buffers: qkv, pageTable, rows, tiles, out, `state` [T, H] (maximum, sum) where sums are carried, then keys and values of each
 * segment. Grid: [H / heads, tiles].
 *
 * Thread (ty, tx) has queries 4 ty … 4 ty + 3 of each head, keys tx + 16 j, channels 4 tx … 4 tx + 3, then those 64 further.
 */
export function prefillKernel(v: PrefillVariant): WebGpuKernel {
  const unit = kvUnit(v.store, v.headDim);
  const unitQuads = unit.channels / 4;
  const d4 = v.headDim / 4;
  const pieceQuads = Math.min(4, d4);
  const line = pieceQuads | 1;
  const turned = 8 * v.heads + 1;
  // Keys of a piece of values: what fits 12 KiB.
  const pieceKeys = d4 > 48 ? 8 : 16;
  const heads = range(v.heads);
  const four = range(4);
  const columns = range(Math.ceil(d4 / 16));
  const results = heads.flatMap((h) => four.map((r) => ({ h, r, name: `${h}_${r}` })));
  const keyUnits = range(Math.ceil((PAGE_TOKENS * pieceQuads) / unitQuads / THREADS));
  const valueUnits = range(Math.ceil((pieceKeys * d4) / unitQuads / THREADS));
  const column = (n: number) => (d4 >= 16 * (n + 1) ? `tx + ${16 * n}u` : `min(tx + ${16 * n}u, D4 - 1u)`);
  const loadNext = (quad: string) => `
${heads.map((h) => `      query${h} = loadQuery(first, count, firstHead + ${h}u, stagedQuery, ${quad} + stagedQuad);`).join("\n")}
${keyUnits.map((e) => `      key${e} = loadKey(segment, pageRow, firstKey, endKey, thread + ${e * THREADS}u, ${quad});`).join("\n")}`;
  const loadValues = (key: string) =>
    valueUnits
      .map((e) => `    value${e} = loadValue(segment, pageRow, firstKey, endKey, thread + ${e * THREADS}u, ${key});`)
      .join("\n");
  const load = (name: "keys" | "values") =>
    v.segments === 1
      ? `  return ${name}0[at];`
      : `  switch segment {
${range(v.segments - 1)
  .map((i) => `    case ${i + 1}u: { return ${name}${i + 1}[at]; }`)
  .join("\n")}
    default: { return ${name}0[at]; }
  }`;
  return {
    label: `attention prefill ${v.store} D=${v.headDim} heads=${v.heads}${v.segments > 1 ? ` segments=${v.segments}` : ""}${v.carry ? " carry" : ""}`,
    code: /* wgsl */ `
const D4 = ${d4}u;                 // vec4 of a head
const UNITS = ${v.headDim / unit.channels}u;          // loads of a key
const HEADS = ${v.heads}u;
const QUERIES = ${QUERY_TILE}u;
const PAGE = ${PAGE_TOKENS}u;
const QUADS = ${pieceQuads}u;               // of a piece of queries or keys
const LINE = ${line}u;                // an odd number of vec4, so that lines lie in different banks
const TURNED = ${turned}u;            // of what lies with queries side by side
const PIECE_KEYS = ${pieceKeys}u;       // of a piece of values
const NOTHING = -1e30;          // below every score; never goes through exp against a real maximum
${prefillParams(v.segments).wgsl}
${unit.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;        // [T, H + 2G, D]
@group(0) @binding(2) var<storage, read> pageTable: array<i32>;    // [slots, pagesPerSlot]
@group(0) @binding(3) var<storage, read> rows: array<vec4i>;       // first token, count, slot, past
@group(0) @binding(4) var<storage, read> tiles: array<vec2i>;      // row, first token
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;  // [T, H, D]
${v.carry ? "@group(0) @binding(6) var<storage, read_write> state: array<vec2f>;  // [T, H]: maximum, sum" : ""}
${segmentBindings(v.segments, v.carry ? 7 : 6, "KvUnit")}

var<workgroup> x: array<vec4f, ${Math.max(QUERY_TILE * v.heads * line, 16 * turned)}>;   // queries [head, query % 4, query / 4, QUADS]: those read together lie in different banks; maxima, probabilities [key, head, 4 queries]
var<workgroup> y: array<vec4f, ${Math.max(PAGE_TOKENS * line, pieceKeys * d4)}>;   // keys [key, QUADS]; values [key, D4]

fn keyAt(segment: u32, at: u32) -> KvUnit {
${load("keys")}
}
fn valueAt(segment: u32, at: u32) -> KvUnit {
${load("values")}
}
fn loadQuery(first: u32, count: u32, head: u32, query: u32, c: u32) -> vec4f {
  if (query >= count || c >= D4) { return vec4f(); }
  return p.scale * qkv[((first + query) * (p.heads + 2u * p.kvHeads) + head) * D4 + c];
}
// Number n of a piece of keys; zeros for keys that no query of the tile sees, as theirs may hold anything, and 0 · NaN is NaN.
fn loadKey(segment: u32, pageRow: u32, firstKey: u32, endKey: u32, n: u32, quad: u32) -> KvUnit {
  let key = n / (QUADS / ${unitQuads}u);
  let c = quad / ${unitQuads}u + n % (QUADS / ${unitQuads}u);
  if (key < firstKey || key >= endKey || c >= UNITS) { return KvUnit(); }
  return keyAt(segment, (pageRow + key) * UNITS + c);
}
// The same of values, from a key on.
fn loadValue(segment: u32, pageRow: u32, firstKey: u32, endKey: u32, n: u32, start: u32) -> KvUnit {
  let key = start + n / UNITS;
  if (n >= PIECE_KEYS * UNITS || key < firstKey || key >= endKey) { return KvUnit(); }
  return valueAt(segment, (pageRow + key) * UNITS + n % UNITS);
}
${
  v.carry
    ? `
fn carried(first: u32, count: u32, query: u32, head: u32) -> vec2f {
  if (query >= count) { return vec2f(NOTHING, 0.0); }
  return state[(first + query) * p.heads + head];
}
fn unfinished(first: u32, count: u32, query: u32, head: u32, c: u32) -> vec4f {
  if (query >= count || c >= D4) { return vec4f(); }
  return out[((first + query) * p.heads + head) * D4 + c];
}`
    : ""
}

@compute @workgroup_size(${THREADS})
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32,
) {
  let ty = thread / 16u;
  let tx = thread % 16u;
  // Late tiles see more keys: they begin first, so that none is left over at the end.
  let tile = tiles[groups.y - 1u - group.y];
  let row = rows[tile.x];
  let firstHead = group.x * HEADS;
  let kvHead = firstHead / (p.heads / p.kvHeads);
  let first = u32(tile.y);
  let count = min(QUERIES, u32(row.x + row.y) - first);
  let position = row.w + tile.y - row.x;               // of the tile's first query
  let lastPosition = position + i32(count) - 1;
  let firstPosition = max(position - p.window + 1, 0);
  let stagedQuery = thread / QUADS;
  let stagedQuad = thread % QUADS;
  let queryPosition = vec4i(position + i32(ty) * 4) + vec4i(0, 1, 2, 3);

${heads
  .map(
    (
      h,
    ) => `  var best${h} = vec4f(NOTHING);    // running maximum of the four queries; the same in all sixteen threads of ty
  var sum${h} = vec4f();            // of the probabilities of this thread's keys`,
  )
  .join("\n")}
${results.flatMap(({ name }) => columns.map((n) => `  var acc${name}_${n} = vec4f();`)).join("\n")}
${
  v.carry
    ? `
  if (p.isFirst == 0u) {
${results
  .map(
    ({ h, r, name }) => `    {
      let carried = carried(first, count, ty * 4u + ${r}u, firstHead + ${h}u);
      best${h}[${r}] = carried.x;
      sum${h}[${r}] = select(0.0, carried.y, tx == 0u);
${columns.map((n) => `      acc${name}_${n} = unfinished(first, count, ty * 4u + ${r}u, firstHead + ${h}u, tx + ${16 * n}u);`).join("\n")}
    }`,
  )
  .join("\n")}
  }`
    : ""
}

  var index = firstPosition / i32(PAGE);
  let lastIndex = select(index - 1, lastPosition / i32(PAGE), row.z >= 0);   // a dead row sees nothing
  for (; index <= lastIndex; index++) {
    let page = pageTable[u32(row.z) * p.pagesPerSlot + u32(index)];
    if (!isHeld(page)) { continue; }     // in another launch
    let segment = segmentOf(page);
    let pageRow = (pageIn(page) * p.kvHeads + kvHead) * PAGE;
    let start = index * i32(PAGE);
    let firstKey = u32(max(firstPosition - start, 0));
    let endKey = u32(min(lastPosition + 1 - start, i32(PAGE)));

${results.map(({ name }) => `    var s${name} = vec4f();     // of keys tx + 16 j`).join("\n")}
${heads.map((h) => `    var query${h}: vec4f;`).join("\n")}
${keyUnits.map((e) => `    var key${e}: KvUnit;`).join("\n")}
    {${loadNext("0u")}
    }
    for (var quad = 0u; quad < D4; quad += QUADS) {
      workgroupBarrier();
      if (stagedQuery < QUERIES) {
${heads.map((h) => `        x[(${h}u * QUERIES + stagedQuery % 4u * 8u + stagedQuery / 4u) * LINE + stagedQuad] = query${h};`).join("\n")}
      }
${keyUnits
  .map((e) => {
    const n = `(thread + ${e * THREADS}u)`;
    const perKey = pieceQuads / unitQuads;
    const stores = range(unitQuads).map(
      (j) => `y[${n} / ${perKey}u * LINE + ${n} % ${perKey}u * ${unitQuads}u + ${j}u] = widen${j}(key${e});`,
    );
    return `      if (${n} < PAGE * ${perKey}u) { ${stores.join(" ")} }`;
  })
  .join("\n")}
      workgroupBarrier();
      if (quad + QUADS < D4) {${loadNext("quad + QUADS")}
      }
      for (var c = 0u; c < QUADS; c++) {
${four.map((j) => `        let k${j} = y[(tx + ${16 * j}u) * LINE + c];`).join("\n")}
${four.map((e) => `        let turned${e} = vec4f(k0[${e}], k1[${e}], k2[${e}], k3[${e}]);`).join("\n")}
${results
  .map(
    ({ h, r, name }) => `        let q${name} = x[(${h}u * QUERIES + ${8 * r}u + ty) * LINE + c];
${four.map((e) => `        s${name} = fma(vec4f(q${name}[${e}]), turned${e}, s${name});`).join("\n")}`,
  )
  .join("\n")}
      }
    }
${valueUnits.map((e) => `    var value${e}: KvUnit;`).join("\n")}
${loadValues("0u")}

    // Which of the keys each query sees; hidden ones count nowhere.
    let keyPosition = vec4i(start + i32(tx)) + vec4i(0, 16, 32, 48);
${four.map((r) => `    let visible${r} = (keyPosition <= vec4i(queryPosition[${r}])) & (keyPosition > vec4i(queryPosition[${r}] - p.window));`).join("\n")}
${results.map(({ r, name }) => `    s${name} = select(vec4f(NOTHING), s${name}, visible${r});`).join("\n")}
    workgroupBarrier();
${heads
  .map((h) => {
    const most = four.map((r) => {
      const s = `s${h}_${r}`;
      return `max(max(${s}.x, ${s}.y), max(${s}.z, ${s}.w))`;
    });
    return `    x[tx * TURNED + ${8 * h}u + ty] = vec4f(${most.join(", ")});`;
  })
  .join("\n")}
    workgroupBarrier();
${heads.map((h) => `    var next${h} = best${h};`).join("\n")}
    for (var i = 0u; i < 16u; i++) {
${heads.map((h) => `      next${h} = max(next${h}, x[i * TURNED + ${8 * h}u + ty]);`).join("\n")}
    }
${heads
  .map(
    (h) => `    let shrink${h} = exp(best${h} - next${h});
    best${h} = next${h};
    sum${h} *= shrink${h};`,
  )
  .join("\n")}
${results
  .map(
    ({ h, r, name }) => `    s${name} = select(vec4f(), exp(s${name} - vec4f(best${h}[${r}])), visible${r});
    sum${h}[${r}] += dot(s${name}, vec4f(1.0));
${columns.map((n) => `    acc${name}_${n} *= shrink${h}[${r}];`).join("\n")}`,
  )
  .join("\n")}

${range(PAGE_TOKENS / pieceKeys)
  .map((n) => {
    const begin = n * pieceKeys;
    const j = Math.floor(begin / 16);
    const stores = heads.map(
      (h) => `x[tx % PIECE_KEYS * TURNED + ${8 * h}u + ty] = vec4f(${four.map((r) => `s${h}_${r}[${j}]`).join(", ")});`,
    );
    const stage =
      pieceKeys === 16
        ? stores.join(" ")
        : `if (tx / PIECE_KEYS == ${(begin % 16) / pieceKeys}u) { ${stores.join(" ")} }`;
    return `
    if (endKey > ${begin}u) {
      workgroupBarrier();
      ${stage}
${valueUnits
  .map((e) => {
    const at = `(thread + ${e * THREADS}u)`;
    const writes = range(unitQuads).map((k) => `y[${at} * ${unitQuads}u + ${k}u] = widen${k}(value${e});`);
    return `      if (${at} < PIECE_KEYS * UNITS) { ${writes.join(" ")} }`;
  })
  .join("\n")}
      workgroupBarrier();
${begin + pieceKeys < PAGE_TOKENS ? loadValues(`${begin + pieceKeys}u`) : ""}
      for (var key = 0u; key < PIECE_KEYS; key++) {
${heads.map((h) => `        let p${h} = x[key * TURNED + ${8 * h}u + ty];`).join("\n")}
${columns.map((c) => `        let v${c} = y[key * D4 + ${column(c)}];`).join("\n")}
${results.flatMap(({ h, r, name }) => columns.map((c) => `        acc${name}_${c} = fma(vec4f(p${h}[${r}]), v${c}, acc${name}_${c});`)).join("\n")}
      }
    }`;
  })
  .join("\n")}
  }

  workgroupBarrier();
${heads.map((h) => `  x[tx * TURNED + ${8 * h}u + ty] = sum${h};`).join("\n")}
  workgroupBarrier();
${heads
  .map(
    (h) => `  var total${h} = vec4f();
  for (var i = 0u; i < 16u; i++) { total${h} += x[i * TURNED + ${8 * h}u + ty]; }
  var factor${h} = select(vec4f(), 1.0 / total${h}, total${h} > vec4f());
${v.carry ? `  if (p.isLast == 0u) { factor${h} = vec4f(1.0); }` : ""}`,
  )
  .join("\n")}
${results
  .map(
    ({ h, r, name }) => `  if (ty * 4u + ${r}u < count) {
    let line = (first + ty * 4u + ${r}u) * p.heads + firstHead + ${h}u;
${v.carry ? `    if (tx == 0u) { state[line] = vec2f(best${h}[${r}], total${h}[${r}]); }` : ""}
${columns
  .map((n) => {
    const store = `out[line * D4 + tx + ${16 * n}u] = acc${name}_${n} * factor${h}[${r}];`;
    return `    ${d4 >= 16 * (n + 1) ? store : `if (tx + ${16 * n}u < D4) { ${store} }`}`;
  })
  .join("\n")}
  }`,
  )
  .join("\n")}
}`,
  };
}
