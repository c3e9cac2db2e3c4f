/**
 * How wide the codes of each layer's keys and values should be, for the cache kind `2bit`, measured on a text.
 *
 * All layers begin with 2 bits. Each side of each layer alone is then given 3, and what that gains in likelihood is measured;
 * those that gain most get 3 bits in turn, as long as the cache stays within the wanted bits.
 *
 * Our choice  gains are taken as independent: they nearly add up where each is small. 1 + 2 · layers readings of the text.
 */
import { cacheKind, type KvCalibration, type LayerWidths } from "../../cache/index.js";
import type { LanguageModel } from "../../models/index.js";
import { idsNll } from "../evaluate/perplexity.js";

export interface KvWidthsOptions {
  /** Effective bits of a component that a full context may cost, first and newest tokens included. */
  readonly bits: number;
  /** Tokens that see each other. Default: the model's longest sequence, at most 4,096. */
  readonly context?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface KvWidths {
  readonly widths: readonly LayerWidths[];
  readonly effectiveBits: number;
  /** Nats a token that were gained over 2 bits everywhere, as far as gains add up. */
  readonly gained: number;
}

interface Choice {
  readonly side: "keyBits" | "valueBits";
  readonly layer: number;
  readonly gain: number;
}

const FEW = 2;
const MORE = 3;
/** Tokens in 16 bits, as `2bit` has them by default. */
const EXACT = { sinks: 4, recent: 64 } as const;

/**
 * @param ids the text; its first window or two are read.
 * @throws {RangeError} even 2 bits everywhere cost more than wanted; or the text is shorter than one window.
 */
export async function kvWidths(
  model: LanguageModel,
  calibration: KvCalibration,
  ids: readonly number[],
  options: KvWidthsOptions,
): Promise<KvWidths> {
  const { softmaxLayers: layers, maxPositions } = model.state;
  const { bits, context = Math.min(maxPositions, 4096), signal, onProgress } = options;
  const language = { ...model, state: { ...model.state, calibration } };
  const twos = Array.from({ length: layers }, (): LayerWidths => ({ keyBits: FEW, valueBits: FEW }));
  const kindOf = (widths: readonly LayerWidths[]) =>
    cacheKind({
      kind: "2bit",
      ...EXACT,
      keyBits: widths.map((w) => w.keyBits),
      valueBits: widths.map((w) => w.valueBits),
      // Every query reads what decoding would read.
      strictPrefill: true,
    });
  // What a whole context keeps in 16 bits.
  const exact = (EXACT.sinks + EXACT.recent) / context;
  const effective = (widths: readonly LayerWidths[]) => kindOf(widths).bits(language.state) * (1 - exact) + 16 * exact;
  if (effective(twos) > bits) {
    throw new RangeError(`2 bits everywhere are ${effective(twos).toFixed(2)} effective bits here: more than ${bits}`);
  }
  const total = 1 + 2 * layers;
  let done = 0;
  const lossOf = async (widths: readonly LayerWidths[]) => {
    const { nll, predicted } = await idsNll(language, ids, {
      ...{ context, kv: kindOf(widths), limit: 2 * context },
      ...(signal ? { signal } : {}),
    });
    done += 1;
    onProgress?.(done, total);
    return nll / predicted.length;
  };
  const base = await lossOf(twos);
  const choices: Choice[] = [];
  for (let layer = 0; layer < layers; layer++) {
    for (const side of ["keyBits", "valueBits"] as const) {
      choices.push({ side, layer, gain: base - (await lossOf(raised(twos, side, layer))) });
    }
  }
  let widths: readonly LayerWidths[] = twos;
  let gained = 0;
  for (const { side, layer, gain } of choices.sort((a, b) => b.gain - a.gain)) {
    const next = raised(widths, side, layer);
    if (gain <= 0 || effective(next) > bits) break;
    widths = next;
    gained += gain;
  }
  return { widths, effectiveBits: effective(widths), gained };
}

function raised(widths: readonly LayerWidths[], side: Choice["side"], layer: number): LayerWidths[] {
  return widths.map((w, i) => (i === layer ? { ...w, [side]: MORE } : w));
}
