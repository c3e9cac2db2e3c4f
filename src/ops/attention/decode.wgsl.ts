/**
 * WebGPU kernel of attention in decode steps: one query a row, a share of its context a workgroup.
 *
 * LANES neighbouring threads take a key together, each the same channels of q, of the key, of the value and of the sum, 16
 * bytes at a time. Their parts of the scores meet by subgroup shuffles (or in workgroup memory, two barriers a block), and
 * each such team keeps a running maximum of its own: teams meet once, at the end. All query heads of GROUP share each load.
 *
 * A block is what a workgroup takes at a time: ROWS keys of each team, side by side in memory, all loads under way at once.
 */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";
import { PAGE_TOKENS } from "./kv-pages.js";
import { type KvStore, kvUnit } from "./kv-pages.wgsl.js";
import { inSegment, segmentBindings, segmentFields } from "./segments.wgsl.js";

export interface DecodeVariant extends DecodeShape {
  readonly store: KvStore;
  readonly headDim: number;
  /** Query heads of one key/value head that a workgroup takes together: a divisor of H / G. */
  readonly group: number;
  /** The context is shared out: results are parts for `combine`. */
  readonly split: boolean;
  /** Segments that the launch binds. */
  readonly segments: number;
  /** There are more of them, for other launches: workgroups look first which blocks of their share are here. */
  readonly partial: boolean;
}

/** How threads share a block of keys. All powers of two. */
export interface DecodeShape {
  /** Threads of a team; at most the smallest subgroup where there are subgroups, and at least `group`. */
  readonly lanes: number;
  /** Keys of a team in a block. */
  readonly rows: number;
  readonly workgroup: number;
  /** The smallest subgroup that the device may form; 0: there are none. */
  readonly subgroup: number;
}

/** Query heads that a workgroup takes at most: their sums are in registers. */
const MOST_HEADS = 8;
const WORKGROUP = 128;
/** Loads that a thread has under way, of keys and of values, mostly 16 bytes each. */
const UNITS_AT_ONCE = 8;
/** Workgroup memory for the teams' sums of one head, bytes. */
const MERGE_BYTES = 8192;

/** @param smallestSubgroup 0: there are none. */
export function decodeGroup(headsPerKvHead: number, smallestSubgroup: number): number {
  let group = Math.min(headsPerKvHead, MOST_HEADS, smallestSubgroup || MOST_HEADS);
  while (headsPerKvHead % group !== 0) group -= 1;
  return group;
}

/** The shape for a head size, made for the whole warp of a big GPU; smaller subgroups get longer lanes. */
export function decodeShape(store: KvStore, headDim: number, group: number, smallestSubgroup: number): DecodeShape {
  const subgroups = smallestSubgroup > 0;
  const { channels } = kvUnit(store, headDim);
  const heads = powerOfTwo(group);
  // Eight channels of a thread are what fits its registers for eight heads.
  const wanted = Math.max(powerOfTwo(headDim / 8), heads, 2);
  const lanes = Math.min(wanted, subgroups ? smallestSubgroup : 32);
  const perLane = Math.ceil(headDim / channels / lanes);
  // The sums of all teams, one head at a time, in workgroup memory.
  let workgroup = WORKGROUP;
  while (workgroup > lanes && (workgroup / lanes) * headDim * 4 > MERGE_BYTES) workgroup /= 2;
  const teams = workgroup / lanes;
  const mostRows = subgroups ? UNITS_AT_ONCE : Math.max(1, 16 / heads); // or: partial scores in workgroup memory
  let rows = 1;
  while (rows * 2 <= mostRows && rows * 2 * perLane <= UNITS_AT_ONCE && rows * 2 * teams <= PAGE_TOKENS) rows *= 2;
  return { lanes, rows, workgroup, subgroup: smallestSubgroup };
}

export function powerOfTwo(atLeast: number): number {
  let n = 1;
  while (n < atLeast) n *= 2;
  return n;
}

/** Keys of a block: a page holds a whole number of blocks. */
export const decodeKeys = (v: DecodeShape): number => (v.workgroup / v.lanes) * v.rows;

