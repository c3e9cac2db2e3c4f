/** Which tokens of a sequence are where, on the CPU: see packed-pages.ts and packed-attention.ts for the rules. */
import { Segment, segmentOf } from "../attention/kv-pages.inline.as";
import { packedEnd } from "../packed-kv/packed-end.inline.as";
import { Side, SLOTS } from "./packed-rows.inline.as";

@unmanaged
export class PackedArgs {
  /** [T, H + 2G, D]. */
  qkv: usize;
  tokens: usize;
  rows: usize;
  /** Prefill only. */
  tiles: usize;
  /** [T, H, D] of this store's first part; parts lie `results` · D apart. */
  parts: usize;
  /** [part, T, H, 2]: maximum and sum. */
  stats: usize;
  /** [slots, pagesPerSlot]. */
  pageTable: usize;
  /** [slots, sideEntries, 2, G, D] halves; 0: none, or another store's. */
  side: usize;
  /** [slots, 2]. */
  cuts: usize;
  /** [slots, blocksPerSlot, 2], layout "channel". */
  blocks: usize;
  /** [slots, marked]. */
  markedTokens: usize;
  /** [slots, skipWords]. */
  skips: usize;
  /** [G · D]. */
  order: usize;
  /** [G, meanPairs]. */
  pairs: usize;
  /** [T, H, meanPairs, 2]. */
  meanTerms: usize;
  /** [LOW + highLines, rotaryDim]. */
  ropeTable: usize;
  scratch: usize;
  scratchBytes: i32;
  tokenCount: i32;
  heads: i32;
  kvHeads: i32;
  headDim: i32;
  window: i32;
  splits: i32;
  pagesPerSlot: i32;
  blocksPerSlot: i32;
  skipWords: i32;
  sideEntries: i32;
  sinks: i32;
  recent: i32;
  ring: i32;
  marked: i32;
  /** Tokens that are packed together. */
  block: i32;
  isStrict: i32;
  /** Whether the tokens that are not packed count with this store. */
  hasRest: i32;
  isRopeAtRead: i32;
  keyRotation: i32;
  meanPairs: i32;
  rotaryDim: i32;
  highLines: i32;
  keyRotationScale: f32;
  scale: f32;
  /** 1 / the rotary table's attention factor. */
  inverseFactor: f32;
  /** Two `Side`s, 10 words each; then the segments, after their count. */
  keys: i32;
}

// @ts-ignore: decorator
@inline
const SIDE_BYTES: usize = 40;

// @ts-ignore: decorator
@inline
export function keySide(args: usize): Side {
  return changetype<Side>(args + offsetof<PackedArgs>("keys"));
}

// @ts-ignore: decorator
@inline
export function valueSide(args: usize): Side {
  return changetype<Side>(args + offsetof<PackedArgs>("keys") + SIDE_BYTES);
}

/** Below every score. */
// @ts-ignore: decorator
@inline
export const NOTHING: f32 = -1e30;
// @ts-ignore: decorator
@inline
const LOW_POSITIONS: i32 = 1024;

/** End of the packed tokens of a sequence of `length`. */
// @ts-ignore: decorator
@inline
export function endOf(g: PackedArgs, length: i32, floor: i32): i32 {
  return packedEnd(g.sinks, g.recent, g.block, length, floor);
}

/** Where a sequence was cut. */
// @ts-ignore: decorator
@inline
export function floorOf(g: PackedArgs, slot: i32): i32 {
  return slot < 0 ? 0 : load<i32>(g.cuts + (<usize>slot << 3));
}

/** Token slots in use when the tokens before `end` are packed. */
export function slotsInUse(g: PackedArgs, args: usize, slot: i32, end: i32, floor: i32): i32 {
  if (slot < 0 || end <= 0) return 0;
  if (!keySide(args).isChannel) return end;
  return max(end, max(g.sinks, floor)) + load<i32>(g.cuts + (<usize>slot << 3), 4);
}

/** The first token slot that may hold a token at or past `first`. */
export function firstSlot(g: PackedArgs, args: usize, slot: i32, first: i32, floor: i32): i32 {
  if (!keySide(args).isChannel) return first;
  // Behind a cut, blocks may be short: only those after the last cut are found by a sum.
  if (first < max(g.sinks, floor)) return 0;
  return first + load<i32>(g.cuts + (<usize>slot << 3), 4);
}

