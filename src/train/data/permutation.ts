/**
 * A seeded order of 0 … count − 1 that is never written down: each place is computed by itself.
 *
 *   A Feistel network permutes the numbers of 2h bits (each round: left, right = right, left xor f(right)); numbers that
 *   are not below `count` are permuted again until they are (cycle walking), which takes fewer than four rounds on the mean.
 *
 * Source  Black & Rogaway 2002, "Ciphers with arbitrary finite domains", for the cycle walking; the round function is the
 *         finaliser of MurmurHash3. Not for secrets.
 */
import { Random } from "../tasks/index.js";

const rounds = 6;
// Two halves of 26 bits: results stay exact in float64.
const mostBits = 52;

/** An order of `count` things. */
export class Permutation {
  readonly #halfBits: number;
  readonly #keys: readonly number[];

  /** @throws {RangeError} `count` is no whole number of 1 to 2⁵². */
  constructor(
    readonly count: number,
    seed: string,
  ) {
    if (!Number.isInteger(count) || count < 1 || count > 2 ** mostBits) {
      throw new RangeError(`Permutation: count expected 1 to 2^${mostBits}, got ${count}.`);
    }
    let bits = 2;
    while (2 ** bits < count) bits += 2;
    this.#halfBits = bits / 2;
    const random = new Random(seed);
    this.#keys = Array.from({ length: rounds }, () => random.uint32());
  }

  /** Which thing stands at this place. */
  at(place: number): number {
    if (!Number.isInteger(place) || place < 0 || place >= this.count) {
      throw new RangeError(`Permutation: place expected 0 to ${this.count - 1}, got ${place}.`);
    }
    let value = place;
    do value = this.#encipher(value);
    while (value >= this.count);
    return value;
  }

  #encipher(value: number): number {
    const size = 2 ** this.#halfBits;
    const mask = size - 1;
    let left = Math.floor(value / size);
    let right = value % size;
    for (const key of this.#keys) {
      let h = right ^ key;
      h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
      h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
      h ^= h >>> 16;
      [left, right] = [right, (left ^ h) & mask];
    }
    return left * size + right;
  }
}
