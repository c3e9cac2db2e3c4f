/**
 * Which tile of the matrix units a product takes: chosen by sizes, from measurements.
 *
 * Microseconds of a whole product on an H100, the rounding of x included; the tile that is taken is marked.
 *
 *                            f16                        int8                       int4
 *   T     N      K     128×128×64 128×128×32 64×64×64 | 128×128×64 128×128×32 64×64×64 | 128×128×64 128×128×32 64×64×64
 *   64    4096   4096      85        108       63*    |     84         94       52*    |     95        120       59*
 *   128   4096   4096      76        118       69*    |     84         94       53*    |     87        117       52*
 *   256   4096   4096      89        133       99*    |     87        102       69*    |     89        110       65*
 *   512   4096   4096      90*       144      139     |    119*       122      147     |    101*       119      128
 *   2048  4096   4096     296*       311      485     |    415        302*     503     |    364        322*     457
 *   64    11008  4096      98        135       92*    |    120        123       93*    |     84        109       68*
 *   128   11008  4096      98*       146      151     |    123*       130      155     |    102*       127      133
 *   256   11008  4096     162*       206      204     |    232        195*     260     |    185        162*     182
 *   512   11008  4096     225*       284      358     |    313        296*     378     |    276        340*     393
 *   1024  1024   1024      37         41       31*    |
 *   2048  1024   1024      40*        44       48     |
 *   4096  4096   4096     557*       588      925     |    774        562*             |    693        613*
 *
 * f16 as it loads since (matrix-weights.wgsl.ts): 561 µs at 4096³ in every process, 714 to 758 before.
 * bf16 behaves as f16, f32 (4096³: 894 and 649*) as int8. Tried and slower: 256×128 and 128×256 tiles, blocks of 32 in a tile
 * of 128, tiles in two buffers with one barrier. The same holds for experts, with tiles of each expert's tokens (8 of H = 6144
 * and I = 1536 with 512 tokens each, f16: 1288 µs in 128×128×32, 1440 in 128×128×64, 1819 in 64×64×64, 7765 in float32 on
 * the vector units; fulgur-mini's, I = 160: 214 in 64×64×32, 231 in 64×64×64, 249 in 128×128×32, 387 in float32).
 */
import type { WebGpuDevice } from "../../device/index.js";
import { type MatrixShape, matrixSubgroups, matrixWorkgroupBytes } from "./matrix-tile.wgsl.js";
import type { WeightKind } from "./weight-matrix.js";

const largeDeep: MatrixShape = { tokens: 128, rows: 128, block: 64, depth: 64, buffers: 1 };
const large: MatrixShape = { ...largeDeep, depth: 32 };
const smallDeep: MatrixShape = { tokens: 64, rows: 64, block: 32, depth: 64, buffers: 1 };
const small: MatrixShape = { ...smallDeep, depth: 32 };

/** All that can be chosen. */
export const matrixShapes: readonly MatrixShape[] = [largeDeep, large, smallDeep];
export const expertMatrixShapes: readonly MatrixShape[] = [large, small];

/** With fewer large tiles than half of a big GPU's multiprocessors (132 in an H100) small ones are faster. */
const ENOUGH_LARGE_TILES = 66;
/** With no more large tiles than multiprocessors what counts is how many bytes are under way: deep tiles. */
const MULTIPROCESSORS = 132;

/** Whether the device has the instructions, and room for the tile. */
export function takesMatrixShape({ features, limits }: WebGpuDevice, shape: MatrixShape): boolean {
  const { min, max } = features.subgroupSize;
  return (
    min === max &&
    (min === 32 || min === 64) &&
    features.f16 &&
    matrixSubgroups(shape) * min <= limits.maxInvocations &&
    matrixWorkgroupBytes(shape) <= limits.maxWorkgroupStorageBytes &&
    features.subgroupMatrix.some(
      (c) => c.component === "f16" && c.result === "f32" && c.M === 16 && c.N === 16 && c.K === 16,
    )
  );
}

/** The tile for T tokens and so many weight rows; undefined where the device has no matrix units. */
export function matrixShapeOf(
  device: WebGpuDevice,
  kind: WeightKind,
  T: number,
  rows: number,
): MatrixShape | undefined {
  const tiles = Math.ceil(T / large.tokens) * Math.ceil(rows / large.rows);
  const isHalf = kind === "f16" || kind === "bf16";
  const best =
    T <= small.tokens || tiles < ENOUGH_LARGE_TILES
      ? smallDeep
      : isHalf || tiles <= MULTIPROCESSORS
        ? largeDeep
        : large;
  return [best, best === smallDeep ? small : large, small].find((shape) => takesMatrixShape(device, shape));
}

/** The tile for experts that get so many tokens each, with so many weight rows each. */
export function expertMatrixShapeOf(
  device: WebGpuDevice,
  { experts, tokens, rows }: { readonly experts: number; readonly tokens: number; readonly rows: number },
): MatrixShape | undefined {
  const tiles = experts * Math.floor(tokens / large.tokens) * Math.ceil(rows / large.rows);
  const best = tiles >= MULTIPROCESSORS ? large : small;
  return [best, small].find((shape) => takesMatrixShape(device, shape));
}
