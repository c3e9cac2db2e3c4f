/**
 * Products of tiles on WebGPU, as text: what the kernels of causal attention and of lightning attention's gradient are made of.
 *
 *   dot     R[i, j] += Σ_c A[i, c] B[j, c]      both operands come as lines, read along the sum
 *   mixed   R[i, j] += Σ_c A[i, c] M[c, j]
 *   outer   R[i, j] += Σ_t P[i, t] B[t, j]      P is in the threads' registers: the result of a dot
 *
 * A workgroup of 128 threads makes 64 rows: thread (ty, tx) has rows 4 ty … 4 ty + 3 and those 32 further, and columns
 * 4 tx … 4 tx + 3 (of a dot), or quads tx and tx + 16 of channels (of the others). Operands pass through workgroup memory in
 * pieces of 16 along the sum, the next one under way while one is used; 13 KiB are enough for any head size. A product's first
 * piece is not fetched ahead of it: the registers that it would wait in are worth more.
 *
 * The order of a sum is fixed: by the pieces, and within a piece by the position (for `outer` every fourth position first).
 */

/** Rows and columns of a tile. */
export const TILE = 64;
export const TILE_THREADS = 128;

export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** The row of a thread's result r = 0 … 7, from its first one (4 ty) on. */
export const rowOf = (r: number): number => (r < 4 ? r : 28 + r);

const TURNED = 17;

/**
 * An element of an operand as a WGSL expression; zeros beyond its edges. Better without branches: loads behind one wait for each
 * other.
 */
type Quad = (row: string, quad: string) => string;

interface Rows {
  /** Quad `quad` of line `row` of A. */
  readonly rows: Quad;
}

export class TileProducts {
  /** Quads of a piece along the sum. */
  private readonly quads: number;
  private readonly line: number;
  /** Columns of the results of `outer` and `mixed`: vec4 a thread. */
  readonly columns: readonly number[];

  /**
   * @param headDim numbers of a line.
   * @param width quads of a slice of the channels, at most 32.
   */
  constructor(
    headDim: number,
    private readonly width: number,
  ) {
    const d4 = Math.ceil(headDim / 4);
    this.quads = d4 > 2 ? 4 : d4;
    this.line = this.quads | 1;
    this.columns = range(Math.ceil(width / 16));
    this.constants = /* wgsl */ `
const D = ${headDim}u;
const D4 = ${d4}u;                 // quads of a line
const TILE = ${TILE}u;
const QUADS = ${this.quads}u;               // of a piece of lines
const LINE = ${this.line}u;                // an odd number of quads, so that lines lie in different banks
const TURNED = ${TURNED}u;             // of a piece of probabilities, [column, quad of rows]
const WIDTH = ${width}u;              // quads of a slice
var<workgroup> x: array<vec4f, ${Math.max(TILE * this.line, 16 * TURNED)}>;   // lines [line % 4, line / 4, QUADS]: those read together lie in different banks; or turned
var<workgroup> y: array<vec4f, ${Math.max(TILE * this.line, 16 * width, 4 * this.quads * width)}>;   // lines; or [16, WIDTH]`;
    // Where a thread stages its quads of lines.
    this.setup = /* wgsl */ `
  let ty = thread / 16u;
  let tx = thread % 16u;
  let stagedLine = thread / QUADS;
  let stagedQuad = thread % QUADS;
  let stagedAt = (stagedLine % 4u * 16u + stagedLine / 4u) * LINE + stagedQuad;`;
  }

  /** Goes before the kernel. */
  readonly constants: string;
  /** Goes first into it; needs `thread`. */
  readonly setup: string;

  /** Quad column of a thread; threads beyond the slice repeat its last one, and store nothing. */
  private column(n: number): string {
    return this.width >= 16 * (n + 1) ? `tx + ${16 * n}u` : `min(tx + ${16 * n}u, WIDTH - 1u)`;
  }

  /** A statement for each vec4 of a result that lies in the slice and above `rows`. */
  store(rows: string, statement: (row: string, quad: string, r: number, n: number) => string): string {
    return range(8)
      .map((r) => {
        const stores = this.columns.map((n) => {
          const body = statement(`(4u * ty + ${rowOf(r)}u)`, `(tx + ${16 * n}u)`, r, n);
          return this.width >= 16 * (n + 1) ? body : `if (tx + ${16 * n}u < WIDTH) { ${body} }`;
        });
        return `  if (4u * ty + ${rowOf(r)}u < ${rows}) { ${stores.join(" ")} }`;
      })
      .join("\n");
  }

