/**
 * WGSL that takes words of codes apart into floats, four at a time.
 *
 * A code in place, at bit e of a float's mantissa under the exponent of 2²³, is the number 2²³ + code · 2ᵉ: one bit operation
 * and one exact subtraction make (code − centre) · 2ᵉ, with no conversion and two shifts for a whole word. The powers of two
 * go into what the numbers are multiplied by. Centred codes keep sums over many tokens small.
 */
import type { CodeBits, SideFormat } from "../packed-kv/format.js";

/** [0, 1, …, n − 1] */
export const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
/** Lines of text, those of each item. */
export const each = <T>(list: readonly T[], text: (item: T) => string): string => list.map(text).join("\n");

/** What a word yields: the codes of `channels` adjacent channels. */
export interface Unit {
  readonly channels: 4 | 8 | 16;
  /** Of the codes in the order in which they come: the channel within the unit, and e. */
  readonly channelOf: readonly number[];
  readonly exponentOf: readonly number[];
  readonly centre: number;
}

interface Place {
  /** Which shifted copy of the word, and the bit there. */
  readonly source: "low" | "high";
  readonly bit: number;
}

/** Fields of `width` bits of a word: as many as fit a mantissa from bit 1 of word << 1, the others from bit 1 of word >> shift. */
function placesOf(width: number): { readonly places: readonly Place[]; readonly shift: number } {
  const count = 32 / width;
  const fits = Math.floor(22 / width);
  const places = Array.from({ length: count }, (_, i): Place => {
    return i < fits ? { source: "low", bit: 1 + width * i } : { source: "high", bit: 1 + width * (i - fits) };
  });
  return { places, shift: width * fits - 1 };
}

export function unitOf(bits: CodeBits): Unit {
  const centre = (2 ** bits - 1) / 2;
  if (bits === 3) {
    // Even channels as eight fields of four bits, then the odd ones.
    const nibbles = placesOf(4).places.map((place) => place.bit);
    const channelOf = [...nibbles.map((_, i) => 2 * i), ...nibbles.map((_, i) => 2 * i + 1)];
    return { channels: 16, channelOf, exponentOf: [...nibbles, ...nibbles], centre };
  }
  const exponentOf = placesOf(bits).places.map((place) => place.bit);
  const channels = (32 / bits) as 4 | 8 | 16;
  return { channels, channelOf: exponentOf.map((_, i) => i), exponentOf, centre };
}

/**
 * Statements that define `${name}0`, `${name}1`, …: vec4f of (code − centre) · 2ᵉ, or of level · 2ᵉ, in the unit's order.
 *
 * @param word The word of codes; at 3 bits that of the low two bits.
 * @param high At 3 bits: an expression whose low 16 bits are the high bits.
 */
export function unpackUnit(side: SideFormat, name: string, word: string, high = ""): string {
  const { bits, quantiser } = side;
  const unit = unitOf(bits);
  const lines: string[] = [];
  if (bits === 3) {
    // The sixteen high bits spread to every second bit; then each is put over its code's low two.
    lines.push(`
      var ${name}h = ${high} & 0xffffu;
      ${name}h = (${name}h | (${name}h << 8u)) & 0x00ff00ffu;
      ${name}h = (${name}h | (${name}h << 4u)) & 0x0f0f0f0fu;
      ${name}h = (${name}h | (${name}h << 2u)) & 0x33333333u;
      ${name}h = (${name}h | (${name}h << 1u)) & 0x55555555u;
      let ${name}even = (${word} & 0x33333333u) | ((${name}h & 0x11111111u) << 2u);
      let ${name}odd = ((${word} >> 2u) & 0x33333333u) | (${name}h & 0x44444444u);`);
    lines.push(
      fields(`${name}`, 0, `${name}even`, 4, 7, unit.centre),
      fields(name, 2, `${name}odd`, 4, 7, unit.centre),
    );
  } else {
    lines.push(fields(name, 0, word, bits, 2 ** bits - 1, unit.centre));
  }
  if (quantiser === "levels") {
    for (let v = 0; v < unit.channels / 4; v += 1)
      lines.push(levelsOf(`${name}${v}`, bits, unit.exponentOf.slice(4 * v)));
  }
  return lines.join("\n");
}

function fields(name: string, first: number, word: string, width: number, mask: number, centre: number): string {
  const { places, shift } = placesOf(width);
  const sources = { low: `${name}${first}a`, high: `${name}${first}b` };
  const lines = [`      let ${sources.low} = ${word} << 1u;`, `      let ${sources.high} = ${word} >> ${shift}u;`];
  for (let v = 0; v < places.length / 4; v += 1) {
    const four = places.slice(4 * v, 4 * v + 4);
    const same = four.every((place) => place.source === four[0]!.source);
    const source = same
      ? `vec4u(${sources[four[0]!.source]})`
      : `vec4u(${four.map((place) => sources[place.source]).join(", ")})`;
    const masks = `vec4u(${four.map((place) => `${mask * 2 ** place.bit}u`).join(", ")})`;
    const offsets = `vec4f(${four.map((place) => `${2 ** 23 + centre * 2 ** place.bit}.0`).join(", ")})`;
    lines.push(
      `      var ${name}${first + v} = bitcast<vec4f>((${source} & ${masks}) | vec4u(0x4b000000u)) - ${offsets};`,
    );
  }
  return lines.join("\n");
}

/**
 * Centred codes ±1/2, ±3/2, … become Lloyd–Max levels: an odd polynomial through them, whose coefficients take 2ᵉ along.
 * It needs no table, so lanes never diverge on what a code is.
 */
export function levelsOf(x: string, bits: CodeBits, exponents: readonly number[]): string {
  const coefficients = levelPolynomial(bits);
  const at = (power: number) =>
    `vec4f(${[0, 1, 2, 3].map((i) => literal(coefficients[power]! * 2 ** (-2 * power * exponents[i]!))).join(", ")})`;
  let text = at(coefficients.length - 1);
  for (let power = coefficients.length - 2; power >= 0; power -= 1) text = `fma(${x} * ${x}, ${text}, ${at(power)})`;
  return `      ${x} *= ${text};`;
}

/** The upper half of the levels of a normal distribution (spec: Lloyd–Max, 2 and 3 bits). */
export const upperLevels: Readonly<Record<2 | 3, readonly number[]>> = {
  2: [0.4528, 1.5104],
  3: [0.2451, 0.756, 1.3439, 2.1519],
};

/** c with L(x) = x · Σ c_k x^(2k) at x = 1/2, 3/2, …: Newton's divided differences, expanded. */
function levelPolynomial(bits: CodeBits): readonly number[] {
  const levels = upperLevels[bits as 2 | 3].map(Math.fround);
  const squares = levels.map((_, i) => (i + 0.5) ** 2);
  const differences = levels.map((level, i) => level / (i + 0.5));
  for (let order = 1; order < levels.length; order += 1) {
    for (let i = levels.length - 1; i >= order; i -= 1) {
      differences[i] = (differences[i]! - differences[i - 1]!) / (squares[i]! - squares[i - order]!);
    }
  }
  let result: number[] = [];
  for (let i = levels.length - 1; i >= 0; i -= 1) {
    const next = [differences[i]!, ...result.map(() => 0)];
    result.forEach((c, k) => {
      next[k] = next[k]! - c * squares[i]!;
      next[k + 1] = (next[k + 1] ?? 0) + c;
    });
    result = next;
  }
  return result;
}

/** A number as a WGSL f32 literal. */
export function literal(x: number): string {
  return `${Math.fround(x)}f`;
}
