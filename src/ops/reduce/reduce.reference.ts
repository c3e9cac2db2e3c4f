/** `sumAxes` and `repeatAxis` in float64 loops. */
export function sumAxesReference(
  x: ArrayLike<number>,
  shape: readonly number[],
  axes: readonly number[],
): Float64Array {
  const kept = shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
  const y = new Float64Array(kept.reduce((size, axis) => size * shape[axis]!, 1));
  for (let i = 0; i < x.length; i++) {
    let rest = i;
    const place = new Array<number>(shape.length);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      place[axis] = rest % shape[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    y[kept.reduce((at, axis) => at * shape[axis]! + place[axis]!, 0)]! += x[i]!;
  }
  return y;
}

export function repeatAxisReference(
  y: ArrayLike<number>,
  shape: readonly number[],
  axis: number,
  count: number,
): Float64Array {
  const behind = shape.slice(axis).reduce((a, b) => a * b, 1);
  return Float64Array.from(
    { length: y.length * count },
    (_, i) => y[Math.floor(i / (behind * count)) * behind + (i % behind)]!,
  );
}
