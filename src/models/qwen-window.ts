/** Which layers of a Qwen model use the sliding window: `layer_types` (transformers 5) or `max_window_layers` (before). */
import { z } from "zod";
import { count } from "./config.js";

export const qwenWindowSchema = {
  use_sliding_window: z.boolean().default(false),
  sliding_window: count.nullish(),
  max_window_layers: z.number().int().min(0).nullish(),
  layer_types: z.array(z.enum(["full_attention", "sliding_attention"])).nullish(),
};

type WindowJson = z.infer<z.ZodObject<typeof qwenWindowSchema>>;

export function qwenWindow(c: WindowJson): (layer: number) => number | undefined {
  const window = c.use_sliding_window ? (c.sliding_window ?? undefined) : undefined;
  return (layer) => {
    if (window === undefined) return undefined;
    // Layers from max_window_layers on use the window; transformers' default for the bound is 28.
    const uses = c.layer_types ? c.layer_types[layer] === "sliding_attention" : layer >= (c.max_window_layers ?? 28);
    return uses ? window : undefined;
  };
}
