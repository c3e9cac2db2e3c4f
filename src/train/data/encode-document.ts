/**
 * Documents made of stretches of text, and their token ids with the loss of each.
 *
 * Stretches are tokenised one by one. A prompt and its answer must be: a model that answers has the prompt's tokens before it,
 * tokenised alone.
 */
import type { Tokenizer } from "../../text/index.js";

/** A stretch of a document. */
export interface Stretch {
  readonly text: string;
  /** Whether foretelling its tokens counts. */
  readonly loss: boolean;
  /** Tokenised letter by letter, a blank with the letter after it: for words that nobody has seen as tokens. */
  readonly spelt?: boolean;
}

/** Ids of a document and which of them count. */
export interface EncodedDocument {
  readonly ids: number[];
  readonly loss: boolean[];
}

/** Tokenises stretches in order. */
export function encodeDocument(stretches: readonly Stretch[], tokenizer: Pick<Tokenizer, "encode">): EncodedDocument {
  const ids: number[] = [];
  const loss: boolean[] = [];
  for (const stretch of stretches) {
    const texts = stretch.spelt ? (stretch.text.match(/ ?./gsu) ?? []) : [stretch.text];
    for (const text of texts) {
      if (text === "") continue;
      for (const id of tokenizer.encode(text)) {
        ids.push(id);
        loss.push(stretch.loss);
      }
    }
  }
  return { ids, loss };
}

/** The ids that stand around a plain text. */
export interface DocumentMarks {
  /** In front of every document, so that its first token has something to be foretold from. */
  readonly start: number | undefined;
  /** Foretold after a document's last token. */
  readonly end: number | undefined;
}

// Pretraining marks of the known tokenizers: fulgur-mini, GPT-2 and Qwen; MiniMax; Llama 3; Llama 1 and 2.
const knownMarks = [
  ["<|endoftext|>", "<|endoftext|>"],
  ["<begin_of_document>", "<end_of_sentence>"],
  ["<|begin_of_text|>", "<|end_of_text|>"],
  ["<s>", "</s>"],
] as const;

/** The marks that a tokenizer's vocabulary offers; none when it has no special tokens for it. */
export function documentMarks(tokenizer: Pick<Tokenizer, "idOf">): DocumentMarks {
  for (const [startToken, endToken] of knownMarks) {
    const [start, end] = [tokenizer.idOf(startToken), tokenizer.idOf(endToken)];
    if (start !== undefined && end !== undefined) return { start, end };
  }
  return { start: undefined, end: undefined };
}
