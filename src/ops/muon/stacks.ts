/**
 * Which matrices of a step go into a stack: those of one size, tall ones turned. Matrices of a tensor that lie at equal
 * distances are a series, which a kernel finds by itself: the experts of a layer, say, or k and v.
 */
import type { MuonTensor } from "./muon.js";

/** Matrices of one size in one tensor, `step` rows apart from row `first` on. */
export interface Series {
  readonly tensor: MuonTensor;
  readonly first: number;
  readonly step: number;
  readonly count: number;
  /** More rows than columns: it lies turned in the stack. */
  readonly isTall: boolean;
}

/** A tensor [count, rows, stride] to be: matrices of `rows` ≤ `columns` ≤ `stride`. */
export interface Stack {
  readonly count: number;
  readonly rows: number;
  readonly columns: number;
  readonly stride: number;
  /** Their matrices one after another are the stack's. */
  readonly series: readonly Series[];
}

export interface StackLimits {
  /** What strides are multiples of. */
  readonly align: number;
  /** Numbers and matrices of a stack at most; one matrix is always taken. */
  readonly numbers: number;
  readonly matrices: number;
}

/** All matrices of the tensors, shared out over stacks. */
export function stacksOf(tensors: readonly MuonTensor[], { align, numbers, matrices }: StackLimits): Stack[] {
  const sizes = new Map<string, { rows: number; columns: number; series: Series[] }>();
  for (const tensor of tensors) {
    for (const one of seriesOf(tensor)) {
      const [rows, columns] = one.isTall ? [one.columns, one.rows] : [one.rows, one.columns];
      const key = `${rows} ${columns}`;
      const size = sizes.get(key) ?? { rows, columns, series: [] };
      sizes.set(key, size);
      const { first, step, count, isTall } = one;
      size.series.push({ tensor, first, step, count, isTall });
    }
  }
  return [...sizes.values()].flatMap(({ rows, columns, series }) => {
    const stride = Math.ceil(columns / align) * align;
    const most = Math.max(1, Math.min(matrices, Math.floor(numbers / (rows * stride))));
    return sharedOut(series, most).map((own) => ({
      ...{ rows, columns, stride, series: own },
      count: own.reduce((sum, { count }) => sum + count, 0),
    }));
  });
}

interface SizedSeries {
  readonly rows: number;
  readonly columns: number;
  readonly first: number;
  step: number;
  count: number;
  readonly isTall: boolean;
}

function seriesOf({ parts }: MuonTensor): SizedSeries[] {
  const all: SizedSeries[] = [];
  const latest = new Map<string, SizedSeries>();
  for (const { first, rows, columns } of [...parts].sort((a, b) => a.first - b.first)) {
    if (rows === 0 || columns === 0) continue;
    const key = `${rows} ${columns}`;
    const series = latest.get(key);
    const step = series ? first - (series.first + (series.count - 1) * series.step) : 0;
    if (series && (series.count === 1 || series.step === step)) {
      series.step = step;
      series.count += 1;
    } else {
      const begun = { rows, columns, first, step: 0, count: 1, isTall: rows > columns };
      latest.set(key, begun);
      all.push(begun);
    }
  }
  return all;
}

/** Series cut so that none of the lists has more than `most` matrices. */
function sharedOut(series: readonly Series[], most: number): Series[][] {
  const lists: Series[][] = [];
  let room = 0;
  for (const one of series) {
    for (let taken = 0; taken < one.count; ) {
      if (room === 0) {
        lists.push([]);
        room = most;
      }
      const count = Math.min(room, one.count - taken);
      lists.at(-1)?.push({ ...one, first: one.first + taken * one.step, count });
      room -= count;
      taken += count;
    }
  }
  return lists;
}
