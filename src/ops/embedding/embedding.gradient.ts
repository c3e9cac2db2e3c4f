/**
 * The gradient of the embedding look-up: dW[v] = Σ over the tokens with id v of dy.
 *
 * The tokens are grouped by id on the host, which made the step: a row of the result has one owner, and its sum goes in the
 * tokens' order.
 */
import { params, type WebGpuKernel } from "../../device/index.js";
import { type Backward, type Keep, type Tensor, upload, zeros } from "../../tensor/index.js";
import type { WeightMatrix } from "../matmul/weight-matrix.js";

const embeddingGradientParams = params({ rows: "u32", columns: "u32", stride: "u32" });

export const embeddingGradientKernel: WebGpuKernel = {
  label: "embedding gradient",
  code: /* wgsl */ `
${embeddingGradientParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;            // [T, K]
@group(0) @binding(2) var<storage, read> groups: array<vec4i>;      // id, first, end of its tokens
@group(0) @binding(3) var<storage, read> tokens: array<i32>;        // [T], by id
@group(0) @binding(4) var<storage, read_write> dTable: array<f32>;  // [V, stride]

@compute @workgroup_size(64)   // a thread a column of a named row
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.y * grid.x + group.x) * 64u + lane;
  let row = index / p.columns;
  if (row >= p.rows) { return; }
  let c = index % p.columns;
  let mine = groups[row];
  var sum = 0.0;
  for (var i = mine.y; i < mine.z; i++) { sum += dy[u32(tokens[i]) * p.columns + c]; }
  dTable[u32(mine.x) * p.stride + c] = sum;
}`,
};

/** For `record`, with the input [codes of the table]. */
export function embeddingBackward(ids: readonly number[], table: WeightMatrix): (keep: Keep) => Backward {
  const { rows: V, columns, rowStride, device } = table;
  return () =>
    ([dy]) => {
      if (!dy) return [];
      const { groups, tokens } = tokensById(ids, V);
      const dTable = zeros(device, [V, rowStride]);
      if (groups.length > 0) {
        using groupWords = upload(device, Int32Array.from(groups.flat()), [groups.length, 4], "i32");
        using tokenWords = upload(device, Int32Array.from(tokens), [tokens.length], "i32");
        const cost = { bytes: 2 * dy.byteLength, operations: dy.size };
        const buffers: readonly Tensor[] = [dy, groupWords, tokenWords, dTable];
        if (device.kind === "cpu") {
          device.run("embeddingGradient", { arguments: [...buffers, columns, rowStride], tasks: groups.length, cost });
        } else {
          const count = Math.ceil((groups.length * columns) / 64);
          const width = Math.min(count, 65_535);
          device.run(embeddingGradientKernel, {
            buffers,
            params: embeddingGradientParams.write({ rows: groups.length, columns, stride: rowStride }),
            grid: [width, Math.ceil(count / width)],
            cost,
          });
        }
      }
      return [dTable.handOver()];
    };
}

/** Ids that are rows of the table, each with its part (first, end) of the tokens sorted by id. */
function tokensById(ids: readonly number[], V: number): { readonly groups: number[][]; readonly tokens: number[] } {
  const byId = new Map<number, number[]>();
  for (const [t, id] of ids.entries()) {
    if (!(id >= 0 && id < V)) continue; // such tokens were given zeros
    const list = byId.get(id);
    if (list) list.push(t);
    else byId.set(id, [t]);
  }
  const tokens: number[] = [];
  const groups = [...byId].map(([id, list]) => {
    const first = tokens.length;
    for (const t of list) tokens.push(t);
    return [id, first, tokens.length, 0];
  });
  return { groups, tokens };
}
