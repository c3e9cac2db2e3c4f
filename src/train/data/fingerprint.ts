/** What tells two tokenizers apart: a shard made by one is nonsense to another. */
import { sha256 } from "../../models/index.js";
import type { ChatTemplate, Tokenizer } from "../../text/index.js";

// Merges show in how a text is cut; this one has most that a pre-tokenizer looks at.
const probe =
  "The quick brown fox can't jump over 12,345.67 lazy dogs!\n\n\tif (x >= 2) { return x << 1; }  // naïve café, ЁЖИК, 東京, 🙂\r\n don't DON'T   end";

/** 64 hexadecimal digits over all tokens, a probe's ids and, when there is one, the template's rendering of a probe. */
export async function tokenizerFingerprint(tokenizer: Tokenizer, template?: ChatTemplate): Promise<string> {
  const parts: Uint8Array[] = [];
  const utf8 = new TextEncoder();
  const ids = Array.from({ length: tokenizer.vocabSize }, (_, id) => id);
  const lengths = new Uint32Array(ids.length);
  for (const id of ids) {
    const bytes = tokenizer.tokenBytes(id);
    lengths[id] = bytes.length * 2 + (tokenizer.isSpecial(id) ? 1 : 0);
    parts.push(bytes);
  }
  parts.push(new Uint8Array(lengths.buffer), utf8.encode(JSON.stringify(tokenizer.encode(probe))));
  if (template) {
    const turns = [
      { role: "user", content: "a" },
      { role: "assistant", content: "b" },
    ];
    const render = (count: number): string => {
      try {
        return template.render([...turns, ...turns].slice(0, count), { addGenerationPrompt: count % 2 === 1 });
      } catch (error) {
        return String(error);
      }
    };
    parts.push(utf8.encode(JSON.stringify([1, 2, 3, 4].map(render))));
  }
  return sha256(parts);
}
