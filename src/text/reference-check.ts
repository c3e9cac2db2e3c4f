/**
 * Checks a tokenizer (and a chat template) against reference files made with a trusted implementation.
 *
 * Two layouts are understood: encodings (`cases` of text, ids, decoded, decodedWithoutSpecial; `decodePrefixes`) and
 * chats (`cases` of messages, options, text, ids). Every case is also decoded as a stream.
 */
import { z } from "zod";
import type { ChatTemplate } from "./chat-messages.js";
import { createDetokenizer } from "./detokenizer.js";
import type { Tokenizer } from "./tokenizer.js";

/** The outcome of a check; `firstError` is one readable line, absent when nothing failed. */
export interface ReferenceReport {
  readonly passed: number;
  readonly failed: number;
  readonly firstError?: string;
}

const ids = z.array(z.int().nonnegative());

const referenceSchema = z.looseObject({
  cases: z.array(
    z.looseObject({
      text: z.string(),
      ids,
      decoded: z.string().optional(),
      decodedWithoutSpecial: z.string().optional(),
      messages: z.array(z.looseObject({ role: z.string(), content: z.string() })).optional(),
      options: z
        .looseObject({ add_generation_prompt: z.boolean(), enable_thinking: z.boolean().optional() })
        .optional(),
    }),
  ),
  decodePrefixes: z.array(z.looseObject({ text: z.string(), ids, prefixes: z.array(z.string()) })).default([]),
});

const filesSchema = z.looseObject({
  files: z.record(z.string(), z.looseObject({ tokens: z.int(), idsUint32LeSha256: z.string() })),
});

/**
 * Checks all strings of a reference file.
 *
 * @param reference the parsed file.
 * @param template for chat files: renders each conversation and compares the text. Without it only the ids are checked.
 * @throws {z.ZodError} the file has neither layout.
 */
export function checkTokenizerReference(
  tokenizer: Tokenizer,
  reference: unknown,
  template?: ChatTemplate,
): ReferenceReport {
  const { cases, decodePrefixes } = referenceSchema.parse(reference);
  const tally = createTally();
  for (const [index, each] of cases.entries()) {
    const where = `cases[${index}] ${JSON.stringify(each.text.slice(0, 40))}`;
    tally.compare(`${where}: ids`, tokenizer.encode(each.text), each.ids);
    const streamed = stream(tokenizer, each.ids);
    tally.compare(`${where}: streamed`, streamed, tokenizer.decode(each.ids));
    if (each.decoded !== undefined) tally.compare(`${where}: decoded`, tokenizer.decode(each.ids), each.decoded);
    if (each.decodedWithoutSpecial !== undefined) {
      const text = tokenizer.decode(each.ids, { skipSpecial: true });
      tally.compare(`${where}: decodedWithoutSpecial`, text, each.decodedWithoutSpecial);
    }
    if (template !== undefined && each.messages !== undefined && each.options !== undefined) {
      const thinking = each.options.enable_thinking;
      const text = template.render(each.messages, {
        addGenerationPrompt: each.options.add_generation_prompt,
        ...(thinking === undefined ? {} : { enableThinking: thinking }),
      });
      tally.compare(`${where}: rendered`, text, each.text);
    }
  }
  for (const [index, each] of decodePrefixes.entries()) {
    const decoded = each.prefixes.map((_, at) => tokenizer.decode(each.ids.slice(0, at + 1)));
    tally.compare(`decodePrefixes[${index}]`, decoded, each.prefixes);
  }
  return tally.report();
}

/**
 * Checks the files of a reference file: number of tokens and SHA-256 of the ids as little-endian uint32.
 *
 * @param readText gives the text of a named file, or undefined to leave it out.
 */
export async function checkTokenizerFiles(
  tokenizer: Tokenizer,
  reference: unknown,
  readText: (name: string) => Promise<string | undefined>,
): Promise<ReferenceReport> {
  const tally = createTally();
  for (const [name, expected] of Object.entries(filesSchema.parse(reference).files)) {
    const text = await readText(name);
    if (text === undefined) continue;
    const got = tokenizer.encode(text);
    tally.compare(`files["${name}"].tokens`, got.length, expected.tokens);
    const bytes = new DataView(new ArrayBuffer(4 * got.length));
    for (const [at, id] of got.entries()) bytes.setUint32(4 * at, id, true);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.buffer));
    const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    tally.compare(`files["${name}"].idsUint32LeSha256`, hex, expected.idsUint32LeSha256);
  }
  return tally.report();
}

function stream(tokenizer: Tokenizer, tokens: readonly number[]): string {
  const detokenizer = createDetokenizer(tokenizer);
  return tokens.map((id) => detokenizer.push(id)).join("") + detokenizer.end();
}

function createTally() {
  let passed = 0;
  let failed = 0;
  let firstError: string | undefined;
  return {
    compare(where: string, got: unknown, expected: unknown): void {
      const [a, b] = [JSON.stringify(got), JSON.stringify(expected)];
      if (a === b) passed++;
      else {
        failed++;
        firstError ??= `${where}: expected ${b.slice(0, 200)}, got ${a.slice(0, 200)}`;
      }
    },
    report: (): ReferenceReport => ({ passed, failed, ...(firstError === undefined ? {} : { firstError }) }),
  };
}
