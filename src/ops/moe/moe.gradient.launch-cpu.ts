/** The gradient of the experts' weighted sum on the CPU: which kernels run (moe.gradient.ts says what they compute). */
import { type BufferSlice, type CpuDevice, f32 } from "../../device/index.js";
import { empty, type Tensor, zeros } from "../../tensor/index.js";
import { MAX_TOKEN_BLOCK, MIN_TOKEN_BLOCK, PANEL_BYTES } from "../matmul/matmul.launch-cpu.js";
import { COLUMN_BLOCK, type WeightMatrix } from "../matmul/weight-matrix.js";
import { widened } from "../matmul/weights/widen.js";
import type { ExpertGradients, ExpertOperands } from "./moe.gradient.js";

/** Panels that a thread takes at a time: few, since experts differ in tokens. */
const PANEL_CHUNK = 4;

/** Rows at positions: of tokens, or of positions themselves. */
interface Rows {
  readonly tensor: Tensor;
  readonly columns: number;
  readonly of: "tokens" | "positions";
}

export function expertGradientsCpu(device: CpuDevice, o: ExpertOperands): ExpertGradients {
  const { x, dy, weights, gateUp, down, T, H, I, E, topK, wants } = o;
  const pairs = T * topK;
  // Each expert that is used leaves at most three of its last four places empty.
  const slots = Math.ceil((pairs + 3 * Math.min(E, pairs)) / 4) * 4;
  using ranges = empty(device, [E, 2], "i32", "moe ranges");
  using order = empty(device, [slots], "i32", "moe order");
  using positions = empty(device, [pairs], "i32", "moe positions");
  device.run("moeGroup", {
    arguments: [o.experts, ranges, order, positions, pairs, E, slots],
    tasks: 1,
    cost: { bytes: 4 * (2 * pairs + slots), operations: 0 },
  });

  /** [slots, N] = rows · Wᵀ of their expert; W: [E · N, stride], zeros from the rows' columns on. */
  const atPositions = (rows: Rows, w: Tensor, N: number): Tensor => {
    const [, stride = 0] = w.shape;
    const out = empty(device, [slots, N], "f32", "moe gradient");
    using packed = empty(device, [slots, stride], "f32", "moe tokens");
    device.run("moePack", {
      arguments: [rows.tensor, packed, order, rows.columns, stride, slots, rows.of === "tokens" ? topK : 0],
      tasks: slots / 4,
      cost: { bytes: 8 * pairs * rows.columns, operations: 0 },
    });
    const panels = Math.ceil(N / 8);
    let tokenBlock = MIN_TOKEN_BLOCK;
    while (tokenBlock < Math.min(MAX_TOKEN_BLOCK, pairs)) tokenBlock *= 2;
    const workerBytes = 2 * PANEL_BYTES + 2 * tokenBlock * 8 * 4;
    device.run("moeTilesF32", {
      arguments: [
        ...[out, undefined, undefined, undefined, f32(0), f32(1), N, 0, false],
        ...[packed, w, undefined, ranges, device.workerScratch(workerBytes), workerBytes],
        ...[slots, stride, Math.log2(COLUMN_BLOCK), panels, tokenBlock],
      ],
      tasks: E * panels,
      chunk: PANEL_CHUNK,
      cost: { bytes: w.byteLength + packed.byteLength, operations: 2 * pairs * N * rows.columns },
    });
    return out;
  };
  const tokens = (tensor: Tensor): Rows => ({ tensor, columns: H, of: "tokens" });
  const places = (tensor: Tensor, columns: number): Rows => ({ tensor, columns, of: "positions" });

  using gateUpNumbers = widened(device, gateUp);
  const hidden = atPositions(tokens(x), gateUpNumbers, 2 * I);
  const downTurned = turnedExperts(device, down, E);
  const dA = atPositions(tokens(dy), downTurned, I);
  downTurned.dispose();
  using dHidden = empty(device, [slots, 2 * I], "f32", "moe gradient");
  using inner = empty(device, [slots, I], "f32", "moe gradient");
  const dWeights = empty(device, [T, topK]);
  device.run("moeGradientInner", {
    arguments: [hidden, dA, weights, order, dHidden, inner, dWeights, I],
    tasks: slots,
    cost: { bytes: 28 * pairs * I, operations: 20 * pairs * I },
  });
  hidden.dispose();
  dA.dispose();

  let dx: Tensor | undefined;
  if (wants.x) {
    using turned = turnedExperts(device, gateUp, E);
    using products = atPositions(places(dHidden, 2 * I), turned, H);
    dx = empty(device, [T, H]);
    device.run("moeGradientScatter", {
      arguments: [products, positions, dx, H, topK],
      tasks: T,
      cost: { bytes: 4 * H * (pairs + T), operations: pairs * H },
    });
  }

  /** dW [E · M, stride] = Σ over an expert's positions of a(m) · b(n). */
  const sums = (a: Rows, b: Rows, w: WeightMatrix): Tensor => {
    const M = a.columns;
    const height = Math.ceil(M / 4) * 4;
    const out = (w.rowStride === b.columns ? empty : zeros)(device, [w.rows, w.rowStride]);
    using packed = empty(device, [slots, height], "f32", "moe columns");
    const rowArguments = ({ tensor, columns, of }: Rows) =>
      [tensor, columns, of === "tokens" ? topK : 0, order, ranges, E] as const;
    device.run("moePackColumns", {
      arguments: [...rowArguments(a), packed],
      tasks: height / 4,
      cost: { bytes: 8 * pairs * M, operations: 0 },
    });
    const panels = Math.ceil(b.columns / 8);
    const workerBytes = PANEL_BYTES + 32 * height;
    device.run("moeGradientSums", {
      arguments: [
        ...[...rowArguments(b), packed, out, M, w.rowStride, panels],
        ...[device.workerScratch(workerBytes), workerBytes],
      ],
      tasks: E * panels,
      chunk: PANEL_CHUNK,
      cost: { bytes: packed.byteLength + out.byteLength, operations: 2 * pairs * M * b.columns },
    });
    return out;
  };
  const dGateUp = wants.gateUp ? sums(places(dHidden, 2 * I), tokens(x), gateUp) : undefined;
  const dDown = wants.down ? sums(tokens(dy), places(inner, I), down) : undefined;
  return { dx, dWeights, dGateUp, dDown };
}

/** Each expert's part of W turned: [E · columns, rows of an expert rounded up to 32]. */
function turnedExperts(device: CpuDevice, w: WeightMatrix, E: number): Tensor {
  using wide = widened(device, w);
  const rows = w.rows / E;
  const stride = Math.ceil(rows / COLUMN_BLOCK) * COLUMN_BLOCK;
  const out = empty(device, [E * w.columns, stride], "f32", "turned experts");
  const part = (tensor: Tensor, e: number): BufferSlice => {
    const byteLength = tensor.byteLength / E;
    return { allocation: tensor.allocation, byteOffset: tensor.byteOffset + e * byteLength, byteLength };
  };
  for (let e = 0; e < E; e++) {
    device.run("transpose", {
      arguments: [part(wide, e), part(out, e), rows, w.columns, w.rowStride, w.columns, stride],
      tasks: Math.ceil(w.columns / 4),
      cost: { bytes: (wide.byteLength + out.byteLength) / E, operations: 0 },
    });
  }
  return out;
}
