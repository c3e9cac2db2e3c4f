/**
 * The packed key/value format: what a quantised cache keeps of a token, and where.
 *
 * A page holds 128 token slots of one sequence in one layer, keys or values, as u32 words in up to three sections:
 *   codes   for head h, slot i: `rowWords(bits, D)` words; code c of a row lies at bits b·(c mod 32/b) of word ⌊c/(32/b)⌋;
 *           3 bits: a plane of the low two bits, then a plane of the high bit
 *   params  layout "token":   for h, i, group j = 0 … D/g − 1: one word, f16 scale | f16 offset << 16
 *           layout "channel": for h, block m = 0 … 128/g − 1, channel c: one word
 *           levels and even steps: absent
 *   scales  f16, for h, i: the norm of a norm-split key, or the scale of fixed levels; even steps: for h, i, group j; else absent
 *
 * Axes   G key/value heads, D head size, g elements of a quantisation group, b bits of a code.
 * Our own format, version 1.
 */

export const PACKED_PAGE_TOKENS = 128;

export type CodeBits = 2 | 3 | 4 | 8;

/** How the rows of one side (keys or values) become codes. */
export interface SideFormat {
  readonly bits: CodeBits;
  /** "token": groups of g channels of one token. "channel": groups of g consecutive tokens of one channel. */
  readonly layout: "token" | "channel";
  /** g: 16, 32, 64 or 128. Layout "token": a divisor of D, or D. Levels: the whole row of a head, g = D. */
  readonly group: number;
  /**
   * "zp": scale and integer zero point (RotateKV, AKVQ-VL). "min": scale and free offset (KIVI; ours).
   * "levels": one scale a head and token, Lloyd–Max levels of a normal distribution (2 or 3 bits, layout "token").
   * "even": a scale, and levels that are odd multiples of half of it (2 or 3 bits, layout "token").
   */
  readonly quantiser: "zp" | "min" | "levels" | "even";
  /** Of the range, 0 < clip ≤ 1; unused by levels and even steps. */
  readonly clip: number;
  /** The row is divided by its root mean square first, which is kept in f16 (norm-split keys). */
  readonly norm: boolean;
  /**
   * Levels, even steps: their scale keeps the group's length along itself, so that errors have no part along it and averages
   * over many tokens are not shrunk. Otherwise it is that of least squares.
   */
  readonly unbiased?: boolean;
}

export interface PackedFormat {
  readonly kvHeads: number;
  readonly headDim: number;
  readonly keys: SideFormat;
  readonly values: SideFormat;
  /** false: keys are packed as they come after rotary embedding. true: before it, and it is applied at every read (RotateKV). */
  readonly ropeAtRead: boolean;
  /**
   * Width of the Hadamard blocks on keys: 0 none; else a power of two that divides G·D, blocks lying side by side over the
   * row of all heads. Post-rotary kinds stay within a head (the width divides D) and rotate q alike.
   */
  readonly keyRotation: number;
  /** Width of the Hadamard blocks on values, within a head; 0 none. Undone on attention's result. */
  readonly valueRotation: number;
  /** The stored channel j is rotated channel order[j] of the row of all heads (RotateKV); needs ropeAtRead. */
  readonly ordered: boolean;
  /** Pairs of the calibrated mean key that are taken off before rotary and put back in the scores; 0: no mean split. */
  readonly meanPairs: number;
  /** A calibrated mean value is taken off the values and put back on attention's result: probabilities sum to one. */
  readonly valueMean?: boolean;
  /** First tokens of a sequence that stay in 16 bits. */
  readonly sinks: number;
  /** Newest tokens that stay in 16 bits. */
  readonly recent: number;
  /** Most further tokens that a layer may keep in 16 bits because of what they are (massive activations, pivots). */
  readonly marked: number;
  /** A prompt's queries see packed what decoding would see packed; otherwise a step's own tokens are seen exactly. */
  readonly strictPrefill: boolean;
}

/** Words of a row of codes of one head. */
export function rowWords(bits: CodeBits, headDim: number): number {
  if (bits === 3) return Math.ceil(headDim / 16) + Math.ceil(headDim / 32);
  return Math.ceil((headDim * bits) / 32);
}

/** Groups have a scale and an offset each; otherwise levels lie around zero. */
export function hasParams({ quantiser }: SideFormat): boolean {
  return quantiser === "zp" || quantiser === "min";
}

/** There are norms, or scales of levels. */
export function hasScales(side: SideFormat): boolean {
  return side.norm || !hasParams(side);
}

/** Word offsets of the sections of a page, and its words. */
export interface PageSections {
  readonly rowWords: number;
  /** Codes begin at 0. */
  readonly params: number;
  readonly scales: number;
  readonly words: number;
}

export function pageSections(side: SideFormat, kvHeads: number, headDim: number): PageSections {
  const row = rowWords(side.bits, headDim);
  const params = kvHeads * PACKED_PAGE_TOKENS * row;
  const groups = headDim / side.group;
  const scales = params + (hasParams(side) ? kvHeads * PACKED_PAGE_TOKENS * groups : 0);
  const perRow = side.quantiser === "even" ? groups : hasScales(side) ? 1 : 0;
  const words = scales + (kvHeads * PACKED_PAGE_TOKENS * perRow) / 2;
  return { rowWords: row, params, scales, words };
}

/** Tokens that are packed together: g of the keys in layout "channel", else 1. */
export function blockTokens(format: PackedFormat): number {
  return format.keys.layout === "channel" ? format.keys.group : 1;
}

/** Newest tokens beyond the sinks that the side store may have to hold; one entry more than can be alive before a step. */
export function ringTokens(format: PackedFormat): number {
  const block = blockTokens(format);
  return format.recent + block === 1 ? 0 : format.recent + block;
}

/**
 * The rule: of a sequence of `length` tokens, those before `packedEnd` are packed (the sinks aside), the others are in the
 * side store. `floor` is where a cut of the sequence left the packed tokens' end (0 without a cut): what is packed stays so.
 *
 * Layout "channel": tokens from `max(sinks, floor)` on are packed in whole blocks. Both kernels and references use this.
 */
export function packedEnd(format: PackedFormat, length: number, floor: number): number {
  const start = Math.max(format.sinks, floor);
  const old = length - start - format.recent;
  const block = blockTokens(format);
  return old >= block ? start + Math.floor(old / block) * block : Math.max(floor, Math.min(length, format.sinks));
}
