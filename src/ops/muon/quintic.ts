/** What both devices iterate (Jordan et al.): five times X ← a X + (b A + c A²) X, A = X Xᵀ. */
export const QUINTIC = { a: 3.4445, b: -4.775, c: 2.0315, steps: 5 } as const;

/** A step's length: as AdamW's (Liu et al.). */
export const lengthOf = (rows: number, columns: number): number => 0.2 * Math.sqrt(Math.max(rows, columns));
