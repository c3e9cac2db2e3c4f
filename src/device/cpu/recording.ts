/** Launches on their way into the Wasm memory: the recording of a device, and captured lists outside of it. */
import type { Cost } from "../device.js";
import { entryWords, lengthOf, writeEntry } from "./list.js";

/** A growing list of launches. The device's own one lies in the Wasm memory, a captured one on the JavaScript heap. */
export class Recording {
  count = 0;
  /** How many launches have work for more than one thread. */
  forked = 0;
  readonly costs: (Cost | undefined)[] = [];
  /** Index behind the last entry. */
  at: number;

  /**
   * @param begin index of the first entry's first word in `words`.
   * @param isGrowing whether `words` may be replaced by a larger array.
   */
  constructor(
    public words: Int32Array,
    readonly begin: number,
    private readonly isGrowing: boolean,
  ) {
    this.at = begin;
  }

  /** Words that are still free, without end for a growing list. */
  hasRoom(words: number): boolean {
    return this.isGrowing || this.at + words <= this.words.length;
  }

  /** Adds a launch and returns the index of its first argument word. The caller has asked for room. */
  add(kernel: number, argumentCount: number, tasks: number, chunk: number, cost: Cost | undefined): number {
    const length = entryWords(argumentCount);
    if (this.isGrowing && this.at + length > this.words.length) {
      const words = new Int32Array(Math.max(4096, 2 * (this.at + length)));
      words.set(this.words);
      this.words = words;
    }
    const first = writeEntry(this.words, this.at, length, kernel, tasks, chunk);
    this.at += length;
    this.costs[this.count] = cost;
    this.count += 1;
    if (tasks > chunk) this.forked += 1;
    return first;
  }

  /** Appends the entries of `list` from word `from`, as many as there is room for; returns the first word that is left. */
  append(list: Recording, from: number): number {
    let to = list.at;
    let { count } = list;
    if (from !== list.begin || !this.hasRoom(list.at - list.begin)) {
      to = from;
      count = 0;
      while (to < list.at && this.hasRoom(to - from + lengthOf(list.words, to))) {
        to += lengthOf(list.words, to);
        count += 1;
      }
    }
    this.words.set(list.words.subarray(from, to), this.at);
    this.at += to - from;
    // Which of the launches fork is not looked up for a part: at worst, workers are woken for nothing.
    this.forked += list.forked;
    this.count += count;
    return to;
  }

  clear(): void {
    this.at = this.begin;
    this.count = 0;
    this.forked = 0;
  }
}
