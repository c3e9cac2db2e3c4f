/**
 * WebGPU kernel of a decode step's attention over packed pages: one query, a share of the context.
 *
 * L lanes share a token, its keys and its values alike: each scores its channels of the key, the lanes add up, and each then
 * weighs its channels of the same token's value, so probabilities never leave registers. A workgroup takes a page at a time,
 * L tokens a lane. Dequantising is folded (spec D4): groups' scales and offsets meet sums, never elements; scales of channels
 * are multiplied onto q once a block of tokens.
 *
 * Each lane keeps a maximum, which follows only when scores rise by much; maxima meet at the end. Without subgroups lanes
 * exchange through workgroup memory. Scores are in units of log 2: q is scaled by log2 e.
 */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";
import {
  hasParams,
  hasScales,
  PACKED_PAGE_TOKENS,
  type PackedFormat,
  pageSections,
  type SideFormat,
} from "../packed-kv/format.js";
import { LOW_POSITIONS } from "../rope/rope.js";
import { FIRST_CENTRE, integerValueUnit, transposed, weightWords } from "./integer-dots.wgsl.js";
import { integerScores } from "./integer-scores.wgsl.js";
import { DECODE_THREADS, type LaneShare, laneShare, partWidth } from "./lanes.js";
import { MARKED_BINDING, nearWgsl, SIDE_BINDING } from "./near.wgsl.js";
import { packedEndWgsl } from "./packed-end.wgsl.js";
import { each, literal, unpackUnit, upTo } from "./unpack.wgsl.js";

export interface DecodeVariant {
  readonly format: PackedFormat;
  /** Query heads of one key/value head that a workgroup takes together: a divisor of H / G. */
  readonly group: number;
  /** L: lanes that share a token: 1, 2, 4 or 8; with subgroups at most the smallest subgroup. */
  readonly lanes: number;
  readonly subgroups: boolean;
  /** The store has bits of tokens to be left out. */
  readonly skips: boolean;
  /** Products with 2-bit codes as integers; see integer-dots.wgsl.ts. Lanes must be 4 or 8, and divide a row's words. */
  readonly integerKeys: boolean;
  readonly integerValues: boolean;
  /** The first GROUP workgroups of a group's take what is not packed, and write part `nearPart`; false: a launch of its own does. */
  readonly near: boolean;
  /** With `near`: there is a side store. */
  readonly side: boolean;
}

export const decodeParams = params({
  tokens: "u32",
  heads: "u32",
  pagesPerSlot: "u32",
  firstPage: "i32",
  pages: "i32",
  window: "i32",
  splits: "u32",
  /** Where this launch's parts begin. */
  firstPart: "u32",
  nearPart: "u32",
  scale: "f32",
  /** Of `blocks` or `skips`: numbers of a slot. */
  tableWidth: "u32",
  rotaryDim: "u32",
  highLines: "u32",
  /** 1 / attention factor of the rotary table. */
  inverseFactor: "f32",
  /** ropeAtRead: token slots of a head in `scores`. */
  scoreStride: "u32",
});

/**
 * Buffers: qkv, values, pageTable, tokens, cuts, parts, keys (or, with ropeAtRead, `scores` [T, H, scoreStride]), then as the
 * format has them: `blocks` or `skips`; `meanTerms`, the rotary table and `pairs`; with `near` also `side` and `markedTokens`.
 * Grid: [H / group, T, splits], with `near` [H / group, T, group + splits].
 */