export const decodeParams = (segments: number) =>
  params({
    tokens: "u32",
    heads: "u32",
    kvHeads: "u32",
    pagesPerSlot: "u32",
    window: "i32",
    splits: "u32",
    /** Where this launch's parts begin. */
    firstPart: "u32",
    scale: "f32",
    ...segmentFields(segments),
  });

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/**
 * Buffers: qkv, pageTable, tokens, out, where the context is shared out `stats`, then keys and values of each segment. Shared
 * out, `out` holds parts [part, T, H, D], not divided by their sums, and `stats` [part, T, H] (maximum, sum); a part whose
 * sum is 0 has no numbers in `out`. Grid: [H / group, T, splits].
 */
export function decodeKernel(v: DecodeVariant): WebGpuKernel {
  const { headDim, group, lanes, rows, workgroup } = v;
  const unit = kvUnit(v.store, headDim);
  const teams = workgroup / lanes;
  // Teams of a subgroup join by shuffles before they meet the others.
  const joined = Math.max(1, Math.min(v.subgroup, workgroup) / lanes);
  const crews = teams / joined;
  const units = headDim / unit.channels;
  const perLane = Math.ceil(units / lanes);
  const quads = unit.channels / 4; // of a unit
  const heads = range(group);
  const rowList = range(rows);
  // A thread's quads: quad j of its unit i.
  const own = range(perLane).flatMap((i) => range(quads).map((j) => ({ i, j, name: `${i}_${j}` })));
  const isFull = units % lanes === 0;
  const isThere = (i: number) => isFull || (i + 1) * lanes <= units;
  const phase = Math.max(1, Math.min(group, Math.floor(MERGE_BYTES / (crews * headDim * 4))));
  const firstSegment = v.split ? 6 : 5;
  const each = (line: (r: number, i: number) => string) =>
    rowList.flatMap((r) => range(perLane).map((i) => line(r, i))).join("\n");
  /** Where a block's keys and values are. Hidden ones are read from a visible one's place: theirs may hold anything, and 0 · NaN is NaN. */
  const place = (block: string, page: string) => `
      ${v.segments > 1 ? `let segment = segmentOf(${page});` : ""}
      let pageLine = (pageIn(${page}) * p.kvHeads + kvHead) * PAGE;
      let firstKey = ${block} * i32(KEYS) + i32(team);
${rowList.map((r) => `      let line${r} = (pageLine + u32(clamp(firstKey + ${r * teams}, firstPosition, position)) % PAGE) * UNITS;`).join("\n")}`;
  const rescale = (h: number) => own.map(({ name }) => `acc${h}_${name} *= factor;`).join(" ");
  const scores = v.subgroup > 0 ? subgroupScores(v, rescale) : workgroupScores(v, rescale);
  return {
    label: `attention decode ${v.store} D=${headDim} group=${group} lanes=${lanes} rows=${rows} wg=${workgroup}${v.subgroup > 0 ? "" : " plain"}${v.split ? " split" : ""}${v.segments > 1 ? ` segments=${v.segments}` : ""}${v.partial ? " partial" : ""}`,
    code: /* wgsl */ `
${v.subgroup > 0 ? "enable subgroups;\ndiagnostic(off, subgroup_uniformity);" : ""}
const D4 = ${headDim / 4}u;
const UNITS = ${units}u;           // loads of a key
const GROUP = ${group}u;
const LANES = ${lanes}u;
const TEAMS = ${teams}u;
const JOINED = ${joined}u;          // teams of a subgroup
const CREWS = ${crews}u;
const KEYS = ${teams * rows}u;            // of a block
const WORKGROUP = ${workgroup}u;
const PAGE = ${PAGE_TOKENS}u;
const NOTHING = -1e30;          // below every score; never goes through exp against a real maximum
${decodeParams(v.segments).wgsl}
${unit.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;        // [T, H + 2G, D]
@group(0) @binding(2) var<storage, read> pageTable: array<i32>;    // [slots, pagesPerSlot]
@group(0) @binding(3) var<storage, read> tokens: array<vec4i>;     // id, position, row, slot
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
${v.split ? "@group(0) @binding(5) var<storage, read_write> stats: array<vec2f>;" : ""}
${segmentBindings(v.segments, firstSegment, "KvUnit")}

var<workgroup> queries: array<vec4f, GROUP * D4>;
${
  v.partial
    ? `var<workgroup> firstHeld: atomic<i32>;
var<workgroup> endHeld: atomic<i32>;
var<workgroup> held: vec2i;`
    : ""
}
var<workgroup> bests: array<f32, CREWS * GROUP>;
var<workgroup> sums: array<f32, CREWS * GROUP>;
var<workgroup> joints: array<vec2f, GROUP>;                        // maximum, sum
var<workgroup> merged: array<vec4f, ${phase} * CREWS * D4>;                // [head of the phase, crew, D]
${scores.memory}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32${scores.builtins}) {
  let token = id.y;
  let firstHead = id.x * GROUP;
  let kvHead = firstHead / (p.heads / p.kvHeads);
  let word = tokens[token];
  let slot = u32(max(word.w, 0));
  let position = word.y;
  let firstPosition = max(position - p.window + 1, 0);

  // This split's share of the blocks, from the true length.
  let firstBlock = firstPosition / i32(KEYS);
  let blockCount = position / i32(KEYS) + 1 - firstBlock;
  let share = (blockCount + i32(p.splits) - 1) / i32(p.splits);
  var begin = firstBlock + i32(id.z) * share;
  var end = min(begin + share, firstBlock + blockCount);
  if (word.w < 0) { end = begin; }
  let tableLine = slot * p.pagesPerSlot;
${
  v.partial
    ? `  if (thread == 0u) {
    atomicStore(&firstHeld, end);
    atomicStore(&endHeld, begin);
  }
  workgroupBarrier();
  for (var block = begin + i32(thread); block < end; block += i32(WORKGROUP)) {
    if (isHeld(pageTable[tableLine + u32(block) * KEYS / PAGE])) {
      atomicMin(&firstHeld, block);
      atomicMax(&endHeld, block + 1);
    }
  }
  workgroupBarrier();
  if (thread == 0u) { held = vec2i(atomicLoad(&firstHeld), atomicLoad(&endHeld)); }
  let bounds = workgroupUniformLoad(&held);
  begin = bounds.x;
  end = bounds.y;`
    : ""
}
  let result = token * p.heads + firstHead;
${v.split ? "  let part = (p.firstPart + id.z) * p.tokens * p.heads + result;" : ""}
  if (begin >= end) {
${
  v.split
    ? "    if (thread < GROUP) { stats[part + thread] = vec2f(NOTHING, 0.0); }"
    : "    for (var i = thread; i < GROUP * D4; i += WORKGROUP) { out[result * D4 + i] = vec4f(0.0); }"
}
    return;
  }

${scores.team}
${range(perLane)
  .map((i) => `  let unit${i} = ${isFull ? `lane + ${i * lanes}u` : `min(lane + ${i * lanes}u, UNITS - 1u)`};`)
  .join("\n")}
  let queryLine = (token * (p.heads + 2u * p.kvHeads) + firstHead) * D4;
  for (var i = thread; i < GROUP * D4; i += WORKGROUP) { queries[i] = p.scale * qkv[queryLine + i]; }
  workgroupBarrier();
${heads.flatMap((h) => own.map(({ name }) => `  var acc${h}_${name} = vec4f(0.0);`)).join("\n")}
  var best = NOTHING;             // of this thread's head
  var sum = 0.0;

  // Keys are loaded a block ahead: loads are under way while the block before is computed.
  var page = pageTable[tableLine + u32(begin) * KEYS / PAGE];
  var nextPage = pageTable[tableLine + u32(min(begin + 1, end - 1)) * KEYS / PAGE];
${each((r, i) => `  var next${r}_${i}: KvUnit;`)}
  {
${place("begin", "page")}
    ${inSegment(v.segments, (s) => each((r, i) => `    next${r}_${i} = keys${s}[line${r} + unit${i}];`))}
  }
  for (var block = begin; block < end; block++) {
    let isHere = isHeld(page);     // or in another launch
    let start = block * i32(KEYS);
${each((r, i) => `    let key${r}_${i} = next${r}_${i};`)}
${each((r, i) => `    var value${r}_${i}: KvUnit;`)}
    if (isHere) {
${place("block", "page")}
      ${inSegment(v.segments, (s) => each((r, i) => `      value${r}_${i} = values${s}[line${r} + unit${i}];`))}
    }
    page = nextPage;
    nextPage = pageTable[tableLine + u32(min(block + 2, end - 1)) * KEYS / PAGE];
    if (isHeld(page)) {
${place("min(block + 1, end - 1)", "page")}
      ${inSegment(v.segments, (s) => each((r, i) => `      next${r}_${i} = keys${s}[line${r} + unit${i}];`))}
    }
    if (!isHere) { continue; }
${rowList.flatMap((r) => own.map(({ i, j, name }) => `    let k${r}_${name} = widen${j}(key${r}_${i});`)).join("\n")}
${heads
  .flatMap((h) => [
    ...own.map(({ i, j, name }) => {
      const load = `queries[${h}u * D4 + ${quads}u * unit${i} + ${j}u]`;
      const query = isThere(i) ? load : `select(vec4f(0.0), ${load}, lane + ${i * lanes}u < UNITS)`;
      return `    let q${h}_${name} = ${query};`;
    }),
    ...rowList.map(
      (r) => `    let d${r}_${h} = ${dotProduct(own.map(({ name }) => [`q${h}_${name}`, `k${r}_${name}`]))};`,
    ),
  ])
  .join("\n")}
${scores.block}
${rowList
  .map((r) => {
    const widened = own.map(({ i, j, name }) => `    let v${r}_${name} = widen${j}(value${r}_${i});`);
    const sums = heads.map(
      (h) =>
        `    let w${r}_${h} = ${scores.probability(r, h)};
${own.map(({ name }) => `    acc${h}_${name} = fma(vec4f(w${r}_${h}), v${r}_${name}, acc${h}_${name});`).join("\n")}`,
    );
    return [...widened, ...sums].join("\n");
  })
  .join("\n")}
  }

  // The teams' sums, brought to a joint maximum.
${scores.own}
${scores.join(joined, (h) => own.map(({ name }) => `acc${h}_${name}`))}
  let crew = team / JOINED;
  let isFirst = team % JOINED == 0u;
  if (isOwner && isFirst) {
    bests[crew * GROUP + ownHead] = best;
    sums[crew * GROUP + ownHead] = sum;
  }
  workgroupBarrier();
  if (thread < GROUP) {
    var joint = NOTHING;
    for (var t = 0u; t < CREWS; t++) { joint = max(joint, bests[t * GROUP + thread]); }
    var total = 0.0;
    for (var t = 0u; t < CREWS; t++) { total += sums[t * GROUP + thread] * exp(bests[t * GROUP + thread] - joint); }
    joints[thread] = vec2f(joint, total);
${v.split ? "    stats[part + thread] = vec2f(joint, total);" : ""}
  }
  workgroupBarrier();
${range(Math.ceil(group / phase))
  .map((n) => {
    const inPhase = heads.slice(n * phase, (n + 1) * phase);
    const writes = inPhase.map((h, place) => {
      const stores = own.map(({ i, j, name }) => {
        const store = `merged[(${place}u * CREWS + crew) * D4 + ${quads}u * unit${i} + ${j}u] = weight * acc${h}_${name};`;
        return `    ${isThere(i) ? store : `if (lane + ${i * lanes}u < UNITS) { ${store} }`}`;
      });
      return `  if (isFirst) {
    let weight = exp(bests[crew * GROUP + ${h}u] - joints[${h}u].x);
${stores.join("\n")}
  }`;
    });
    const value = v.split
      ? "out[part * D4 + at] = result4;"
      : `let total = joints[${n * phase}u + i / D4].y;
    out[result * D4 + at] = result4 * select(0.0, 1.0 / total, total > 0.0);`;
    return `${n > 0 ? "  workgroupBarrier();\n" : ""}${writes.join("\n")}
  workgroupBarrier();
  for (var i = thread; i < ${inPhase.length}u * D4; i += WORKGROUP) {
    var result4 = vec4f(0.0);
    for (var t = 0u; t < CREWS; t++) { result4 += merged[(i / D4 * CREWS + t) * D4 + i % D4]; }
    let at = ${n * phase}u * D4 + i;
    ${value}
  }`;
  })
  .join("\n")}
}`,
  };
}

