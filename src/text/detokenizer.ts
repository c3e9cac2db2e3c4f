/**
 * Token ids to text, one at a time.
 *
 * Bytes that may still become a character are held back; what is given out never changes, and joined it equals
 * `tokenizer.decode` of all ids. Constant work a token: each token's bytes go through one streaming UTF-8 decoder.
 */
import type { DecodeOptions, Tokenizer } from "./tokenizer.js";

/** A running decode of one sequence. */
export interface Detokenizer {
  /** Takes the next id and returns the text that has become certain, often one word, sometimes nothing. */
  push(id: number): string;
  /** The sequence is over: returns what was held back (U+FFFD for a broken character) and starts afresh. */
  end(): string;
}

/** Starts a streaming decode. Options as for `tokenizer.decode`. */
export function createDetokenizer(tokenizer: Tokenizer, { skipSpecial = false }: DecodeOptions = {}): Detokenizer {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let blanksToDrop = tokenizer.leadingBlanks;

  const withoutLeadingBlanks = (text: string): string => {
    if (blanksToDrop === 0 || text === "") return text;
    let blanks = 0;
    while (blanks < blanksToDrop && text[blanks] === " ") blanks++;
    blanksToDrop = blanks === text.length ? blanksToDrop - blanks : 0;
    return text.slice(blanks);
  };

  return {
    push(id) {
      if (skipSpecial && tokenizer.isSpecial(id)) return "";
      return withoutLeadingBlanks(decoder.decode(tokenizer.tokenBytes(id), { stream: true }));
    },
    end() {
      const text = withoutLeadingBlanks(decoder.decode());
      blanksToDrop = tokenizer.leadingBlanks;
      return text;
    },
  };
}
