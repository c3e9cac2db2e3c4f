/** packKv on plain arrays, number by number what the kernels write: see pack.ts for the rule. */
import { fwhtFloat32 } from "../fwht/fwht.reference.js";
import { LOW_POSITIONS } from "../rope/rope.js";
import { blockTokens, PACKED_PAGE_TOKENS, type PackedFormat, packedEnd, ringTokens } from "./format.js";
import { keyPage, valuePage, writeBlockParameters, writeRow } from "./page-image.reference.js";
import { cacheHalfBits, cacheHalfValue, packBlock, packRow } from "./quantiser.reference.js";

const fround = Math.fround;

/** A store's contents; pages in the order of their numbers. */
export interface PackedStoreState {
  readonly format: PackedFormat;
  readonly keys: Uint32Array[];
  readonly values: Uint32Array[];
  readonly pageTable: Int32Array;
  readonly pagesPerSlot: number;
  /** Halves [slots, entries, 2, G, D]. */
  readonly side: Uint16Array;
  readonly cuts: Int32Array;
  readonly markedTokens?: Int32Array;
  /** f32 [G, D]. */
  readonly mean?: Float32Array;
  /** i32 [G·D]. */
  readonly order?: Int32Array;
}

/** Of rope.ts: the values of its table. */
export interface RotaryTable {
  readonly rotaryDim: number;
  readonly values: Float32Array;
  readonly attentionFactor: number;
}

export interface PackReferenceStep {
  readonly heads: number;
  /** [T, (H + 2G)·D], prepared. */
  readonly qkv: Float32Array;
  /** Kinds with rotary at every read: [T, G·D]. */
  readonly keyRows?: Float32Array;
  readonly rope?: RotaryTable;
  readonly rows: readonly { readonly slot: number; readonly past: number; readonly count: number }[];
}

export function packReference(state: PackedStoreState, step: PackReferenceStep): void {
  const { format, cuts, pageTable, pagesPerSlot } = state;
  const { kvHeads, headDim, sinks, ropeAtRead } = format;
  const block = blockTokens(format);
  const isChannel = format.keys.layout === "channel";
  const columns = step.heads + 2 * kvHeads;
  const part = (t: number, column: number) =>
    step.qkv.slice((t * columns + column) * headDim, (t * columns + column + 1) * headDim);
  let firstToken = 0;
  for (const { slot, past, count } of step.rows) {
    const start = firstToken;
    firstToken += count;
    if (slot < 0) continue;
    const [floor, shift] = [cuts[2 * slot]!, isChannel ? cuts[2 * slot + 1]! : 0];
    const before = packedEnd(format, past, floor);
    const after = packedEnd(format, past + count, floor);
    const keysOf = (j: number, head: number): Float32Array => {
      if (j >= past) {
        const t = start + j - past;
        if (!ropeAtRead) return withoutMean(state, step, part(t, step.heads + head), head, j);
        return step.keyRows!.slice((t * kvHeads + head) * headDim, (t * kvHeads + head + 1) * headDim);
      }
      if (!ropeAtRead) return withoutMean(state, step, fromRing(state, slot, j, 0, head), head, j);
      return remadeRow(state, step, slot, j).slice(head * headDim, (head + 1) * headDim);
    };
    const valuesOf = (j: number, head: number) =>
      j >= past ? part(start + j - past, step.heads + kvHeads + head) : fromRing(state, slot, j, 1, head);

    for (let j = isChannel ? Math.max(before, sinks, floor) : before; j < after; j += block) {
      const target = j + shift;
      const page = pageTable[slot * pagesPerSlot + Math.floor(target / PACKED_PAGE_TOKENS)]!;
      const at = target % PACKED_PAGE_TOKENS;
      for (let head = 0; head < kvHeads; head += 1) {
        const [keys, values] = [state.keys[page]!, state.values[page]!];
        for (let i = 0; i < block; i += 1) {
          writeRow(values, valuePage(format), head, at + i, packRow(valuesOf(j + i, head), format.values));
        }
        if (!isChannel) {
          writeRow(keys, keyPage(format), head, at, packRow(keysOf(j, head), format.keys));
          continue;
        }
        const rows = Array.from({ length: block }, (_, i) => keysOf(j + i, head));
        const packed = packBlock(rows, format.keys);
        packed.rows.forEach((row, i) => {
          writeRow(keys, keyPage(format), head, at + i, row);
        });
        writeBlockParameters(keys, keyPage(format), head, at / block, packed.params);
      }
    }
    writeSide(state, step, slot, past, count, start, before, after);
  }
}

