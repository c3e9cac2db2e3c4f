/** The gradient of the experts' weighted sum on WebGPU: which kernels run (moe.gradient.ts says what they compute). */
import type { WebGpuDevice } from "../../device/index.js";
import { empty, type Tensor, zeros } from "../../tensor/index.js";
import { contract, contractsHalves } from "../matmul/contraction/contraction.js";
import type { Contraction, Operand } from "../matmul/contraction/operands.js";
import { type HalvesEdge, halvesRowOctets } from "../matmul/gemm-subgroup-matrix.wgsl.js";
import { kept, xLoadOf } from "../matmul/matmul.launch-webgpu.js";
import type { WeightMatrix } from "../matmul/weight-matrix.js";
import { weightHalves, widened } from "../matmul/weights/widen.js";
import { groupPairs } from "./group.wgsl.js";
import type { ExpertGradients, ExpertOperands } from "./moe.gradient.js";
import {
  GATHER_WORKGROUP,
  type GatherVariant,
  gatherKernel,
  gatherLabel,
  gatherParams,
  innerKernel,
  innerLabel,
  innerParams,
  PLACES_WORKGROUP,
  placesKernel,
  placesParams,
  SCATTER_WORKGROUP,
  scatterKernel,
  scatterLabel,
  scatterParams,
} from "./moe.gradient.wgsl.js";

/** Tokens of the tiles that an expert's places are filled up to: of the largest tiles where experts fill them. */
const UNITS = { large: 128, small: 64 } as const;

export function expertGradientsWebGpu(device: WebGpuDevice, o: ExpertOperands): ExpertGradients {
  const { x, dy, weights, gateUp, down, T, H, I, E, topK, wants } = o;
  const pairs = T * topK;
  const precision = gateUp.precision === "f16" && down.precision === "f16" ? "f16" : "f32";
  const isHalves = I % 8 === 0 && contractsHalves(device, precision, [T, H, I]);
  const unit = isHalves && pairs >= UNITS.large * E ? UNITS.large : UNITS.small;
  const count = Math.floor((pairs + Math.min(E, pairs) * (unit - 1)) / unit) * unit;
  using places = placesOf(device, o, unit, count);
  const gather = (rows: Tensor, edge: HalvesEdge) => gathered(device, rows, places.pairOf, topK, isHalves, edge);
  const numbersOf = (w: WeightMatrix) => (isHalves ? weightHalves(device, w) : widened(device, w));
  const atPlaces = (a: Operand, b: Operand, N: number, K: number): Tensor => {
    const out = empty(device, [count, N], "f32", "moe gradient");
    const experts = { mode: "places", count: E, unit, table: places.tiles } as const;
    contract(device, { a, b, M: count, N, K, out, experts });
    return out;
  };
  const byRows = (tensor: Tensor): Operand => ({ tensor, order: "rows" });
  const byColumns = (tensor: Tensor): Operand => ({ tensor, order: "columns" });

  using xs = gather(x, "held");
  using dys = gather(dy, "not finite");
  using gateUpNumbers = numbersOf(gateUp);
  const hidden = atPlaces(byRows(xs), byRows(gateUpNumbers), 2 * I, H);
  const downNumbers = numbersOf(down);
  const dA = atPlaces(byRows(dys), byColumns(downNumbers), I, H);
  downNumbers.dispose();

  const rowOf = (columns: number) => (isHalves ? 4 * halvesRowOctets(columns) : columns);
  const quadsOf = (columns: number) => (isHalves ? 2 * halvesRowOctets(columns) : 0);
  const dtype = isHalves ? "u32" : "f32";
  using dHidden = empty(device, [count, rowOf(2 * I)], dtype, "moe gradient");
  using inner = empty(device, [count, rowOf(I)], dtype, "moe gradient");
  const dWeights = empty(device, [T, topK]);
  const to = isHalves ? "halves" : "f32";
  const width = Math.min(count, device.limits.maxWorkgroupsPerDimension);
  device.run(
    kept(innerLabel(to), () => innerKernel(to)),
    {
      buffers: [hidden, dA, weights, places.pairOf, dHidden, inner, dWeights],
      params: innerParams.write({ I, places: count, hiddenQuads: quadsOf(2 * I), innerQuads: quadsOf(I) }),
      grid: [width, Math.ceil(count / width)],
      cost: {
        bytes: hidden.byteLength + dA.byteLength + dHidden.byteLength + inner.byteLength,
        operations: 20 * count * I,
      },
    },
  );
  hidden.dispose();
  dA.dispose();

  let dx: Tensor | undefined;
  if (wants.x) {
    using dxs = atPlaces(byRows(dHidden), byColumns(gateUpNumbers), H, 2 * I);
    dx = empty(device, [T, H]);
    const height = Math.min(T, device.limits.maxWorkgroupsPerDimension);
    const quads = H % 4 === 0;
    const channels = quads ? H / 4 : H;
    device.run(
      kept(scatterLabel(quads), () => scatterKernel(quads)),
      {
        buffers: [dxs, places.placeOf, dx],
        params: scatterParams.write({ tokens: T, channels, topK }),
        grid: [Math.ceil(channels / SCATTER_WORKGROUP), height, Math.ceil(T / height)],
        cost: { bytes: 4 * H * (pairs + T), operations: pairs * H },
      },
    );
  }
  const sums = (a: Tensor, b: Tensor, M: number, w: WeightMatrix): Tensor => {
    const N = w.columns;
    const out = (w.rowStride === N ? empty : zeros)(device, [w.rows, w.rowStride]);
    const experts: Contraction["experts"] = { mode: "sums", count: E, unit, table: places.firstPlaces };
    contract(device, { a: byColumns(a), b: byColumns(b), M, N, K: count, out, experts });
    return out;
  };
  const dGateUp = wants.gateUp ? sums(dHidden, xs, 2 * I, gateUp) : undefined;
  const dDown = wants.down ? sums(dys, inner, H, down) : undefined;
  return { dx, dWeights, dGateUp, dDown };
}