/** The part of the kernel between products of channels and probabilities. */
interface Scores {
  readonly memory: string;
  /** More parameters of main. */
  readonly builtins: string;
  /** `team` and `lane` of the thread. */
  readonly team: string;
  /** From d{row}_{head}, a lane's part of the scores, to probabilities and sums brought to a new maximum. */
  readonly block: string;
  readonly probability: (row: number, head: number) => string;
  /** `isOwner`, `ownHead`: the threads that have a team's maximum and sum, one for each head. */
  readonly own: string;
  /** The sums of the teams of a subgroup, all to the first of them. */
  readonly join: (teams: number, sums: (head: number) => string[]) => string;
}

/** A chain of multiply-adds: one instruction fewer than a sum of dot products. */
function dotProduct(pairs: readonly (readonly [string, string])[]): string {
  return pairs
    .flatMap(([a, b]) => ["x", "y", "z", "w"].map((e) => [`${a}.${e}`, `${b}.${e}`] as const))
    .reduce((sum, [a, b]) => (sum === "" ? `${a} * ${b}` : `fma(${a}, ${b}, ${sum})`), "");
}

/**
 * A team adds up its parts of up to LANES scores together: in each round a lane hands half of them to its partner and gets
 * the partner's parts of the other half. In the end lane n·SPREAD … has score n = row · HEADS + head of a set of rows, and it
 * alone computes that one's probability.
 */