function writeSide(
  state: PackedStoreState,
  step: PackReferenceStep,
  slot: number,
  past: number,
  count: number,
  start: number,
  before: number,
  after: number,
): void {
  const { format, side, markedTokens } = state;
  const { kvHeads, headDim, sinks, marked } = format;
  const ring = ringTokens(format);
  const size = 2 * kvHeads * headDim;
  const at = (entry: number) => (slot * (sinks + ring + marked) + entry) * size;
  const marks = Array.from({ length: marked }, (_, i) => markedTokens![slot * marked + i]!);
  marks.forEach((j, i) => {
    if (ring > 0 && j >= Math.max(sinks, before) && j < past) {
      side.copyWithin(at(sinks + ring + i), at(sinks + (j % ring)), at(sinks + (j % ring)) + size);
    }
  });
  for (let j = past; j < past + count; j += 1) {
    const from = ((start + j - past) * (step.heads + 2 * kvHeads) + step.heads) * headDim;
    const halves = Uint16Array.from(step.qkv.subarray(from, from + size), cacheHalfBits);
    if (j < sinks) side.set(halves, at(j));
    if (ring > 0 && j >= after) side.set(halves, at(sinks + (j % ring)));
    marks.forEach((mark, i) => {
      if (mark === j) side.set(halves, at(sinks + ring + i));
    });
  }
}

function fromRing(state: PackedStoreState, slot: number, j: number, which: 0 | 1, head: number): Float32Array {
  const { kvHeads, headDim, sinks, marked } = state.format;
  const ring = ringTokens(state.format);
  const entry = slot * (sinks + ring + marked) + sinks + (j % ring);
  const from = ((entry * 2 + which) * kvHeads + head) * headDim;
  return Float32Array.from(state.side.subarray(from, from + headDim), cacheHalfValue);
}

/** k − H R_p μ. */
function withoutMean(
  { format, mean }: PackedStoreState,
  { rope }: PackReferenceStep,
  key: Float32Array,
  head: number,
  position: number,
): Float32Array {
  if (format.meanPairs === 0) return key;
  let m: Float32Array = mean!.slice(head * format.headDim, (head + 1) * format.headDim);
  if (rope) rotateFloat32(m, rope, position, 1);
  if (format.keyRotation > 0) m = fwhtFloat32(m, format.keyRotation);
  return key.map((k, c) => k - m[c]!);
}

/** The quantiser's input of kinds with rotary at every read, from the ring's key after rotary: all heads. */
function remadeRow(state: PackedStoreState, step: PackReferenceStep, slot: number, j: number): Float32Array {
  const { kvHeads } = state.format;
  const heads = Array.from({ length: kvHeads }, (_, head) => fromRing(state, slot, j, 0, head));
  return keyRow(state, heads, step.rope, j);
}

/** Keys after rotary [G][D] to the row that is packed. */
export function keyRow(
  { format, order }: PackedStoreState,
  heads: readonly Float32Array[],
  rope: RotaryTable | undefined,
  position: number,
): Float32Array {
  const { headDim, keyRotation } = format;
  let row: Float32Array = new Float32Array(heads.length * headDim);
  heads.forEach((head, i) => {
    const k = head.slice();
    if (rope) rotateFloat32(k, rope, position, -1);
    row.set(k, i * headDim);
  });
  if (keyRotation > 0) row = fwhtFloat32(row, keyRotation);
  return order ? row.map((_, c) => row[order[c]!]!) : row;
}

/** In place, in the kernels' order of operations; sign −1 takes the rotation back. */
export function rotateFloat32(x: Float32Array, rope: RotaryTable, position: number, sign: 1 | -1): void {
  const { rotaryDim, values, attentionFactor } = rope;
  const half = rotaryDim / 2;
  const back = fround(1 / attentionFactor ** 2);
  for (let i = 0; i < half; i += 1) {
    const low = (position % LOW_POSITIONS) * rotaryDim + i;
    const high = (LOW_POSITIONS + Math.floor(position / LOW_POSITIONS)) * rotaryDim + i;
    const [lc, ls, hc, hs] = [values[low]!, values[low + half]!, values[high]!, values[high + half]!];
    const cosine = fround(fround(lc * hc) - fround(ls * hs));
    const sine = fround(fround(ls * hc) + fround(lc * hs));
    const [a, b] = [x[i]!, x[i + half]!];
    if (sign === 1) {
      x[i] = fround(a * cosine) - fround(b * sine);
      x[i + half] = fround(b * cosine) + fround(a * sine);
    } else {
      x[i] = fround(fround(a * cosine) + fround(b * sine)) * back;
      x[i + half] = fround(fround(b * cosine) - fround(a * sine)) * back;
    }
  }
}