interface Places extends Disposable {
  readonly pairOf: Tensor;
  readonly placeOf: Tensor;
  readonly firstPlaces: Tensor;
  readonly tiles: Tensor;
}

function placesOf(device: WebGpuDevice, { experts, T, topK, E }: ExpertOperands, unit: number, count: number): Places {
  const pairs = T * topK;
  const { order, starts } = groupPairs(device, experts, E);
  using _order = order;
  using _starts = starts;
  const words = (size: number) => empty(device, [size], "u32", "moe places");
  const places = { pairOf: words(count), placeOf: words(pairs), firstPlaces: words(E + 1), tiles: words(count / unit) };
  const { pairOf, placeOf, firstPlaces, tiles } = places;
  device.run(placesKernel, {
    buffers: [order, starts, pairOf, placeOf, firstPlaces, tiles],
    params: placesParams.write({ experts: E, unit, places: count }),
    grid: [Math.ceil(Math.max(count, E + 1) / PLACES_WORKGROUP)],
    cost: { bytes: 12 * pairs, operations: 0 },
  });
  const dispose = () => {
    for (const tensor of Object.values(places)) tensor.dispose();
  };
  return { ...places, [Symbol.dispose]: dispose };
}

/** Rows of [T, C] at places; numbers are filled up to a multiple of 8, halves of 64. */
function gathered(
  device: WebGpuDevice,
  rows: Tensor,
  pairOf: Tensor,
  topK: number,
  isHalves: boolean,
  edge: HalvesEdge,
): Tensor {
  const [, C = 0] = rows.shape;
  const octets = isHalves ? halvesRowOctets(C) : Math.ceil(C / 8);
  const out = isHalves
    ? empty(device, [pairOf.size, 4 * octets], "u32", "moe rows")
    : empty(device, [pairOf.size, 8 * octets], "f32", "moe rows");
  const v: GatherVariant = { x: xLoadOf(C), to: isHalves ? "halves" : "f32", edge: isHalves ? edge : "held" };
  const height = Math.min(pairOf.size, device.limits.maxWorkgroupsPerDimension);
  device.run(
    kept(gatherLabel(v), () => gatherKernel(v)),
    {
      buffers: [rows, pairOf, out],
      params: gatherParams.write({ inputs: C, outOctets: octets, places: pairOf.size, topK }),
      grid: [Math.ceil(octets / GATHER_WORKGROUP), height, Math.ceil(pairOf.size / height)],
      cost: { bytes: rows.byteLength + out.byteLength, operations: 0 },
    },
  );
  return out;
}
