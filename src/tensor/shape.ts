/** Shapes: checks and sizes. */

/** A tensor argument has the wrong shape. Says where, which argument, what was expected and what came. */
export class ShapeError extends RangeError {
  override readonly name = "ShapeError";
  constructor(
    readonly where: string,
    readonly argument: string,
    readonly expected: string,
    readonly got: readonly number[] | string,
    advice = "",
  ) {
    const shown = typeof got === "string" ? got : `[${got.join(", ")}]`;
    super(`${where}: ${argument} expected ${expected}, got ${shown}. ${advice}`.trim());
  }
}

/** Number of elements. @throws {RangeError} an extent is not a whole number ≥ 0, or the product is not exact. */
export function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (const extent of shape) {
    if (!Number.isInteger(extent) || extent < 0)
      throw new RangeError(`shape [${shape.join(", ")}]: ${extent} is no extent`);
    size *= extent;
  }
  if (!Number.isSafeInteger(size)) throw new RangeError(`shape [${shape.join(", ")}] has too many elements`);
  return size;
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((extent, i) => extent === b[i]);
}