  private readonly lineLoads = () => range(Math.ceil((TILE * this.quads) / TILE_THREADS));
  private readonly lineAt = (e: number) => `stagedLine + ${(TILE_THREADS / this.quads) * e}u`;
  private readonly stageLines = (to: string, from: string) => {
    const stores = this.lineLoads().map(
      (e) => `${to}[stagedAt + ${(TILE_THREADS / this.quads / 4) * e}u * LINE] = ${from}${e};`,
    );
    return this.quads === 1 ? `if (thread < TILE) { ${stores.join(" ")} }` : stores.join(" ");
  };

  /** Statements. @param result of row r: a vec4 of four columns. */
  dot({ rows, columns, result }: Rows & { readonly columns: Quad; readonly result: (r: number) => string }): string {
    const load = (quad: string) =>
      this.lineLoads()
        .map(
          (e) =>
            `nextX${e} = ${rows(this.lineAt(e), `${quad} + stagedQuad`)}; nextY${e} = ${columns(this.lineAt(e), `${quad} + stagedQuad`)};`,
        )
        .join("\n      ");
    return /* wgsl */ `
    {
    ${this.lineLoads()
      .map((e) => `var nextX${e}: vec4f; var nextY${e}: vec4f;`)
      .join(" ")}
      ${load("0u")}
    for (var quad = 0u; quad < D4; quad += QUADS) {
      workgroupBarrier();
      ${this.stageLines("x", "nextX")}
      ${this.stageLines("y", "nextY")}
      workgroupBarrier();
      if (quad + QUADS < D4) {
      ${load("quad + QUADS")}
      }
      for (var c = 0u; c < QUADS; c++) {
${range(4)
  .map((j) => `        let b${j} = y[(tx + ${16 * j}u) * LINE + c];`)
  .join("\n")}
${range(4)
  .map((e) => `        let turned${e} = vec4f(b0[${e}], b1[${e}], b2[${e}], b3[${e}]);`)
  .join("\n")}
${range(8)
  .map(
    (r) => `        let a${r} = x[(${16 * (r & 3) + 8 * (r >> 2)}u + ty) * LINE + c];
${range(4)
  .map((e) => `        ${result(r)} = fma(vec4f(a${r}[${e}]), turned${e}, ${result(r)});`)
  .join("\n")}`,
  )
  .join("\n")}
      }
    }
    }`;
  }

  private readonly matrixLoads = (count: number) => range(Math.ceil((count * this.width) / TILE_THREADS));
  private readonly stageMatrix = (from: string, count: number) =>
    this.matrixLoads(count)
      .map((e) => {
        const at = `thread + ${e * TILE_THREADS}u`;
        const store = `y[${at}] = ${from}${e};`;
        return (e + 1) * TILE_THREADS <= count * this.width ? store : `if (${at} < ${count}u * WIDTH) { ${store} }`;
      })
      .join(" ");

