/**
 * Questions with several wordings: `"Add {a} and {b}."` written with values, and read back into them.
 */
import type { Random } from "./random.js";

/** What stands in the gaps, by the gap's name. */
export type Values = Readonly<Record<string, string | number>>;

/** Common shapes of a gap, as regular expressions. */
export const gap = {
  whole: "\\d+",
  decimal: "\\d+(?:\\.\\d+)?",
  word: "[a-z]+",
  name: "[A-Z][a-z]+",
  numbers: "\\d+(?:, \\d+)*",
  words: "[a-z]+(?:,? [a-z]+)*",
  anything: "[^]+",
} as const;

/** A question read back: which wording it has, and what stands in its gaps. */
export interface Reading {
  readonly wording: number;
  /** @throws {RangeError} the wording has no such gap. */
  text(name: string): string;
  number(name: string): number;
}

/** Alternative wordings of one question. The order is part of no contract; the words are: models were trained on them. */
export class Wordings {
  readonly #templates: readonly string[];
  readonly #patterns: readonly RegExp[];

  constructor(templates: readonly string[], gaps: Readonly<Record<string, string>>) {
    this.#templates = templates;
    this.#patterns = templates.map((template) => {
      const seen = new Set<string>();
      const source = template.split(/(\{\w+\})/).map((part) => {
        if (!part.startsWith("{")) return part.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
        const name = part.slice(1, -1);
        const shape = gaps[name];
        if (shape === undefined)
          throw new RangeError(`Wordings: no shape is given for the gap {${name}} of "${template}".`);
        if (seen.has(name)) return `\\k<${name}>`;
        seen.add(name);
        return `(?<${name}>${shape})`;
      });
      return new RegExp(`^${source.join("")}$`);
    });
  }

  /** The number of wordings. */
  get count(): number {
    return this.#templates.length;
  }

  /** The index of a wording, each equally likely. */
  draw(random: Random): number {
    return random.int(0, this.count - 1);
  }

  /** The question in one wording. */
  write(wording: number, values: Values): string {
    const template = this.#templates[wording];
    if (template === undefined)
      throw new RangeError(`Wordings: expected a wording of 0 to ${this.count - 1}, got ${wording}.`);
    return template.replace(/\{(\w+)\}/g, (_, name: string) => String(values[name]));
  }

  /** Every way to read the question. */
  read(user: string): Reading[] {
    return this.#patterns.flatMap((pattern, wording) => {
      const match = pattern.exec(user);
      if (match === null) return [];
      const text = (name: string): string => {
        const value = match.groups?.[name];
        if (value === undefined) throw new RangeError(`Wordings: "${user}" has no gap {${name}}.`);
        return value;
      };
      return [{ wording, text, number: (name: string) => Number(text(name)) }];
    });
  }
}
