/**
 * Seeded random numbers: xoshiro128**, the same on every platform.
 *
 * Source   Blackman & Vigna 2018, "Scrambled linear pseudorandom number generators", arXiv 1805.01407.
 * Seeding  the seed's text is hashed (FNV-1a) and spread over the 128-bit state with the finaliser of MurmurHash3,
 *          so that seeds that differ in one character give unrelated sequences.
 */

/** The state of a `Random`: four unsigned 32-bit integers. Write it into a checkpoint, pass it to `Random.resume`. */
export type RandomState = readonly [number, number, number, number];

const rotateLeft = (x: number, bits: number): number => (x << bits) | (x >>> (32 - bits));

function scramble(x: number): number {
  let h = x;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A small seeded generator. Not for secrets. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: number | string) {
    const text = String(seed);
    const words = [0x811c9dc5, 0x9e3779b9, 0x243f6a88, 0xb7e15162].map((basis) => {
      let hash = basis;
      for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
      return scramble(hash ^ text.length);
    });
    [this.#a, this.#b, this.#c] = [words[0]!, words[1]!, words[2]!];
    this.#d = words[3]! | 1; // the state of all zeros is the one from which xoshiro never leaves
  }

  /** A generator that goes on where the one with this `state` stood. */
  static resume(state: RandomState): Random {
    if (state.length !== 4 || state.some((x) => !Number.isInteger(x)) || state.every((x) => x === 0)) {
      throw new RangeError(`Random.resume: expected four integers that are not all 0, got [${state.join(", ")}].`);
    }
    const random = new Random(0);
    [random.#a, random.#b, random.#c, random.#d] = state;
    return random;
  }

  /** Four unsigned 32-bit integers that say where the sequence stands. */
  get state(): RandomState {
    return [this.#a >>> 0, this.#b >>> 0, this.#c >>> 0, this.#d >>> 0];
  }

  /** The next 32 random bits as an unsigned integer. */
  uint32(): number {
    const result = Math.imul(rotateLeft(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = rotateLeft(this.#d, 11);
    return result;
  }

  /** A number in [0, 1) with 53 random bits. */
  float(): number {
    const high = this.uint32() >>> 5;
    return (high * 2 ** 26 + (this.uint32() >>> 6)) / 2 ** 53;
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.float() < probability;
  }

  /** A whole number of lo … hi, both included, each equally likely. The span may be up to 2³². */
  int(lo: number, hi: number): number {
    const span = hi - lo + 1;
    if (!Number.isInteger(lo) || !Number.isInteger(hi) || span < 1 || span > 2 ** 32) {
      throw new RangeError(`Random.int: expected whole numbers lo <= hi at most 2^32 apart, got ${lo} and ${hi}.`);
    }
    // The highest incomplete run of `span` values is drawn again, or low results would be a little more likely.
    const limit = 2 ** 32 - (2 ** 32 % span);
    for (;;) {
      const bits = this.uint32();
      if (bits < limit) return lo + (bits % span);
    }
  }

  /** One of `items`; with `among`, one of the first `among` (or of all, when there are fewer). */
  choice<T>(items: ArrayLike<T>, among = items.length): T {
    const count = Math.min(among, items.length);
    if (count < 1) throw new RangeError("Random.choice: expected at least one item, got none.");
    return items[this.int(0, count - 1)]!;
  }

  /** `count` different places of `items` in random order; with `among`, out of the first `among`. */
  sample<T>(items: ArrayLike<T>, count: number, among = items.length): T[] {
    const size = Math.min(among, items.length);
    if (count > size) throw new RangeError(`Random.sample: expected at least ${count} items, got ${size}.`);
    // A shuffle stopped after `count` steps; only the places that moved are written down.
    const moved = new Map<number, number>();
    return Array.from({ length: count }, (_, i) => {
      const j = this.int(i, size - 1);
      const taken = moved.get(j) ?? j;
      moved.set(j, moved.get(i) ?? i);
      return items[taken]!;
    });
  }

  /** Shuffles `items` in place and returns them. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.int(0, i);
      [items[i], items[j]] = [items[j]!, items[i]!];
    }
    return items;
  }

  /** One of `items`, item i with a probability in proportion to `weights[i]`. */
  weighted<T>(items: readonly T[], weights: readonly number[]): T {
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    if (items.length !== weights.length || !(total > 0)) {
      throw new RangeError(
        `Random.weighted: expected one weight an item with a sum above 0, got ${weights.length} weights (sum ${total}) for ${items.length} items.`,
      );
    }
    let left = this.float() * total;
    let last = 0;
    for (let i = 0; i < items.length; i++) {
      if (weights[i]! <= 0) continue;
      last = i; // rounding may leave a crumb after the last item: then it is the last one that can be drawn
      left -= weights[i]!;
      if (left < 0) break;
    }
    return items[last]!;
  }

  /** A number with lo … hi decimal digits: first the count of digits, then the number (one digit: 0 … 9). */
  digits(lo: number, hi: number): number {
    const count = this.int(lo, hi);
    return this.int(count > 1 ? 10 ** (count - 1) : 0, 10 ** count - 1);
  }
}
