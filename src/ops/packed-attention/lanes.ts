/** How the lanes that share a token share out its rows of codes. */
import { rowWords, type SideFormat } from "../packed-kv/format.js";
import { type Unit, unitOf } from "./unpack.wgsl.js";

/** Threads of a workgroup of decode attention; with U = lanes tokens each, it takes a page at a time. */
export const DECODE_THREADS = 128;

/** Bytes of workgroup memory in which the threads' sums of a unit of 16 channels, and what they exchange, meet. */
export const DECODE_BYTES = DECODE_THREADS * (5 * 16 + 2 * 4);

/** Numbers of a part of a head: D sums, the maximum, the sum of probabilities, two unused. */
export const partWidth = (headDim: number): number => headDim + 4;

export interface LaneShare {
  readonly unit: Unit;
  /** Adjacent units of a lane; the last lanes' may lie past the row's end. */
  readonly units: number;
  /** Words that one load takes: 4, 2 or 1. */
  readonly load: number;
  /** Units of a lane in a row that are known to lie in one group of channels. */
  readonly runUnits: number;
}

export function laneShare(side: SideFormat, headDim: number, lanes: number): LaneShare {
  const unit = unitOf(side.bits);
  const units = Math.ceil(Math.ceil(headDim / unit.channels) / lanes);
  const words = rowWords(side.bits, headDim);
  const load = [4, 2].find((n) => units % n === 0 && words % n === 0) ?? 1;
  const perGroup = side.layout === "channel" || side.group === headDim ? units : side.group / unit.channels;
  return { unit, units, load, runUnits: greatestCommonDivisor(perGroup, units) };
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