export function decodeKernel(v: DecodeVariant): WebGpuKernel {
  const { format, group, lanes, subgroups } = v;
  const { kvHeads, headDim, keys, values, meanPairs, ropeAtRead } = format;
  const byChannel = keys.layout === "channel";
  const threads = DECODE_THREADS;
  const tokensAtOnce = threads / lanes;
  const stride = byChannel ? keys.group / lanes : tokensAtOnce;
  const k = laneShare(keys, headDim, lanes);
  const floatShare = laneShare(values, headDim, lanes);
  const val = v.integerValues ? { ...floatShare, unit: integerValueUnit } : floatShare;
  const keyRuns = k.units / k.runUnits;
  const valueRuns = val.units / val.runUnits;
  const heads = upTo(group);
  const tokens = upTo(lanes);
  const keySections = pageSections(keys, kvHeads, headDim);
  const valueSections = pageSections(values, kvHeads, headDim);
  const pairsPerLane = Math.ceil(meanPairs / lanes);
  const pairsOfLane = upTo(pairsPerLane);
  const hasKeys = !ropeAtRead;
  // Parameters of channels are read four at a time, whatever codes are.
  const keyBuffer = byChannel && !v.integerKeys ? 4 : k.load;
  const blocksOfPage = PACKED_PAGE_TOKENS / keys.group;
  const integers = v.integerKeys
    ? integerScores({ format, group, lanes, share: k, params: keySections.params })
    : undefined;
  /** Integers leave time to load the next page's keys while this one's values are weighed. */
  const ahead = v.integerKeys || v.integerValues;
  let binding = 7;
  const optional = (present: boolean, declaration: string) => {
    if (!present) return "";
    binding += 1;
    return `@group(0) @binding(${binding}) ${declaration}`;
  };
  const readOnly = (name: string, type: string) => `var<storage, read> ${name}: array<${type}>;`;
  const label = `packed attention decode ${describeSide(keys)} ${describeSide(values)} D=${headDim} group=${group} lanes=${lanes}${v.integerKeys || v.integerValues ? " integers" : ""}`;
  const q = (h: number, i: number) => `q${h}_${i}`;
  /** Vectors of a lane: index of unit and vector within it. */
  const keyVectors = upTo((k.units * k.unit.channels) / 4);
  const valueVectors = upTo((val.units * val.unit.channels) / 4);
  const perKeyUnit = k.unit.channels / 4;
  const perValueUnit = val.unit.channels / 4;
  const keyRunOf = (i: number) => Math.floor(i / perKeyUnit / k.runUnits);
  const valueRunOf = (i: number) => Math.floor(i / perValueUnit / val.runUnits);
  const fourOf = (share: LaneShare, i: number, f: (code: number) => number) => {
    const codes = upTo(4).map((c) => ((4 * i) % share.unit.channels) + c);
    return codes.map(f);
  };
  const powers = (share: LaneShare, i: number, sign: number) =>
    `vec4f(${fourOf(share, i, (code) => 2 ** (sign * share.unit.exponentOf[code]!))
      .map(literal)
      .join(", ")})`;
  const isEven = (side: SideFormat) => side.quantiser === "even";
  /** Centred codes of values have an offset. */
  const hasShift = hasParams(values);

  const integerText = () => `
${integers!.perPage}
${each(tokens, (u) => integers!.sums(u, (unit) => keyCode(u, unit, k)))}
${meanPairs > 0 ? meanText(byChannel) : ""}
${each(tokens, (u) => each(heads, (h) => `    e${u}_${h} = laneSum(e${u}_${h}, thread);`))}`;

  const scoresFromKeys = () => `
${
  byChannel
    ? each(upTo(keyVectors.length), (i) => {
        const unit = Math.floor(i / perKeyUnit);
        const channels = fourOf(k, i, (code) => unit * k.unit.channels + k.unit.channelOf[code]!);
        const param = (c: number) => `unpack2x16float(cw${Math.floor(c / 4)}.${"xyzw"[c % 4]})`;
        return `
${each(upTo(4), (c) => `    let c${i}_${c} = ${param(channels[c]!)};`)}
    let s${i} = vec4f(c${i}_0.x, c${i}_1.x, c${i}_2.x, c${i}_3.x);
    let o${i} = fma(vec4f(${literal(k.unit.centre)}), s${i}, vec4f(c${i}_0.y, c${i}_1.y, c${i}_2.y, c${i}_3.y)) * ${powers(k, i, 1)};
${each(heads, (h) => `    let r${h}_${i} = ${q(h, i)} * s${i};`)}`;
      })
    : ""
}
${byChannel ? each(heads, (h) => `    let offset${h} = ${horizontal(dotChain(keyVectors.map((i) => [q(h, i), `o${i}`])))};`) : ""}
${each(tokens, (u) => {
  const lines: string[] = [];
  for (const unit of upTo(k.units)) {
    lines.push("    {");
    lines.push(unpackUnit(keys, `k${u}_`, keyCode(u, unit, k), keyHigh(u, unit)));
    const vectors = upTo(perKeyUnit);
    for (const h of heads) {
      const operand = byChannel ? "r" : "q";
      const sum = `d${u}_${h}_${byChannel ? 0 : Math.floor(unit / k.runUnits)}`;
      for (const j of vectors)
        lines.push(`      ${sum} = fma(${operand}${h}_${unit * perKeyUnit + j}, k${u}_${j}, ${sum});`);
    }
    lines.push("    }");
  }
  const declared = each(heads, (h) =>
    each(upTo(byChannel ? 1 : keyRuns), (r) => `    var d${u}_${h}_${r} = vec4f(0.0);`),
  );
  const sums = each(heads, (h) => {
    const runs = upTo(byChannel ? 1 : keyRuns).map((r) => horizontal(`d${u}_${h}_${r}`));
    const sum = byChannel
      ? `${runs[0]} + offset${h}`
      : keys.quantiser === "levels"
        ? `ks${u} * (${runs[0]})`
        : runs
            .map((run, r) =>
              isEven(keys)
                ? `kp${u}_${r}.x * (${run})`
                : `kp${u}_${r}.x * (${run}) + fma(${literal(k.unit.centre)}, kp${u}_${r}.x, kp${u}_${r}.y) * total${h}_${r}`,
            )
            .join(" + ");
    const normed = keys.norm ? `ks${u} * (${sum})` : sum;
    return `    var e${u}_${h} = ${normed};`;
  });
  return `${declared}\n${lines.join("\n")}\n${sums}`;
})}
${meanPairs > 0 ? meanText(byChannel) : ""}
${each(tokens, (u) => each(heads, (h) => `    e${u}_${h} = laneSum(e${u}_${h}, thread);`))}`;

  const meanText = (direct: boolean) =>
    direct
      ? each(
          tokens,
          (u) => `
    for (var m = lane; m < PAIRS; m += LANES) {
      let cosine = rotation(u32(max(position${u}, 0)), u32(pairs[kvHead * PAIRS + m]));
${each(heads, (h) => `      e${u}_${h} = fma(terms${h}[m / LANES].x, cosine.x, fma(terms${h}[m / LANES].y, cosine.y, e${u}_${h}));`)}
    }`,
        )
      : meanOfPage();

  /**
   * A cos(pθ) + B sin(pθ) of a page's tokens. What A and B become at the page's first position is turned on from page to page;
   * every eighth is begun anew, so that roundings do not add up. Of a lane's tokens, which are STRIDE apart, the third and all
   * further ones follow from the two before: x(p + s) = 2 cos(sθ) x(p) − x(p − s).
   */
  const meanOfPage = () => `
    if (index == turned + 1 && index % 8 != 0) {
${each(pairsOfLane, (m) => each(heads, (h) => `      turned${h}_${m} = turn(turned${h}_${m}, onward${m});`))}
    } else {
${each(
  pairsOfLane,
  (m) => `
      let angle${m} = rotation(u32(index) * PAGE, pair${m}) * p.inverseFactor;
${each(heads, (h) => `      turned${h}_${m} = turn(meanTerms[(token * p.heads + firstHead + ${h}u) * PAIRS + m${m}] * counts${m}, angle${m});`)}`,
)}
    }
    turned = index;
${each(pairsOfLane, (m) =>
  each(heads, (h) =>
    each(tokens, (u) => {
      const name = (token: number) => `x${token}_${h}_${m}`;
      const value = u < 2 ? `dot(turned${h}_${m}, within${u}_${m})` : `fma(twice${m}, ${name(u - 1)}, -${name(u - 2)})`;
      return `    let ${name(u)} = ${value};\n    e${u}_${h} += ${name(u)};`;
    }),
  ),
)}`;

  const keyCode = (u: number, unit: number, share: LaneShare) => component(`kw${u}`, unit, share.load);
  const keyHigh = (u: number, unit: number) => `kh${u}_${unit}`;

  /** What is loaded of a page: an expression of `page`, and the statement that makes of it what is worked with. */
  interface Raw {
    readonly name: string;
    readonly expression: string;
    readonly made: string;
    /** Of the keys: may be loaded a page ahead. */
    readonly isKey: boolean;
  }
  const raw: Raw[] = [];
  const sideLoads = (u: number, isKey: boolean) => {
    const [side, share, sections] = isKey ? [keys, k, keySections] : [values, val, valueSections];
    const letter = isKey ? "k" : "v";
    const fn = isKey ? "keyWord" : "valueWord";
    const start = `u32(page) * ${isKey ? "KEY" : "VALUE"}_WORDS`;
    const line = `(kvHead * PAGE + at${u})`;
    for (const i of upTo(share.units / share.load)) {
      const at = `${start} + ${line} * ${sections.rowWords}u + lane * ${share.units}u + ${i * share.load}u`;
      const name = `${letter}w${u}_${i}`;
      raw.push({
        name,
        expression: loadWords(isKey ? "keys" : "values", isKey ? keyBuffer : val.load, share.load, at),
        made: "",
        isKey,
      });
    }
    if (side.bits === 3) {
      const low = Math.ceil(headDim / 16);
      for (const i of upTo(share.units)) {
        const unit = `(lane * ${share.units}u + ${i}u)`;
        raw.push({
          name: `${letter}x${u}_${i}`,
          expression: `${fn}(${start} + ${line} * ${sections.rowWords}u + ${low}u + min(${unit} / 2u, ${sections.rowWords - low - 1}u))`,
          made: `    let ${letter}h${u}_${i} = ${letter}x${u}_${i} >> (16u * (${unit} % 2u));`,
          isKey,
        });
      }
    }
    const groups = headDim / side.group;
    if ((hasParams(side) || isEven(side)) && side.layout === "token") {
      for (const r of upTo(share.units / share.runUnits)) {
        const channel = `(lane * ${share.units}u + ${r * share.runUnits}u) * ${share.unit.channels}u`;
        const group = `${line} * ${groups}u + min(${channel} / ${side.group}u, ${groups - 1}u)`;
        const name = `${letter}q${u}_${r}`;
        // What is a scale alone gets its offset, for codes that are not centred.
        const [word, pair] = isEven(side)
          ? [
              `${sections.scales}u + (${group}) / 2u`,
              `half(${name}, (${group}) % 2u) * vec2f(1.0, ${literal(-share.unit.centre)})`,
            ]
          : [`${sections.params}u + ${group}`, `unpack2x16float(${name})`];
        raw.push({
          name,
          expression: `${fn}(${start} + ${word})`,
          made: `    let ${letter}p${u}_${r} = ${pair};`,
          isKey,
        });
      }
    } else if (hasScales(side)) {
      raw.push({
        name: `${letter}t${u}`,
        expression: `${fn}(${start} + ${sections.scales}u + ${line} / 2u)`,
        made: `    let ${letter}s${u} = half(${letter}t${u}, at${u} % 2u);`,
        isKey,
      });
    }
  };
  for (const u of tokens) {
    if (hasKeys) sideLoads(u, true);
    sideLoads(u, false);
  }
  if (byChannel) {
    const at = `slot * p.tableWidth + u32(index) * ${blocksOfPage}u + firstAt / ${keys.group}u`;
    raw.push({ name: "block", expression: `blocks[${at}]`, made: "", isKey: true });
  }
  if (integers) raw.push(...integers.loads.map((load) => ({ ...load, made: "", isKey: true })));
  else if (byChannel) {
    const block = `(kvHead * ${blocksOfPage}u + firstAt / ${keys.group}u) * D`;
    for (const i of upTo(keyVectors.length)) {
      const channel = `min(lane * KEY_LANE_CHANNELS + ${4 * i}u, D - 4u)`;
      raw.push({
        name: `cw${i}`,
        expression: `keys[(u32(page) * KEY_WORDS + ${keySections.params}u + ${block} + ${channel}) / 4u]`,
        made: "",
        isKey: true,
      });
    }
  }
  if (!hasKeys) {
    for (const u of tokens) {
      for (const h of heads) {
        const at = `(token * p.heads + firstHead + ${h}u) * p.scoreStride + u32(index) * PAGE + at${u}`;
        raw.push({ name: `score${u}_${h}`, expression: `scores[${at}]`, made: "", isKey: false });
      }
    }
  }

  /** The values of a page's tokens, four at a time, added up by integers. */
  const integerSums = () => {
    const fours = upTo(lanes / 4);
    const words = each(heads, (h) =>
      each(upTo(valueRuns), (r) =>
        weightWords(
          `w${h}_${r}_`,
          tokens.map((u) => `w${u}_${h}_${r}`),
        ),
      ),
    );
    const sums = each(upTo(val.units), (unit) => {
      const lines = fours.map((f) => {
        // In the order of the digits' bytes.
        const inOrder = [0, 2, 1, 3].map((t) => component(`vw${4 * f + t}`, unit, val.load));
        return transposed(`v${f}`, inOrder);
      });
      const r = valueRunOf(unit * perValueUnit);
      for (const j of upTo(4)) {
        const masked = (f: number, i: number) => `(v${f}t${j} & ${(0x03030303 << (2 * i)) >>> 0}u)`;
        for (const h of heads) {
          const w = `w${h}_${r}_`;
          const dots = (i: number, digit: string) =>
            fours.map((f) => `i32(dot4U8Packed(${masked(f, i)}, ${w}${digit}${f}))`).join(" + ");
          const elements = upTo(4).map((i) => {
            const centre = i === 0 ? FIRST_CENTRE : 1.5 * 4 ** i;
            return `(${dots(i, "high")}) * 256 - ${w}sum * ${centre} + ${dots(i, "low")}`;
          });
          const acc = `acc${h}_${unit * perValueUnit + j}`;
          lines.push(`      ${acc} = fma(vec4f(${w}unit), vec4f(vec4i(${elements.join(",\n        ")})), ${acc});`);
        }
      }
      return `    {\n${lines.join("\n")}\n    }`;
    });
    return `${words}\n${sums}`;
  };
  const aheadText = () => `
  var index = seek(slot, beginPage, endPage);
  var page = pageOf(slot, index, endPage, 0);
  var nextIndex = seek(slot, index + 1, endPage);
  var nextPage = pageOf(slot, nextIndex, endPage, page);
${each(
  raw.filter(({ isKey }) => isKey),
  ({ name, expression }) => `  var ${name} = ${expression};`,
)}`;

  return {
    label,
    code: /* wgsl */ `${subgroups ? "enable subgroups;" : ""}
const D = ${headDim}u;
const G = ${kvHeads}u;
const GROUP = ${group}u;
const LANES = ${lanes}u;
const THREADS = ${threads}u;
const STRIDE = ${stride}u;              // between the tokens of a lane
const PAGE = ${PACKED_PAGE_TOKENS}u;
const NOTHING = -1e30;
const SLACK = 8.0;
const KEY_WORDS = ${keySections.words}u;
const KEY_LANE_CHANNELS = ${k.units * k.unit.channels}u;
const VALUE_WORDS = ${valueSections.words}u;
const VALUE_LANE_CHANNELS = ${val.units * val.unit.channels}u;
const PART = ${partWidth(headDim)}u;
const PAIRS = ${Math.max(meanPairs, 1)}u;
const LOW = ${LOW_POSITIONS}u;
${decodeParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;             // [T, H + 2G, D]
@group(0) @binding(2) var<storage, read> values: array<${words(val.load)}>;     // [pages, VALUE_WORDS]
@group(0) @binding(3) var<storage, read> pageTable: array<i32>;       // [slots, pagesPerSlot]
@group(0) @binding(4) var<storage, read> tokens: array<vec4i>;        // id, position, row, slot
@group(0) @binding(5) var<storage, read> cuts: array<vec2i>;          // [slots]: floor, shift
@group(0) @binding(6) var<storage, read_write> parts: array<f32>;     // [part, T, H, PART]
@group(0) @binding(7) var<storage, read> ${hasKeys ? `keys: array<${words(keyBuffer)}>;         // [pages, KEY_WORDS]` : "scores: array<f32>;"}
${optional(byChannel, readOnly("blocks", "vec2i"))}
${optional(v.skips, readOnly("skips", "u32"))}
${optional(meanPairs > 0, readOnly("meanTerms", "vec2f"))}
${optional(meanPairs > 0, readOnly("table", "f32"))}
${optional(meanPairs > 0, readOnly("pairs", "i32"))}
${optional(v.near && v.side, SIDE_BINDING)}
${optional(v.near && v.side && format.marked > 0, MARKED_BINDING)}

var<workgroup> partial: array<vec4f, ${threads * Math.max(perValueUnit, 1)}>;
var<workgroup> gathered: array<vec4f, THREADS>;
var<workgroup> exchange: array<f32, THREADS>;
var<workgroup> sums: array<f32, THREADS>;

${packedEndWgsl(format)}
${v.near ? nearWgsl({ format, side: v.side }, threads) : ""}
fn half(word: u32, odd: u32) -> f32 { return unpack2x16float(word >> (16u * odd)).x; }
${hasKeys ? `fn keyWord(at: u32) -> u32 { return ${scalar("keys", keyBuffer)}; }` : ""}
fn valueWord(at: u32) -> u32 { return ${scalar("values", val.load)}; }
${
  subgroups
    ? `
fn laneSum(own: f32, thread: u32) -> f32 {
  var sum = own;
${each(upTo(Math.log2(lanes)), (i) => `  sum += subgroupShuffleXor(sum, ${2 ** i}u);`)}
  return sum;
}
fn joined(own: f32) -> f32 { return subgroupMax(own); }`
    : `
fn laneSum(own: f32, thread: u32) -> f32 {
  exchange[thread] = own;
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < LANES; i++) { sum += exchange[thread / LANES * LANES + i]; }
  workgroupBarrier();
  return sum;
}
fn joined(own: f32) -> f32 { return own; }`
}
${integers?.declarations ?? ""}
${
  meanPairs > 0
    ? `
/** Cosine and sine of position · θ of a pair, the attention factor included. */
fn rotation(position: u32, pair: u32) -> vec2f {
  let pairCount = p.rotaryDim / 2u;
  let low = (position % LOW) * p.rotaryDim + pair;
  let high = (LOW + min(position / LOW, p.highLines - 1u)) * p.rotaryDim + pair;
  let l = vec2f(table[low], table[low + pairCount]);
  let h = vec2f(table[high], table[high + pairCount]);
  return vec2f(l.x * h.x - l.y * h.y, l.y * h.x + l.x * h.y);
}
/** (A, B) such that A cos + B sin is what it was, further on by an angle. */
fn turn(terms: vec2f, angle: vec2f) -> vec2f {
  return vec2f(fma(terms.x, angle.x, terms.y * angle.y), fma(terms.y, angle.x, -(terms.x * angle.y)));
}`
    : ""
}

/** The first page from \`index\` on that this segment holds. */
fn seek(slot: u32, index: i32, end: i32) -> i32 {
  var at = index;
  while (at < end) {
    let page = pageTable[slot * p.pagesPerSlot + u32(at)] - p.firstPage;
    if (page >= 0 && page < p.pages) { break; }
    at++;
  }
  return at;
}
${
  ahead
    ? `/** The page there, or behind the end any. */
fn pageOf(slot: u32, index: i32, end: i32, any: i32) -> i32 {
  if (index >= end) { return any; }
  return pageTable[slot * p.pagesPerSlot + u32(index)] - p.firstPage;
}`
    : ""
}
@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32,
${subgroups ? "  @builtin(subgroup_size) subgroupSize: u32," : ""}
) {
  let token = workgroup.y;
${
  v.near
    ? `
  if (workgroup.z < GROUP) {
    near(workgroup.x * GROUP + workgroup.z, token, thread, p.nearPart);
    return;
  }
  let split = workgroup.z - GROUP;`
    : "  let split = workgroup.z;"
}
  let firstHead = workgroup.x * GROUP;
  let kvHead = firstHead / (p.heads / G);
  let lane = thread % LANES;
  let tokenLane = thread / LANES;
  let word = tokens[token];
  let past = word.y;
  let slot = u32(max(word.w, 0));
  let cut = cuts[slot];
  let end = packedEnd(past, cut.x);
  let lowest = max(past - p.window + 1, 0);

  // This split's share of the pages, from the true length.
${
  byChannel
    ? `  let slotsEnd = end + cut.y;
  let firstPage = max(lowest - SINKS, 0) / i32(PAGE);    // a token's slot is never further below its position`
    : `  let slotsEnd = end;
  let firstPage = lowest / i32(PAGE);`
}
  let pageCount = max((slotsEnd + i32(PAGE) - 1) / i32(PAGE) - firstPage, 0);
  let share = (pageCount + i32(p.splits) - 1) / i32(p.splits);
  let beginPage = firstPage + i32(split) * share;
  var endPage = min(beginPage + share, firstPage + pageCount);
  if (word.w < 0) { endPage = beginPage; }

  let qScale = p.scale * ${literal(Math.LOG2E)};
${
  integers
    ? integers.setUp
    : hasKeys
      ? each(heads, (h) => {
          const vectors = each(keyVectors, (i) => {
            const unit = Math.floor(i / perKeyUnit);
            const channels = fourOf(k, i, (code) => unit * k.unit.channels + k.unit.channelOf[code]!);
            const load = channels
              .map((c) => `query(token, firstHead + ${h}u, lane * KEY_LANE_CHANNELS + ${c}u)`)
              .join(", ");
            return `  let x${h}_${i} = vec4f(${load}) * qScale;\n  let ${q(h, i)} = x${h}_${i} * ${powers(k, i, -1)};`;
          });
          const totals = each(upTo(keyRuns), (r) => {
            const inRun = keyVectors.filter((i) => keyRunOf(i) === r).map((i) => `x${h}_${i}`);
            return `  let total${h}_${r} = ${horizontal(`(${inRun.join(" + ")})`)};`;
          });
          return `${vectors}\n${totals}`;
        })
      : ""
}
${
  meanPairs > 0
    ? byChannel
      ? each(
          heads,
          (h) => `
  var terms${h} = array<vec2f, ${pairsPerLane}>();
  for (var m = lane; m < PAIRS; m += LANES) {
    terms${h}[m / LANES] = meanTerms[(token * p.heads + firstHead + ${h}u) * PAIRS + m] * qScale;
  }`,
        )
      : `
  var turned = -2;     // the page that these are of
${each(
  pairsOfLane,
  (m) => `
  let m${m} = min(lane + ${m * lanes}u, PAIRS - 1u);
  let pair${m} = u32(pairs[kvHead * PAIRS + m${m}]);
  let counts${m} = select(0.0, qScale, lane + ${m * lanes}u < PAIRS);
  let onward${m} = rotation(PAGE, pair${m}) * p.inverseFactor;
  let twice${m} = 2.0 * p.inverseFactor * rotation(${stride}u, pair${m}).x;
${each(heads, (h) => `  var turned${h}_${m} = vec2f(0.0);`)}
${each(tokens.slice(0, 2), (u) => `  let within${u}_${m} = rotation(tokenLane + ${u * stride}u, pair${m});`)}`,
)}`
    : ""
}

${each(heads, (h) => each(valueVectors, (i) => `  var acc${h}_${i} = vec4f(0.0);`))}
${each(heads, (h) => each(upTo(valueRuns), (r) => `  var shift${h}_${r} = 0.0;${v.integerValues ? ` var first${h}_${r} = 0.0;` : ""}`))}
${each(heads, (h) => `  var best${h} = NOTHING;\n  var sum${h} = 0.0;`)}

  let firstAt = tokenLane / STRIDE * (STRIDE * LANES) + tokenLane % STRIDE;
${each(tokens, (u) => `  let at${u} = firstAt + ${u * stride}u;`)}
${ahead ? aheadText() : ""}
  ${ahead ? "while (index < endPage) {" : "for (var index = seek(slot, beginPage, endPage); index < endPage; index = seek(slot, index + 1, endPage)) {"}
${ahead ? "" : "    let page = pageTable[slot * p.pagesPerSlot + u32(index)] - p.firstPage;"}
${each(ahead ? raw.filter(({ isKey }) => !isKey) : raw, ({ name, expression }) => `    let ${name} = ${expression};`)}
${each(raw, ({ made }) => made)}
${
  byChannel
    ? `    let within = i32(firstAt % ${keys.group}u);
    let held = min(block.y, slotsEnd - index * i32(PAGE) - i32(firstAt) + within);`
    : ""
}
${each(tokens, (u) =>
  byChannel
    ? `    let position${u} = block.x + within + ${u * stride};
    let seen${u} = within + ${u * stride} < held && position${u} >= lowest;`
    : `    let position${u} = index * i32(PAGE) + i32(at${u});
    var seen${u} = position${u} >= max(lowest, SINKS) && position${u} < end;
${v.skips ? `    seen${u} = seen${u} && ((skips[slot * p.tableWidth + u32(position${u}) / 32u] >> (u32(position${u}) % 32u)) & 1u) == 0u;` : ""}`,
)}
${v.integerKeys ? integerText() : hasKeys ? scoresFromKeys() : each(tokens, (u) => each(heads, (h) => `    let e${u}_${h} = score${u}_${h};`))}
${
  ahead
    ? `
    index = nextIndex;
    page = nextPage;
${each(
  raw.filter(({ isKey }) => isKey),
  ({ name, expression }) => `    ${name} = ${expression};`,
)}
    nextIndex = seek(slot, index + 1, endPage);
    nextPage = pageOf(slot, nextIndex, endPage, page);`
    : ""
}

    // The maximum: when it rises by much, what has been added up shrinks. Until then probabilities are up to 2^SLACK.
${each(heads, (h) => `    let most${h} = max(best${h}, ${tokens.map((u) => `select(NOTHING, e${u}_${h}, seen${u})`).reduce((a, b) => `max(${a}, ${b})`)});`)}
    if (${heads.map((h) => `most${h} > best${h} + SLACK`).join(" || ")}) {
${each(
  heads,
  (h) => `
      let shrink${h} = exp2(best${h} - most${h});
      best${h} = most${h};
      sum${h} *= shrink${h};
${each(valueVectors, (i) => `      acc${h}_${i} *= shrink${h};`)}
${each(upTo(valueRuns), (r) => `      shift${h}_${r} *= shrink${h};${v.integerValues ? ` first${h}_${r} *= shrink${h};` : ""}`)}`,
)}
    }
${each(tokens, (u) => {
  const weights = each(heads, (h) => {
    const lines = [
      `    let p${u}_${h} = select(0.0, exp2(e${u}_${h} - best${h}), seen${u});`,
      `    sum${h} += p${u}_${h};`,
    ];
    for (const r of upTo(valueRuns)) {
      // What stands where nothing was packed may be no number, and 0 · NaN is NaN.
      if (values.quantiser !== "levels") {
        const sumUp = (sum: string, centre: number) =>
          `    ${sum}${h}_${r} += select(0.0, p${u}_${h} * fma(${literal(centre)}, vp${u}_${r}.x, vp${u}_${r}.y), seen${u});`;
        lines.push(
          `    let w${u}_${h}_${r} = select(0.0, p${u}_${h} * vp${u}_${r}.x, seen${u});`,
          hasShift ? sumUp("shift", val.unit.centre) : "",
          v.integerValues ? sumUp("first", FIRST_CENTRE) : "",
        );
      } else lines.push(`    let w${u}_${h}_${r} = select(0.0, p${u}_${h} * vs${u}, seen${u});`);
    }
    return lines.join("\n");
  });
  const sums = v.integerValues
    ? ""
    : each(upTo(val.units), (unit) => {
        const lines = ["    {", unpackUnit(values, `v${u}_`, component(`vw${u}`, unit, val.load), `vh${u}_${unit}`)];
        for (const h of heads) {
          for (const j of upTo(perValueUnit)) {
            const i = unit * perValueUnit + j;
            lines.push(`      acc${h}_${i} = fma(vec4f(w${u}_${h}_${valueRunOf(i)}), v${u}_${j}, acc${h}_${i});`);
          }
        }
        lines.push("    }");
        return lines.join("\n");
      });
  return v.integerValues ? weights : `${weights}\n${sums}`;
})}
${v.integerValues ? integerSums() : ""}
  }

  // The lanes' sums, brought to a joint maximum.
${each(heads, (h) => {
  const outputs = lanes * perValueUnit;
  const workers = Math.max(1, Math.floor(threads / outputs));
  return `
  {
    exchange[thread] = joined(best${h});
    workgroupBarrier();
    var joint = NOTHING;
    for (var i = 0u; i < THREADS; i += ${subgroups ? "min(subgroupSize, THREADS)" : "LANES"}) { joint = max(joint, exchange[i]); }
    let weight = exp2(best${h} - joint);
    sums[thread] = sum${h} * weight;
    let part = (((p.firstPart + split) * p.tokens + token) * p.heads + firstHead + ${h}u) * PART;
    workgroupBarrier();
    if (thread == 0u) {
      var total = 0.0;
      for (var i = 0u; i < THREADS; i += LANES) { total += sums[i]; }
      parts[part + D] = joint;
      parts[part + D + 1u] = total;
    }
${each(
  upTo(val.units),
  (unit) => `
    {
${each(upTo(perValueUnit), (j) => {
  const i = unit * perValueUnit + j;
  const [shift, first] = [`shift${h}_${valueRunOf(i)}`, `first${h}_${valueRunOf(i)}`];
  const offset = v.integerValues ? ` + vec4f(${first}, ${shift}, ${shift}, ${shift})` : hasShift ? ` + ${shift}` : "";
  return `      partial[${j * threads}u + thread] = (acc${h}_${i} * ${powers(val, i, -1)}${offset}) * weight;`;
})}
      workgroupBarrier();
      let output = thread % ${outputs}u;       // (vector of the unit, lane)
      var total = vec4f(0.0);
      if (thread < ${workers * outputs}u) {
        for (var i = thread / ${outputs}u; i < ${tokensAtOnce}u; i += ${workers}u) {
          total += partial[output / LANES * THREADS + i * LANES + output % LANES];
        }
      }
      gathered[thread] = total;
      workgroupBarrier();
      if (thread < ${outputs}u) {
        for (var i = 1u; i < ${workers}u; i++) { total += gathered[i * ${outputs}u + thread]; }
        let channel = (output % LANES) * VALUE_LANE_CHANNELS + ${unit * val.unit.channels}u;
${each(
  upTo(perValueUnit),
  (j) => `
        if (output / LANES == ${j}u) {
${each(upTo(4), (c) => `          if (channel + ${val.unit.channelOf[4 * j + c]!}u < D) { parts[part + channel + ${val.unit.channelOf[4 * j + c]!}u] = total[${c}]; }`)}
        }`,
)}
      }
      workgroupBarrier();
    }`,
)}
  }`;
})}
}

