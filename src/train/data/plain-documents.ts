/**
 * Tokenises a stream of plain text into documents: parted at a separator, long ones in pieces, so that no document has to be in memory
 * as a whole.
 *
 * A piece ends between a letter and a blank where the tokenizer itself parts words: the ids are those of the whole document. Whether that
 * holds is tried out on the text around the place; a tokenizer for which it never does (some put a blank in front of every text) gets its
 * documents whole.
 */
import type { Tokenizer } from "../../text/index.js";
import type { DocumentMarks } from "./encode-document.js";
import type { ShardWriter } from "./shard-writer.js";

/** Options of {@link PlainDocuments}. */
export interface PlainDocumentsOptions {
  readonly tokenizer: Pick<Tokenizer, "encode">;
  readonly marks: DocumentMarks;
  /** Stands between documents; "": the text is one document. */
  readonly separator: string;
  /** Characters of a piece, about. For tests. */
  readonly pieceCharacters?: number;
}

const usualPiece = 128 * 1024;
// Characters on each side of a place that is tried, and places that are tried.
const margin = 64;
const tries = 16;

/** Push text as it comes; `end` closes the last document. */
export class PlainDocuments {
  #pending = "";
  #isOpen = false;
  #patience: number;
  readonly #piece: number;

  constructor(
    private readonly writer: ShardWriter,
    private readonly options: PlainDocumentsOptions,
  ) {
    this.#piece = options.pieceCharacters ?? usualPiece;
    this.#patience = this.#piece;
  }

  async push(text: string): Promise<void> {
    const { separator } = this.options;
    // What was there before holds no separator, but perhaps the beginning of one.
    const from = Math.max(0, this.#pending.length - separator.length);
    this.#pending += text;
    if (separator !== "") {
      for (let at = this.#pending.indexOf(separator, from); at >= 0; at = this.#pending.indexOf(separator)) {
        const rest = this.#pending.slice(at + separator.length);
        this.#pending = this.#pending.slice(0, at);
        await this.end();
        this.#pending = rest;
      }
    }
    if (!this.#isOpen) this.#pending = this.#pending.trimStart();
    while (this.#pending.length >= this.#patience) {
      const cut = this.#findCut();
      if (cut === undefined) {
        // Looking again at every push would take the square of the length.
        this.#patience *= 2;
        return;
      }
      await this.#append(this.#pending.slice(0, cut));
      this.#pending = this.#pending.slice(cut);
      this.#patience = this.#piece;
    }
  }

  /** Closes the document; an empty one is none. */
  async end(): Promise<void> {
    const { marks } = this.options;
    const text = this.#isOpen ? this.#pending.trimEnd() : this.#pending.trim();
    this.#pending = "";
    this.#patience = this.#piece;
    if (text !== "") await this.#append(text);
    if (!this.#isOpen) return;
    if (marks.end !== undefined) await this.writer.append([marks.end]);
    await this.writer.endDocument();
    this.#isOpen = false;
  }

  async #append(text: string): Promise<void> {
    const { tokenizer, marks } = this.options;
    if (!this.#isOpen && marks.start !== undefined) await this.writer.append([marks.start]);
    this.#isOpen = true;
    await this.writer.append(tokenizer.encode(text));
  }

  /** A place near a piece's end at which both sides can be tokenised by themselves. */
  #findCut(): number | undefined {
    const { tokenizer, separator } = this.options;
    const text = this.#pending;
    let tried = 0;
    // The end of what is there may be half a separator.
    for (
      let at = Math.min(text.length - margin - separator.length, this.#patience);
      at > margin && tried < tries;
      at--
    ) {
      if (text[at] !== " " || !/\p{L}/u.test(text[at - 1]!)) continue;
      tried++;
      const [left, right] = [text.slice(at - margin, at), text.slice(at, at + margin)];
      const apart = [...tokenizer.encode(left), ...tokenizer.encode(right)];
      const whole = tokenizer.encode(left + right);
      if (apart.length === whole.length && apart.every((id, i) => id === whole[i])) return at;
    }
    return undefined;
  }
}
