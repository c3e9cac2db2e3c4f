/** Parts of the columns of a matrix. */

export function splitColumnsReference(x: Float64Array, widths: readonly number[]): Float64Array[] {
  const N = widths.reduce((a, b) => a + b, 0);
  let first = 0;
  return widths.map((width) => {
    const begin = first;
    first += width;
    return x.filter((_, i) => i % N >= begin && i % N < begin + width);
  });
}
