/** Contexts without a prompt: the caches' own append, with random keys and values. */
import type { Sequence, SequencePool } from "../../cache/index.js";
import type { Device } from "../../device/index.js";
import { buildStep } from "../../nn/index.js";
import { ropeTable } from "../../ops/index.js";
import { randomTensor } from "./random-weights.js";

/** Fills all softmax layers' caches of an empty sequence up to `tokens` tokens. */
export async function fillCaches(
  device: Device,
  pool: SequencePool,
  sequence: Sequence,
  tokens: number,
  signal: AbortSignal,
): Promise<void> {
  const { kvHeads, headDim } = pool.spec;
  const chunk = Math.min(tokens, device.kind === "webgpu" ? 4096 : 512);
  // As many query heads as key heads: they are only there because append wants them.
  using qkv = randomTensor(device, [chunk, 3 * kvHeads * headDim]);
  // Some kinds turn keys back before they pack them; any frequencies will do.
  using rope = ropeTable(device, { rotaryDim: headDim, theta: 10_000, maxPositions: tokens });
  sequence.reserve(tokens);
  for (let past = 0; past < tokens; past += chunk) {
    signal.throwIfAborted();
    const count = Math.min(chunk, tokens - past);
    using step = buildStep(device, [{ slot: sequence.slot, past, ids: new Array<number>(count).fill(0) }]);
    using part = qkv.slice(0, count);
    for (const cache of pool.caches) cache.keep(part, { heads: kvHeads, rope }, step);
    device.flush();
    // Gigabytes of launches: not all in the queue at once.
    if ((past / chunk) % 16 === 15) await device.idle();
  }
  sequence.length = tokens;
  await device.idle();
}
