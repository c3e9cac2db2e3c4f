/**
 * WGSL of decode attention's scores with 2-bit keys as integers: what q is multiplied by in digits, and the sums.
 *
 * Keys by token: q is made digits once, under a scale for each lane's channels. Keys by channel: q times the channels' scales is
 * made digits once for each block of tokens: a thread takes four channels of a block, and all take what they need from
 * workgroup memory, where two pages have room in turn, so that a page costs one barrier.
 */
import { PACKED_PAGE_TOKENS, type PackedFormat } from "../packed-kv/format.js";
import { CLASSES, codesOfClass, digitWords, KEY_DIGITS, KEY_STEPS } from "./integer-dots.wgsl.js";
import { DECODE_THREADS, type LaneShare } from "./lanes.js";
import { each, literal, upTo } from "./unpack.wgsl.js";

export interface IntegerScoresShape {
  readonly format: PackedFormat;
  /** Query heads that a workgroup takes together. */
  readonly group: number;
  readonly lanes: number;
  /** Of the keys. */
  readonly share: LaneShare;
  /** Word of a page where parameters begin. */
  readonly params: number;
}

export interface IntegerScoresText {
  readonly declarations: string;
  /** Before the first page: defines what q becomes. */
  readonly setUp: string;
  /** Words of a page, by expressions of `page`. */
  readonly loads: readonly { readonly name: string; readonly expression: string }[];
  /** For each page: digits of its blocks. */
  readonly perPage: string;
  /** Of token u and head h: the lane's part of the score, without a key's norm. */
  readonly sums: (u: number, code: (unit: number) => string) => string;
}

/** Names the kernel's own: thread, lane, firstAt, kvHead, firstHead, token, qScale, query(), keyWord(). */
export function integerScores(shape: IntegerScoresShape): IntegerScoresText {
  const byChannel = shape.format.keys.layout === "channel";
  return { ...(byChannel ? keysByChannel(shape) : keysByToken(shape)), sums: sumsOf(shape) };
}

/** Bytes of workgroup memory that keys by channel take. */
export function digitBytes({ headDim, keys }: PackedFormat, group: number, lanes: number): number {
  return 2 * (PACKED_PAGE_TOKENS / keys.group) * group * ((headDim / 4) * KEY_DIGITS + 2 * lanes) * 4;
}

function keysByToken({ group, share }: IntegerScoresShape): Omit<IntegerScoresText, "sums"> {
  const channels = 16 * share.units;
  const setUp = each(upTo(group), (h) => {
    const names = upTo(channels).map((c) => `x${h}_${c}`);
    const most = names.map((name) => `abs(${name})`).reduce((a, b) => `max(${a}, ${b})`);
    const perRun = 16 * share.runUnits;
    return `
${each(upTo(channels), (c) => `  let x${h}_${c} = query(token, firstHead + ${h}u, lane * ${channels}u + ${c}u) * qScale;`)}
  let most${h} = max(${most}, 1e-30);
  let to${h} = ${literal(KEY_STEPS)} / most${h};
  let step${h} = most${h} * ${literal(1 / KEY_STEPS)};
${each(upTo(CLASSES * share.units), (w) => {
  const first = 16 * Math.floor(w / CLASSES) + (w % CLASSES);
  return digitWords(
    `g${h}_${w}_`,
    upTo(4).map((c) => `x${h}_${first + 4 * c} * to${h}`),
  );
})}
${each(upTo(channels / perRun), (r) => `  let total${h}_${r} = ${names.slice(r * perRun, (r + 1) * perRun).join(" + ")};`)}`;
  });
  return { declarations: "", setUp, loads: [], perPage: "" };
}

