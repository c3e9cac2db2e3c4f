/** The transpose with zeros around it, element by element. */

export function transposeReference(
  x: ArrayLike<number>,
  {
    rows,
    columns,
    stride,
    rowsOut,
    columnsOut,
  }: Readonly<Record<"rows" | "columns" | "stride" | "rowsOut" | "columnsOut", number>>,
): Float64Array {
  const y = new Float64Array(rowsOut * columnsOut);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) y[c * columnsOut + r] = x[r * stride + c]!;
  return y;
}
