/** CPU kernels of prepareKv: heads in place, and the rows that kinds with rotary at every read pack. */
import { hadamard } from "../fwht/fwht.inline.as";
import { normaliseHead, rotateHead, unrotateHead } from "../rope/head.inline.as";
import { cacheHalf4, cacheHalfValue4 } from "./half.inline.as";
import { firstToPack, packedEnd } from "./packed-end.inline.as";

@unmanaged
class PrepareArgs {
  /** [T, H + 2G, D]. */
  qkv: usize;
  tokens: usize;
  /** [LOW + highLines, rotaryDim], or 0. */
  table: usize;
  /** [D], or 0. */
  qNorm: usize;
  kNorm: usize;
  /** [G, D] and [G, meanPairs], or 0; [T, H, meanPairs, 2]. */
  mean: usize;
  pairs: usize;
  meanTerms: usize;
  heads: i32;
  kvHeads: i32;
  headDim: i32;
  rotaryDim: i32;
  highLines: i32;
  eps: f32;
  /** Widths of the transforms, 0 for none, and fl(1/√width). */
  keyRotation: i32;
  keyScale: f32;
  valueRotation: i32;
  valueScale: f32;
  meanPairs: i32;
  toHalves: i32;
  /** [G, D], or 0. */
  valueMean: usize;
}

/** A task is one head of one token. */
export function prepareKv(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<PrepareArgs>(args);
  const columns = g.heads + 2 * g.kvHeads;
  const bytes = <usize>g.headDim << 2;
  for (let task = begin; task < end; task++) {
    const column = task % columns;
    const x = g.qkv + <usize>task * bytes;
    if (column >= g.heads + g.kvHeads) {
      if (g.valueMean) subtract(x, g.valueMean + <usize>(column - g.heads - g.kvHeads) * bytes, bytes);
      if (g.valueRotation) hadamard(x, g.headDim, g.valueRotation, g.valueScale);
      if (g.toHalves) roundToHalves(x, bytes);
      continue;
    }
    const isQuery = column < g.heads;
    const weight = isQuery ? g.qNorm : g.kNorm;
    if (weight) normaliseHead(x, x, weight, g.headDim, g.eps);
    const position = max(load<i32>(g.tokens + (<usize>(task / columns) << 4), 4), 0);
    if (g.table) rotateHead(x, g.table, g.rotaryDim, g.highLines, position);
    if (isQuery && g.meanPairs > 0) meanTerms(x, g, task / columns, column);
    if (g.keyRotation) hadamard(x, g.headDim, g.keyRotation, g.keyScale);
    if (!isQuery && g.toHalves) roundToHalves(x, bytes);
  }
}

function subtract(x: usize, mean: usize, bytes: usize): void {
  for (let c: usize = 0; c < bytes; c += 16) v128.store(x + c, f32x4.sub(v128.load(x + c), v128.load(mean + c)));
}

function roundToHalves(x: usize, bytes: usize): void {
  for (let c: usize = 0; c < bytes; c += 4 << 2) {
    const v = v128.load(x + c);
    // NaN counts as 0, as the quantiser takes it.
    v128.store(x + c, cacheHalfValue4(cacheHalf4(v128.and(v, f32x4.eq(v, v)))));
  }
}

function meanTerms(q: usize, g: PrepareArgs, token: i32, head: i32): void {
  const group = head / (g.heads / g.kvHeads);
  const mean = g.mean + (<usize>(group * g.headDim) << 2);
  const pairs = g.pairs + (<usize>(group * g.meanPairs) << 2);
  const half = <usize>(g.rotaryDim >> 1) << 2;
  let to = g.meanTerms + (<usize>((token * g.heads + head) * g.meanPairs) << 3);
  for (let i = 0; i < g.meanPairs; i++) {
    const c = <usize>load<i32>(pairs + (<usize>i << 2)) << 2;
    const q0 = load<f32>(q + c), q1 = load<f32>(q + half + c);
    const m0 = load<f32>(mean + c), m1 = load<f32>(mean + half + c);
    store<f32>(to, q0 * m0 + q1 * m1);
    store<f32>(to, q1 * m0 - q0 * m1, 4);
    to += 8;
  }
}

@unmanaged
class KeyRowArgs {
  qkv: usize;
  tokens: usize;
  rows: usize;
  table: usize;
  kNorm: usize;
  /** i32 [G·D], or 0. */
  order: usize;
  /** [T, G·D]: the result. */
  keyRows: usize;
  side: usize;
  cuts: usize;
  scratch: usize;
  scratchBytes: i32;
  heads: i32;
  kvHeads: i32;
  headDim: i32;
  rotaryDim: i32;
  highLines: i32;
  eps: f32;
  keyRotation: i32;
  keyScale: f32;
  inverseSquare: f32;
  /** 0: k before rotary, in qkv. 1: after it, in qkv. 2: after it, in the ring: the row's i-th token to pack, for its i-th token. */
  source: i32;
  sinks: i32;
  recent: i32;
  ring: i32;
  entries: i32;
}

/** A task is the row of all key heads of one token. */
export function packedKeyRows(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<KeyRowArgs>(args);
  const columns = g.heads + 2 * g.kvHeads;
  const channels = g.kvHeads * g.headDim;
  const headBytes = <usize>g.headDim << 2;
  const bytes = <usize>channels << 2;
  const row = g.scratch + <usize>worker * g.scratchBytes;
  for (let t = begin; t < end; t++) {
    const token = g.tokens + (<usize>t << 4);
    const slot = load<i32>(token, 12);
    let position = max(load<i32>(token, 4), 0);
    if (g.source == 2) {
      if (slot < 0) continue;
      const line = g.rows + (<usize>load<i32>(token, 8) << 4);
      const past = load<i32>(line, 12);
      const floor = load<i32>(g.cuts + (<usize>slot << 3));
      const length = past + load<i32>(line, 4);
      const first = firstToPack(false, g.sinks, floor, packedEnd(g.sinks, g.recent, 1, past, floor));
      position = first + t - load<i32>(line);
      if (position >= past || position >= packedEnd(g.sinks, g.recent, 1, length, floor)) continue;
      const entry = g.side + (<usize>((slot * g.entries + g.sinks + position % g.ring) * channels) << 2);
      for (let c: usize = 0; c < bytes; c += 16) {
        v128.store(row + c, cacheHalfValue4(v128.load_ext<u16>(entry + (c >> 1))));
      }
    } else memory.copy(row, g.qkv + (<usize>(t * columns + g.heads) * headBytes), bytes);
    for (let head = 0; head < g.kvHeads; head++) {
      const x = row + <usize>head * headBytes;
      if (g.source == 0) {
        if (g.kNorm) normaliseHead(x, x, g.kNorm, g.headDim, g.eps);
      } else if (g.table) unrotateHead(x, g.table, g.rotaryDim, g.highLines, position, g.inverseSquare);
    }
    if (g.keyRotation) hadamard(row, channels, g.keyRotation, g.keyScale);
    const to = g.keyRows + <usize>t * bytes;
    if (g.order) {
      for (let c: usize = 0; c < bytes; c += 4) store<f32>(to + c, load<f32>(row + (<usize>load<i32>(g.order + c) << 2)));
    } else memory.copy(to, row, bytes);
  }
}