function keysByChannel({ format, group, lanes, share, params }: IntegerScoresShape): Omit<IntegerScoresText, "sums"> {
  const { headDim, keys } = format;
  const blocks = PACKED_PAGE_TOKENS / keys.group;
  /** Fours of channels of a row: its unit's i, i + 4, i + 8, i + 12. */
  const quads = headDim / 4;
  const sharers = quads / lanes;
  const rounds = upTo(Math.ceil((blocks * quads) / DECODE_THREADS));
  const heads = upTo(group);
  const item = (n: number) => `(thread + ${n * DECODE_THREADS}u)`;
  const channel = (n: number, c: number) => {
    const quad = `(${item(n)} % ${quads}u)`;
    return `(${quad} / 4u * 16u + ${quad} % 4u + ${4 * c}u)`;
  };
  const line = (block: string, h: number) => `(turn * ${blocks * group}u + ${block} * ${group}u + ${h}u)`;
  const digitsOf = (n: number, h: number) => {
    const name = `z${n}_${h}_`;
    const products = upTo(4).map((c) => `${name}r${c}`);
    const most = products.map((r) => `abs(${r})`).reduce((a, b) => `max(${a}, ${b})`);
    const offset = upTo(4).reduce((sum, c) => `fma(q${n}_${h}[${c}], c${n}_${c}.y, ${sum})`, "0.0");
    const own = line(`(${item(n)} / ${quads}u)`, h);
    return `
${each(upTo(4), (c) => `    let ${name}r${c} = q${n}_${h}[${c}] * c${n}_${c}.x;`)}
    let ${name}most = max(sharersMax(${most}), 1e-30);
    let ${name}offset = sharersSum(${offset});
    let ${name}to = ${literal(KEY_STEPS)} / ${name}most;
${digitWords(
  name,
  products.map((r) => `${r} * ${name}to`),
)}
    if (${item(n)} < ${blocks * quads}u) {
      let at = ${own} * ${quads * KEY_DIGITS}u + ${item(n)} % ${quads}u;
${each(upTo(KEY_DIGITS), (d) => `      digits[at + ${d * quads}u] = ${name}${d};`)}
      if (thread % ${sharers}u == 0u) {
        lines[${own} * LANES + ${item(n)} % ${quads}u / ${sharers}u] = vec2f(${name}most * ${literal(1 / KEY_STEPS)}, ${name}offset);
      }
    }`;
  };
  const taken = (h: number) => `
    let line${h} = lines[${line(`(firstAt / ${keys.group}u)`, h)} * LANES + lane];
    let from${h} = ${line(`(firstAt / ${keys.group}u)`, h)} * ${quads * KEY_DIGITS}u + lane * ${share.units * CLASSES}u;
${each(upTo(share.units * CLASSES), (w) => each(upTo(KEY_DIGITS), (d) => `    let g${h}_${w}_${d} = digits[from${h} + ${d * quads + w}u];`))}`;
  const exchanged = (sum: string, joined: string) =>
    each(
      upTo(Math.log2(sharers)),
      (i) => `  ${sum} = ${joined.replace("OTHER", `subgroupShuffleXor(${sum}, ${2 ** i}u)`)};`,
    );
  return {
    declarations: `
var<workgroup> digits: array<u32, ${2 * blocks * group * quads * KEY_DIGITS}>;   // [turn, block, head, digit, D / 4]
var<workgroup> lines: array<vec2f, ${2 * blocks * group * lanes}>;               // [turn, block, head, lane]: scale, offset
/** Of the threads that take a lane's channels. */
fn sharersMax(own: f32) -> f32 {
  var most = own;
${exchanged("most", "max(most, OTHER)")}
  return most;
}
fn sharersSum(own: f32) -> f32 {
  var sum = own;
${exchanged("sum", "sum + OTHER")}
  return sum;
}`,
    setUp: `
${each(rounds, (n) =>
  each(heads, (h) => {
    const channels = upTo(4).map((c) => `query(token, firstHead + ${h}u, ${channel(n, c)})`);
    return `  let q${n}_${h} = vec4f(${channels.join(", ")}) * qScale;`;
  }),
)}
  var turn = 0u;`,
    loads: rounds.flatMap((n) =>
      upTo(4).map((c) => {
        const row = `(kvHead * ${blocks}u + min(${item(n)} / ${quads}u, ${blocks - 1}u)) * D`;
        const at = `u32(page) * KEY_WORDS + ${params}u + ${row} + ${channel(n, c)}`;
        return { name: `cw${n}_${c}`, expression: `keyWord(${at})` };
      }),
    ),
    perPage: `
${each(rounds, (n) => `${each(upTo(4), (c) => `    let c${n}_${c} = unpack2x16float(cw${n}_${c});`)}\n${each(heads, (h) => digitsOf(n, h))}`)}
    workgroupBarrier();
${each(heads, taken)}
    turn = 1u - turn;`,
  };
}

function sumsOf({ format, group, share }: IntegerScoresShape): IntegerScoresText["sums"] {
  const byChannel = format.keys.layout === "channel";
  const runs = upTo(byChannel ? 1 : share.units / share.runUnits);
  return (u, code) => {
    const codes = each(upTo(share.units), (unit) =>
      each(upTo(CLASSES), (i) => `    let k${u}_${unit}_${i} = ${codesOfClass(code(unit), i)};`),
    );
    const sums = each(upTo(group), (h) => {
      const integers = each(runs, (r) => {
        const units = byChannel ? upTo(share.units) : upTo(share.runUnits).map((i) => r * share.runUnits + i);
        const sum = (d: number) =>
          units
            .flatMap((unit) =>
              upTo(CLASSES).map((i) => `dot4I8Packed(k${u}_${unit}_${i}, g${h}_${CLASSES * unit + i}_${d})`),
            )
            .join(" + ");
        const name = `i${u}_${h}_${r}`;
        return `
    var ${name} = ${sum(2)};
    ${name} = ${name} * 256 + ${sum(1)};
    ${name} = ${name} * 256 + ${sum(0)};`;
      });
      const total = byChannel
        ? `fma(f32(i${u}_${h}_0), line${h}.x, line${h}.y)`
        : runs
            .map((r) => `kp${u}_${r}.x * (f32(i${u}_${h}_${r}) * step${h}) + kp${u}_${r}.y * total${h}_${r}`)
            .join(" + ");
      return `${integers}\n    var e${u}_${h} = ${format.keys.norm ? `ks${u} * (${total})` : total};`;
    });
    return `${codes}\n${sums}`;
  };
}