  /** Statements. @param matrix quad `quad` of the slice of row `row` of M. */
  mixed({
    rows,
    matrix,
    result,
  }: Rows & { readonly matrix: Quad; readonly result: (r: number, n: number) => string }): string {
    const count = 4 * this.quads;
    const load = (quad: string) =>
      [
        ...this.lineLoads().map((e) => `nextX${e} = ${rows(this.lineAt(e), `${quad} + stagedQuad`)};`),
        ...this.matrixLoads(count).map((e) => {
          const at = `(thread + ${e * TILE_THREADS}u)`;
          return `nextY${e} = ${matrix(`4u * (${quad}) + ${at} / WIDTH`, `${at} % WIDTH`)};`;
        }),
      ].join("\n      ");
    return /* wgsl */ `
    {
    ${this.lineLoads()
      .map((e) => `var nextX${e}: vec4f;`)
      .join(" ")}
    ${this.matrixLoads(count)
      .map((e) => `var nextY${e}: vec4f;`)
      .join(" ")}
      ${load("0u")}
    for (var quad = 0u; quad < D4; quad += QUADS) {
      workgroupBarrier();
      ${this.stageLines("x", "nextX")}
      ${this.stageMatrix("nextY", count)}
      workgroupBarrier();
      if (quad + QUADS < D4) {
      ${load("quad + QUADS")}
      }
      for (var c = 0u; c < QUADS; c++) {
${range(8)
  .map((r) => `        let a${r} = x[(${16 * (r & 3) + 8 * (r >> 2)}u + ty) * LINE + c];`)
  .join("\n")}
${range(4)
  .map(
    (e) => `        {
${this.columns.map((n) => `          let m${n} = y[(4u * c + ${e}u) * WIDTH + ${this.column(n)}];`).join("\n")}
${range(8)
  .flatMap((r) =>
    this.columns.map((n) => `          ${result(r, n)} = fma(vec4f(a${r}[${e}]), m${n}, ${result(r, n)});`),
  )
  .join("\n")}
        }`,
  )
  .join("\n")}
      }
    }
    }`;
  }

  /**
   * Statements.
   *
   * @param factors of row r: a vec4 of four columns, as `dot` leaves it.
   * @param count columns that count; pieces without one are left out.
   */
  outer({
    factors,
    matrix,
    count,
    result,
  }: {
    readonly factors: (r: number) => string;
    readonly matrix: Quad;
    readonly count: string;
    readonly result: (r: number, n: number) => string;
  }): string {
    const load = (piece: number) =>
      this.matrixLoads(16)
        .map((e) => {
          const at = `(thread + ${e * TILE_THREADS}u)`;
          return `nextY${e} = ${matrix(`${at} / WIDTH * 4u + ${piece}u`, `${at} % WIDTH`)};`;
        })
        .join("\n      ");
    const turned = (piece: number, first: number) =>
      `vec4f(${range(4)
        .map((r) => `${factors(first + r)}[${piece}]`)
        .join(", ")})`;
    const pieces = range(4).map(
      (piece) => /* wgsl */ `
    if (${count} > ${piece}u) {
      workgroupBarrier();
      x[tx * TURNED + ty] = ${turned(piece, 0)};
      x[tx * TURNED + 8u + ty] = ${turned(piece, 4)};
      ${this.stageMatrix("nextY", 16)}
      workgroupBarrier();
      ${piece < 3 ? load(piece + 1) : ""}
      for (var t = 0u; t < 16u; t++) {
        let a0 = x[t * TURNED + ty];
        let a1 = x[t * TURNED + 8u + ty];
${this.columns.map((n) => `        let m${n} = y[t * WIDTH + ${this.column(n)}];`).join("\n")}
${range(8)
  .flatMap((r) =>
    this.columns.map((n) => `        ${result(r, n)} = fma(vec4f(a${r >> 2}[${r & 3}]), m${n}, ${result(r, n)});`),
  )
  .join("\n")}
      }
    }`,
    );
    return /* wgsl */ `
    {
    ${this.matrixLoads(16)
      .map((e) => `var nextY${e}: vec4f;`)
      .join(" ")}
      ${load(0)}
${pieces.join("")}
    }`;
  }
}

/**
 * Tiles of all rows are numbered without knowing the rows' lengths: row r begins at ⌊firstToken / TILE⌋ + r, which leaves room for
 * each row's broken tile. Needs `rows`; gives a row and the tile's first token in it, or a row beyond the last.
 */
export const tilePlace = /* wgsl */ `
fn firstTile(row: u32) -> u32 { return u32(rows[row].x) / TILE + row; }
fn tilePlace(tile: u32, rowCount: u32) -> vec2u {
  var low = 0u;
  var high = rowCount;
  while (low + 1u < high) {
    let middle = (low + high) / 2u;
    if (firstTile(middle) <= tile) { low = middle; } else { high = middle; }
  }
  let first = (tile - firstTile(low)) * TILE;
  if (tile < firstTile(low) || first >= u32(rows[low].y)) { return vec2u(rowCount, 0u); }
  return vec2u(low, first);
}`;

/** Numbers of tiles that a step may use. */
export const tileSlots = (tokens: number, rows: number): number => Math.floor(tokens / TILE) + rows;
