/**
 * What bytes each token stands for, read from the `decoder` section of a tokenizer.json.
 *
 * Every decoder of the language models here (byte-level BPE; BPE with byte fallback) maps a token to bytes by
 * itself, and only the blanks at the very start of a text depend on the position. With the bytes at hand a text is
 * decoded in one pass of UTF-8, and a stream needs no second look at earlier tokens.
 *
 * Departs  byte fallback: the Rust library turns every byte of a run into U+FFFD when any byte of the run is not
 *          valid UTF-8, which a stream cannot do (the first characters are out already). Here each maximal broken
 *          piece gives one U+FFFD, as TextDecoder does. Valid text decodes the same.
 *          Added tokens of byte-level tokenizers are taken as written; the Rust library maps their letters as bytes
 *          where it can, which only differs for added tokens with letters outside ASCII.
 */
import { TokenizerError } from "./tokenizer-error.js";

/** How the tokens of one tokenizer become bytes. */
export interface TokenDecoding {
  /** The bytes of a token's text; `isAdded` for tokens of the `added_tokens` list. */
  bytes(token: string, isAdded: boolean): Uint8Array;
  /** How many blanks at the start of a decoded text are dropped (Llama's tokenizers put one before the first word). */
  readonly leadingBlanks: number;
}

interface Plan {
  replacements: { from: string; to: string }[];
  byteLevel: boolean;
  byteFallback: boolean;
  fused: boolean;
  leadingBlanks: number;
}

const utf8 = new TextEncoder();

/**
 * Reads the `decoder` section of a tokenizer.json.
 *
 * @throws {TokenizerError} a kind of decoder that no supported model family uses (WordPiece, CTC, …).
 */
export function readTokenDecoding(decoder: unknown): TokenDecoding {
  const plan: Plan = { replacements: [], byteLevel: false, byteFallback: false, fused: false, leadingBlanks: 0 };
  addStep(plan, decoder, "decoder");
  return {
    leadingBlanks: plan.leadingBlanks,
    bytes(token, isAdded) {
      let text = token;
      for (const { from, to } of plan.replacements) text = text.replaceAll(from, to);
      if (plan.byteFallback) {
        const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(text)?.[1];
        if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
      }
      return plan.byteLevel && !isAdded ? byteLevelBytes(text) : utf8.encode(text);
    },
  };
}

function addStep(plan: Plan, step: unknown, field: string): void {
  const { type } = asRecord(step, field);
  const config = asRecord(step, field);
  switch (type) {
    case "Sequence": {
      if (!Array.isArray(config.decoders)) throw new TokenizerError(`${field}.decoders`, "a list", config.decoders);
      config.decoders.forEach((each: unknown, index) => {
        addStep(plan, each, `${field}.decoders[${index}]`);
      });
      return;
    }
    case "ByteLevel":
      plan.byteLevel = true;
      return;
    case "ByteFallback":
      plan.byteFallback = true;
      return;
    case "Fuse":
      plan.fused = true;
      return;
    case "Replace": {
      const from = asRecord(config.pattern, `${field}.pattern`).String;
      if (typeof from !== "string" || from === "") {
        throw new TokenizerError(`${field}.pattern`, 'a literal {"String": …}', config.pattern);
      }
      if (typeof config.content !== "string") throw new TokenizerError(`${field}.content`, "text", config.content);
      plan.replacements.push({ from, to: config.content });
      return;
    }
    case "Metaspace": {
      const from = config.replacement ?? "▁";
      if (typeof from !== "string" || from === "") throw new TokenizerError(`${field}.replacement`, "a letter", from);
      plan.replacements.push({ from, to: " " });
      // Older files say add_prefix_space: false where newer ones say prepend_scheme: "never".
      if (config.prepend_scheme !== "never" && config.add_prefix_space !== false) plan.leadingBlanks = 1;
      return;
    }
    case "Strip": {
      const { content, start = 0, stop = 0 } = config;
      if (content !== " " || stop !== 0 || typeof start !== "number" || !plan.fused) {
        throw new TokenizerError(field, "a Strip of blanks at the start, after Fuse", config);
      }
      plan.leadingBlanks = start;
      return;
    }
    default:
      throw new TokenizerError(
        `${field}.type`,
        "one of ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Sequence, Strip",
        type,
      );
  }
}

function asRecord(value: unknown, field: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TokenizerError(field, "an object", value);
  }
  return value as Record<string, unknown>; // a non-null object that is no list: any key may be asked for
}

// The byte-level alphabet of GPT-2: printable Latin-1 bytes stand for themselves, the other 68 for U+0100 onwards.
const byteOfLetter = new Map<string, number>();
for (let byte = 0, next = 256; byte < 256; byte++) {
  const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  byteOfLetter.set(String.fromCharCode(printable ? byte : next++), byte);
}

function byteLevelBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const byte = byteOfLetter.get(text.charAt(i));
    if (byte === undefined) return utf8.encode(text); // not written in the alphabet: taken as it stands
    bytes[i] = byte;
  }
  return bytes;
}
