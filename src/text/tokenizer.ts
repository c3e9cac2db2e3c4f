/**
 * Text to token ids and back, from a Hugging Face tokenizer.json (BPE: byte-level, or with byte fallback).
 *
 * Encoding is done by `@huggingface/tokenizers`; this file checks the tokenizer.json first, because the library
 * takes a broken one without a word and drops text later. Decoding goes by the bytes of each token
 * (token-decoding.ts), so that whole texts and streams agree.
 *
 * Speed    about 0.7 MB of text a second on one core, linear in the length (also for one endless word).
 * Departs  `clean_up_tokenization_spaces` is not applied: it alters text (" ." becomes "."), and the Rust library
 *          does not know it either. Ids without a token (padding rows of an embedding) decode to nothing.
 */
import { Tokenizer as Library } from "@huggingface/tokenizers";
import { z } from "zod";
import { readTokenDecoding } from "./token-decoding.js";
import { TokenizerError } from "./tokenizer-error.js";

/** Options of {@link Tokenizer.encode}. */
export interface EncodeOptions {
  /** Add what the tokenizer puts around every text (Llama: `<s>` in front). Default false. */
  readonly addSpecialTokens?: boolean;
}

/** Options of {@link Tokenizer.decode}. */
export interface DecodeOptions {
  /** Leave out tokens that are marked special. Default false. */
  readonly skipSpecial?: boolean;
}

/** A tokenizer: text to ids and ids to text. */
export interface Tokenizer {
  /** One more than the largest id. A model's embedding may have more rows (padding). */
  readonly vocabSize: number;
  /** Ids of the tokens marked special. Added tokens need not be special (Qwen3's `<think>` is not). */
  readonly specialIds: ReadonlySet<number>;
  /** How many blanks at the start of a decoded text are dropped. */
  readonly leadingBlanks: number;
  /** Encodes a text. Special tokens written in the text become their ids. */
  encode(text: string, options?: EncodeOptions): number[];
  /** Decodes ids. Bytes that do not form a character become U+FFFD. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  /** The bytes that a token stands for; empty for an id without a token. Do not modify them. */
  tokenBytes(id: number): Uint8Array;
  /** The id of a token as spelled in the vocabulary, or undefined. */
  idOf(token: string): number | undefined;
  /** Whether the id's token is marked special. */
  isSpecial(id: number): boolean;
}

// Far above any vocabulary; a larger id is a damaged file, and would make a list of that length.
const largestId = 2 ** 24;

const addedTokenSchema = z.looseObject({
  id: z.int().nonnegative().max(largestId),
  content: z.string().min(1),
  special: z.boolean().default(false),
});

const fileSchema = z.looseObject({
  added_tokens: z.array(addedTokenSchema).default([]),
  model: z.looseObject({
    type: z.string().optional(),
    // z.record would copy 150,000 entries; readFile looks at each of them anyway.
    vocab: z.custom<Readonly<Record<string, unknown>>>(
      (value) => typeof value === "object" && value !== null && !Array.isArray(value),
      "an object of tokens and their ids",
    ),
    merges: z.array(z.unknown()),
    continuing_subword_prefix: z.string().nullish(),
    end_of_word_suffix: z.string().nullish(),
  }),
  decoder: z.unknown().optional(),
  pre_tokenizer: z.unknown().optional(),
  post_processor: z.unknown().optional(),
  normalizer: z.unknown().optional(),
});

type TokenizerFile = z.infer<typeof fileSchema>;

// The pattern that "ByteLevel" with use_regex stands for (GPT-2's encoder).
const gpt2Pattern = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/**
 * Makes a tokenizer.
 *
 * @param tokenizerJson the parsed tokenizer.json.
 * @param tokenizerConfig the parsed tokenizer_config.json, if there is one.
 * @throws {TokenizerError} the file is not a BPE tokenizer that this code can run, naming the field.
 */
export function createTokenizer(tokenizerJson: unknown, tokenizerConfig: unknown = {}): Tokenizer {
  const file = readFile(tokenizerJson);
  const decoding = readTokenDecoding(file.decoder);
  const added = new Map(file.added_tokens.map((token) => [token.id, token]));
  const specialIds = new Set(file.added_tokens.filter((token) => token.special).map((token) => token.id));

  const library = openLibrary(file, tokenizerConfig);
  const tokens: (string | undefined)[] = [];
  // readFile has checked that the ids are whole numbers.
  for (const [token, id] of Object.entries(file.model.vocab)) tokens[id as number] = token;
  for (const token of file.added_tokens) tokens[token.id] = token.content;

  const bytesOf: (Uint8Array | undefined)[] = new Array(tokens.length);
  const noBytes = new Uint8Array(0);
  const tokenBytes = (id: number): Uint8Array => {
    const known = bytesOf[id];
    if (known !== undefined) return known;
    if (!Number.isInteger(id) || id < 0) throw new RangeError(`tokenizer: a token id expected, got ${id}.`);
    const token = tokens[id];
    if (token === undefined) return noBytes;
    const bytes = decoding.bytes(token, added.has(id));
    bytesOf[id] = bytes;
    return bytes;
  };

  return {
    vocabSize: tokens.length,
    specialIds,
    leadingBlanks: decoding.leadingBlanks,
    tokenBytes,
    idOf: (token) => library.token_to_id(token),
    isSpecial: (id) => specialIds.has(id),

    encode(text, { addSpecialTokens = false } = {}) {
      if (typeof text !== "string") throw new TypeError(`tokenizer.encode: text expected, got ${typeof text}.`);
      return library.encode(text, { add_special_tokens: addSpecialTokens }).ids;
    },

    decode(ids, { skipSpecial = false } = {}) {
      const parts: Uint8Array[] = [];
      let length = 0;
      for (let i = 0; i < ids.length; i++) {
        const id = ids[i] ?? -1; // a hole in the list is refused like any other non-id
        if (skipSpecial && specialIds.has(id)) continue;
        const part = tokenBytes(id);
        parts.push(part);
        length += part.length;
      }
      const bytes = new Uint8Array(length);
      let at = 0;
      for (const part of parts) {
        bytes.set(part, at);
        at += part.length;
      }
      const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
      let blanks = 0;
      while (blanks < decoding.leadingBlanks && text[blanks] === " ") blanks++;
      return text.slice(blanks);
    },
  };
}