function subgroupScores({ group, lanes, rows }: DecodeVariant, rescale: (head: number) => string): Scores {
  const heads = powerOfTwo(group);
  const setRows = Math.min(rows, lanes / heads);
  const sets = rows / setRows;
  const slots = setRows * heads;
  const spread = lanes / slots;
  const lines: string[] = [];
  for (const set of range(sets)) {
    let list = range(slots).map((n) =>
      n % heads < group ? `d${set * setRows + Math.floor(n / heads)}_${n % heads}` : "0.0",
    );
    for (let distance = lanes / 2; distance >= 1; distance /= 2) {
      const half = list.length / 2;
      const name = (n: number) => `s${set}_${distance}_${n}`;
      if (list.length > 1) {
        list = range(half).map((n) => {
          const [low, high] = [list[n] ?? "0.0", list[n + half] ?? "0.0"];
          if (low === "0.0" && high === "0.0") return "0.0";
          lines.push(
            `    let ${name(n)} = select(${low}, ${high}, upper${distance}) + subgroupShuffleXor(select(${high}, ${low}, upper${distance}), ${distance}u);`,
          );
          return name(n);
        });
      } else {
        lines.push(`    let ${name(0)} = ${list[0]} + subgroupShuffleXor(${list[0]}, ${distance}u);`);
        list = [name(0)];
      }
    }
    lines.push(
      `    let key${set} = start + i32((${set * setRows}u + ownRow) * TEAMS + team);
    let visible${set} = key${set} >= firstPosition && key${set} <= position;
    let score${set} = select(NOTHING, ${list[0]}, visible${set});`,
    );
  }
  const rowDistances: number[] = [];
  for (let d = lanes / 2; d >= spread * heads; d /= 2) rowDistances.push(d);
  const setList = range(sets);
  const best = setList.reduce((text, set) => `max(${text}, score${set})`, "best");
  return {
    memory: "",
    builtins: `,
  @builtin(subgroup_invocation_id) subgroupLane: u32, @builtin(subgroup_size) subgroupSize: u32, @builtin(subgroup_id) subgroup: u32,
`,
    team: `
  let lane = subgroupLane % LANES;
  let team = subgroup * (subgroupSize / LANES) + subgroupLane / LANES;
  let firstLane = subgroupLane - lane;
  let ownHead = lane / ${spread}u % ${heads}u;
  let ownRow = lane / ${spread * heads}u;
${powers(lanes)
  .map((d) => `  let upper${d} = (lane & ${d}u) != 0u;`)
  .join("\n")}`,
    block: `${lines.join("\n")}
    var next = ${best};
${rowDistances.map((d) => `    next = max(next, subgroupShuffleXor(next, ${d}u));`).join("\n")}
    // Seldom after the first blocks.
    if (subgroupAny(next > best)) {
      let shrink = exp(best - next);
      best = next;
      sum *= shrink;
${range(group)
  .map(
    (h) => `      {
        let factor = subgroupShuffle(shrink, firstLane + ${h * spread}u);
        ${rescale(h)}
      }`,
  )
  .join("\n")}
    }
${setList.map((set) => `    let probability${set} = select(0.0, exp(score${set} - best), visible${set});`).join("\n")}
    sum += ${setList.map((set) => `probability${set}`).join(" + ")};`,
    probability: (row, head) => {
      const n = (row % setRows) * heads + head;
      return `subgroupShuffle(probability${Math.floor(row / setRows)}, firstLane + ${n * spread}u)`;
    },
    own: `${rowDistances.map((d) => `  sum += subgroupShuffleXor(sum, ${d}u);`).join("\n")}
  let isOwner = ownRow == 0u && lane % ${spread}u == 0u && ownHead < GROUP;`,
    join: (teams, sums) => {
      const distances = powers(teams * lanes).filter((d) => d >= lanes);
      if (distances.length === 0) return "";
      return `
  var joint = best;
${distances.map((d) => `  joint = max(joint, subgroupShuffleXor(joint, ${d}u));`).join("\n")}
  let toJoint = exp(best - joint);
  best = joint;
  sum *= toJoint;
${distances.map((d) => `  sum += subgroupShuffleXor(sum, ${d}u);`).join("\n")}
${range(group)
  .map(
    (h) => `  {
    let factor = subgroupShuffle(toJoint, firstLane + ${h * spread}u);
${sums(h)
  .flatMap((name) => [
    `    ${name} *= factor;`,
    ...distances.map((d) => `    ${name} += subgroupShuffleXor(${name}, ${d}u);`),
  ])
  .join("\n")}
  }`,
  )
  .join("\n")}`;
    },
  };
}