/** Whether a token is not to be read from its token slot. */
// @ts-ignore: decorator
@inline
export function isSkipped(g: PackedArgs, slot: i32, token: i32): bool {
  if (g.skips == 0) return false;
  return (load<u32>(g.skips + (<usize>(slot * g.skipWords + (token >> 5)) << 2)) >> (token & 31) & 1) != 0;
}

/**
 * The tokens in the 128 slots of a sequence's page `index`, as i32: −1 where there is none of lo … hi − 1, or one that is not
 * to be read from here.
 *
 * @returns the first slot and one past the last, rounded to fours, as first | last << 16; 0: none.
 */
export function tokensOfPage(g: PackedArgs, args: usize, slot: i32, index: i32, lo: i32, hi: i32, to: usize): i32 {
  let first = SLOTS;
  let last = 0;
  const k = keySide(args);
  lo = max(lo, g.sinks);
  if (k.isChannel) {
    const perPage = SLOTS / k.group;
    for (let b = 0; b < perPage; b++) {
      const block = index * perPage + b;
      let token = 0, count = 0;
      if (block < g.blocksPerSlot) {
        const entry = g.blocks + (<usize>(slot * g.blocksPerSlot + block) << 3);
        token = load<i32>(entry);
        count = load<i32>(entry, 4);
      }
      for (let i = 0; i < k.group; i++) {
        const isHere = i < count && token + i >= lo && token + i < hi;
        const at = b * k.group + i;
        store<i32>(to + (<usize>at << 2), isHere ? token + i : -1);
        if (isHere) {
          first = min(first, at);
          last = at + 1;
        }
      }
    }
  } else {
    const token = index * SLOTS;
    for (let i = 0; i < SLOTS; i++) {
      const j = token + i;
      const isHere = j >= lo && j < hi && !isSkipped(g, slot, j);
      store<i32>(to + (<usize>i << 2), isHere ? j : -1);
      if (isHere) {
        first = min(first, i);
        last = i + 1;
      }
    }
  }
  return last == 0 ? 0 : (first & ~3) | ((last + 3) & ~3) << 16;
}

/** The segment of a sequence's page `index`, or 0; `page` receives the page's number. */
// @ts-ignore: decorator
@inline
export function pageOf(g: PackedArgs, slot: i32, index: i32): i32 {
  if (index >= g.pagesPerSlot) return -1;
  return load<i32>(g.pageTable + (<usize>(slot * g.pagesPerSlot + index) << 2));
}

export function segmentOfPage(args: usize, page: i32): usize {
  const list = args + offsetof<PackedArgs>("keys") + 2 * SIDE_BYTES;
  return page < 0 ? 0 : segmentOf(list + 4, load<i32>(list), page);
}

// @ts-ignore: decorator
@inline
export function keyPage(args: usize, segment: usize, page: i32): usize {
  const s = changetype<Segment>(segment);
  return s.keys + (<usize>(page - s.firstPage) * <usize>keySide(args).pageWords << 2);
}

// @ts-ignore: decorator
@inline
export function valuePage(args: usize, segment: usize, page: i32): usize {
  const s = changetype<Segment>(segment);
  return s.values + (<usize>(page - s.firstPage) * <usize>valueSide(args).pageWords << 2);
}

/** The address of a side entry: [2, G, D] halves. */
// @ts-ignore: decorator
@inline
export function sideEntry(g: PackedArgs, slot: i32, entry: i32): usize {
  return g.side + (<usize>(slot * g.sideEntries + entry) * <usize>(g.kvHeads * g.headDim) << 2);
}

/** The rotary table's line of a position, of the lower level (with the attention factor) or the upper one. */
// @ts-ignore: decorator
@inline
export function tableLine(g: PackedArgs, position: i32, isUpper: bool): usize {
  const line = isUpper ? LOW_POSITIONS + min(position / LOW_POSITIONS, g.highLines - 1) : position % LOW_POSITIONS;
  return g.ropeTable + (<usize>(line * g.rotaryDim) << 2);
}

/** Cosine and sine of pair i at a position, times the attention factor: into lane 0 and 1. */
export function angleOf(g: PackedArgs, position: i32, pair: i32): v128 {
  const half = <usize>(g.rotaryDim >> 1) << 2;
  const low = tableLine(g, position, false) + (<usize>pair << 2);
  const high = tableLine(g, position, true) + (<usize>pair << 2);
  const lowCos = load<f32>(low), lowSin = load<f32>(low + half);
  const highCos = load<f32>(high), highSin = load<f32>(high + half);
  return f32x4(lowCos * highCos - lowSin * highSin, lowSin * highCos + lowCos * highSin, 0, 0);
}