function openLibrary(file: TokenizerFile, tokenizerConfig: unknown): Library {
  if (typeof tokenizerConfig !== "object" || tokenizerConfig === null) {
    throw new TypeError("createTokenizer: tokenizerConfig expected an object (tokenizer_config.json).");
  }
  try {
    return new Library(
      {
        ...file,
        model: { ...file.model, type: "BPE" },
        decoder: file.decoder ?? null,
        normalizer: file.normalizer ?? null,
        pre_tokenizer: spellOutByteLevel(file.pre_tokenizer ?? null),
        post_processor: file.post_processor ?? null,
      },
      tokenizerConfig,
    );
  } catch (cause) {
    throw new TokenizerError(
      "normalizer, pre_tokenizer or post_processor",
      "kinds that the library knows",
      String(cause),
      {
        cause,
      },
    );
  }
}

/**
 * The library's own pattern for "ByteLevel" uses JavaScript's \s, which holds U+FEFF and lacks U+0085, unlike the
 * \s of the Rust library. Patterns of "Split" are translated correctly, so the built-in one is given as a Split.
 */
function spellOutByteLevel(preTokenizer: unknown): unknown {
  if (typeof preTokenizer !== "object" || preTokenizer === null) return preTokenizer;
  const { type, use_regex, add_prefix_space } = preTokenizer as Record<string, unknown>; // any object has string keys
  if (type !== "ByteLevel" || use_regex === false || add_prefix_space !== false) return preTokenizer;
  return {
    type: "Sequence",
    pretokenizers: [
      { type: "Split", pattern: { Regex: gpt2Pattern }, behavior: "Isolated", invert: false },
      { ...preTokenizer, use_regex: false },
    ],
  };
}

function readFile(tokenizerJson: unknown): TokenizerFile {
  const parsed = fileSchema.safeParse(tokenizerJson);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const path = issue?.path ?? [];
    const expected = issue?.code === "invalid_type" ? issue.expected : (issue?.message ?? "a BPE tokenizer.json");
    throw new TokenizerError(path.length === 0 ? "the file" : path.join("."), expected, valueAt(tokenizerJson, path));
  }
  const file = parsed.data;
  const { model } = file;
  if (model.type !== undefined && model.type !== "BPE") throw new TokenizerError("model.type", '"BPE"', model.type);
  for (const field of ["continuing_subword_prefix", "end_of_word_suffix"] as const) {
    if (model[field])
      throw new TokenizerError(`model.${field}`, "null or empty (no supported family has one)", model[field]);
  }
  const taken: (string | undefined)[] = [];
  const { vocab } = model;
  for (const token of Object.keys(vocab)) {
    const id = vocab[token];
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > largestId) {
      throw new TokenizerError(`model.vocab[${JSON.stringify(token)}]`, "a token id", id);
    }
    const other = taken[id];
    if (other !== undefined) {
      throw new TokenizerError(
        `model.vocab[${JSON.stringify(token)}]`,
        `an id that ${JSON.stringify(other)} has not`,
        id,
      );
    }
    taken[id] = token;
  }
  for (const { id, content } of file.added_tokens) {
    const other = taken[id];
    if (other !== undefined && other !== content) {
      throw new TokenizerError(
        `added_tokens ${JSON.stringify(content)}`,
        `an id that ${JSON.stringify(other)} has not`,
        id,
      );
    }
    taken[id] = content;
  }
  model.merges.forEach((merge, rank) => {
    const pair: unknown = typeof merge === "string" ? merge.split(" ") : merge;
    if (!isPair(pair)) throw new TokenizerError(`model.merges[${rank}]`, "a pair of tokens", merge);
    const [left, right] = pair;
    // A merge into a token without an id would make the library drop that text.
    for (const token of [left, right, left + right]) {
      if (Object.hasOwn(vocab, token)) continue;
      throw new TokenizerError(`model.merges[${rank}]`, `${JSON.stringify(token)} in the vocabulary`, merge);
    }
  });
  return file;
}

function isPair(value: unknown): value is [string, string] {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === "string" && typeof value[1] === "string";
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  // Whatever is not an object has no property of that name.
  return path.reduce<unknown>((at, key) => Object(at)[key], value);
}