${
  hasKeys
    ? `fn query(token: u32, head: u32, channel: u32) -> f32 {
  if (channel >= D) { return 0.0; }
  return qkv[(token * (p.heads + 2u * G) + head) * D + channel];
}`
    : ""
}
`,
  };
}

/** Words at a place that is a multiple of `load`, from an array whose elements are as wide or wider. */
function loadWords(buffer: string, width: number, load: number, at: string): string {
  if (width === load) return load === 1 ? `${buffer}[${at}]` : `${buffer}[(${at}) / ${load}u]`;
  if (load === 1) return `${buffer}[(${at}) / ${width}u][(${at}) % ${width}u]`;
  const four = `${buffer}[(${at}) / ${width}u]`;
  return `select(${four}.xy, ${four}.zw, ((${at}) & 2u) != 0u)`;
}

/** A fused sum of products of vectors, as an expression. */
function dotChain(pairs: readonly (readonly [string, string])[]): string {
  const [first, ...rest] = pairs;
  return rest.reduce((sum, [a, b]) => `fma(${a}, ${b}, ${sum})`, `(${first![0]} * ${first![1]})`);
}

function horizontal(vector: string): string {
  return `dot(${vector}, vec4f(1.0))`;
}

function component(name: string, word: number, load: number): string {
  const vector = `${name}_${Math.floor(word / load)}`;
  return load === 1 ? vector : `${vector}.${"xyzw"[word % load]}`;
}

function words(load: number): string {
  return load === 1 ? "u32" : `vec${load}u`;
}

function scalar(buffer: string, load: number): string {
  return load === 1 ? `${buffer}[at]` : `${buffer}[at / ${load}u][at % ${load}u]`;
}

function describeSide(side: SideFormat): string {
  return `${side.bits}${side.layout === "channel" ? "c" : ""}${side.group} ${side.quantiser}${side.norm ? " norm" : ""}`;
}
