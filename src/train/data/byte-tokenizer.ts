/**
 * A tokenizer without a vocabulary to learn: one id for each byte, and the marks of a chat. For small models from scratch.
 *
 * It is an ordinary tokenizer.json (byte-level BPE without merges), so that a checkpoint with these two files is read like any
 * other, here and by transformers.
 */

// The marks and the template are those of fulgur-mini, so that what is measured there can be measured here.
const marks = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<think>", "</think>", "<|pad|>"];

const chatTemplate =
  "{{- '<|endoftext|>' }}{%- for m in messages %}{%- if m.role == 'system' %}{{- '<|system|>' + m.content + '<|end|>' }}" +
  "{%- elif m.role == 'user' %}{{- '<|user|>' + m.content + '<|end|>' }}{%- elif m.role == 'assistant' %}" +
  "{{- '<|assistant|>' }}{%- if '</think>' in m.content %}{{- m.content }}{%- else %}{{- '<think></think>' + m.content }}" +
  "{%- endif %}{{- '<|end|>' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|assistant|>' }}" +
  "{%- if enable_thinking is defined %}{%- if enable_thinking %}{{- '<think>' }}{%- else %}{{- '<think></think>' }}" +
  "{%- endif %}{%- endif %}{%- endif %}";

/** Ids of the byte tokenizer: 8 marks, then the 256 bytes. */
export const byteVocabulary = marks.length + 256;

/** The letters that stand for bytes in a byte-level vocabulary (GPT-2's encoder): printable ones for themselves, the rest from U+0100 on. */
function byteLetters(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const isPrintable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCharCode(isPrintable ? byte : next++);
  });
}

/** The contents of `tokenizer.json` and `tokenizer_config.json`; `createTokenizer` and `chatTemplateFromConfig` read them. */
export function byteTokenizerFiles(): { readonly tokenizer: unknown; readonly config: unknown } {
  const vocab = Object.fromEntries([...marks, ...byteLetters()].map((token, id) => [token, id]));
  const added = (content: string, id: number) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: marks.map(added),
      normalizer: null,
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
      post_processor: null,
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: { type: "BPE", dropout: null, unk_token: null, fuse_unk: false, byte_fallback: false, vocab, merges: [] },
    },
    config: {
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: null,
      eos_token: "<|end|>",
      pad_token: "<|pad|>",
      unk_token: null,
      clean_up_tokenization_spaces: false,
      add_bos_token: false,
      chat_template: chatTemplate,
    },
  };
}