/** Distances of a butterfly over `lanes`. */
function powers(lanes: number): number[] {
  const list: number[] = [];
  for (let d = lanes / 2; d >= 1; d /= 2) list.push(d);
  return list;
}

/** The same through workgroup memory: lane h of a team has the scores of head h. */
function workgroupScores({ group, rows }: DecodeVariant, rescale: (head: number) => string): Scores {
  const rowList = range(rows);
  const heads = range(group);
  return {
    memory: `
var<workgroup> products: array<f32, WORKGROUP * ${rows} * GROUP>;       // [team, row, head, lane]
var<workgroup> probabilities: array<f32, TEAMS * ${rows} * GROUP>;      // [team, row, head]
var<workgroup> shrinks: array<f32, TEAMS * GROUP>;`,
    builtins: "",
    team: `
  let lane = thread % LANES;
  let team = thread / LANES;
  let ownHead = lane;
  let isOwner = lane < GROUP;`,
    block: `
${rowList.flatMap((r) => heads.map((h) => `    products[((team * ${rows}u + ${r}u) * GROUP + ${h}u) * LANES + lane] = d${r}_${h};`)).join("\n")}
    workgroupBarrier();
    if (isOwner) {
      var next = best;
${rowList
  .map(
    (r) => `
      var score${r} = 0.0;
      for (var i = 0u; i < LANES; i++) { score${r} += products[((team * ${rows}u + ${r}u) * GROUP + lane) * LANES + i]; }
      let position${r} = start + i32(${r}u * TEAMS + team);
      let visible${r} = position${r} >= firstPosition && position${r} <= position;
      if (visible${r}) { next = max(next, score${r}); }`,
  )
  .join("")}
      let shrink = exp(best - next);
      best = next;
      sum *= shrink;
      shrinks[team * GROUP + lane] = shrink;
${rowList
  .map(
    (r) => `
      let probability${r} = select(0.0, exp(score${r} - best), visible${r});
      probabilities[(team * ${rows}u + ${r}u) * GROUP + lane] = probability${r};
      sum += probability${r};`,
  )
  .join("")}
    }
    workgroupBarrier();
${heads
  .map(
    (h) => `    {
      let factor = shrinks[team * GROUP + ${h}u];
      ${rescale(h)}
    }`,
  )
  .join("\n")}`,
    probability: (row, head) => `probabilities[(team * ${rows}u + ${row}u) * GROUP + ${head}u]`,
    own: "",
    join: () => "",
  };
}
