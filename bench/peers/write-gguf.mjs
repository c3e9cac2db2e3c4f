/**
 * Writes a GGUF file with random weights in the shape of a config.json, for llama.cpp-based peers:
 *
 *   node bench/peers/write-gguf.mjs CONFIG.json OUT.gguf
 *
 * MiniMax configs become llama.cpp's architecture `minimax-01`, all others `llama` (biases and norms of single heads are left
 * out: they cost next to nothing). Weights are stored as the config says: int8 as Q8_0, int4 experts as Q4_0, else as `dtype`.
 * The tokenizer is a table of bytes and filler words.
 *
 * Source  the GGUF specification (ggml-org/ggml, docs/gguf.md), version 3; tensor names as llama.cpp reads them.
 */
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { pathToFileURL } from "node:url";

/** ggml's number, and bytes of a block of so many values. */
const types = {
  f32: { id: 0, block: 1, bytes: 4 },
  f16: { id: 1, block: 1, bytes: 2 },
  q4_0: { id: 2, block: 32, bytes: 18 },
  q8_0: { id: 8, block: 32, bytes: 34 },
  bf16: { id: 30, block: 1, bytes: 2 },
};
const typeOf = { int8: "q8_0", int4: "q4_0", float16: "f16", bfloat16: "bf16", float32: "f32" };

/** What the writer needs of a config.json. @throws {Error} llama.cpp has no such model. */
export function shapeOf(config) {
  const heads = config.num_attention_heads;
  const headDim = config.head_dim ?? config.hidden_size / heads;
  const isMiniMax = String(config.model_type).startsWith("minimax");
  const plain = config.quantization_config?.rest ?? config.dtype ?? config.torch_dtype ?? "float16";
  const kinds = config.layer_types?.map((type) => (type === "full_attention" ? 1 : 0)) ?? config.attn_type_list;
  const interval = isMiniMax ? kinds.indexOf(1) + 1 : 1;
  if (isMiniMax && !kinds.every((kind, l) => kind === ((l + 1) % interval === 0 ? 1 : 0))) {
    throw new Error("llama.cpp's minimax-01 has softmax attention in every n-th layer; this config has not");
  }
  return {
    arch: isMiniMax ? "minimax-01" : "llama",
    layers: config.num_hidden_layers,
    hidden: config.hidden_size,
    heads,
    kvHeads: config.num_key_value_heads ?? heads,
    headDim,
    rotaryDim: config.rotary_dim ?? headDim,
    width: config.intermediate_size,
    vocab: config.vocab_size,
    experts: config.num_local_experts ?? 1,
    used: config.num_experts_per_tok ?? 1,
    interval,
    residual: config.linear_attn_alpha_factor ?? config.layernorm_linear_attention_alpha ?? 1,
    type: typeOf[plain] ?? "f16",
    expertType: typeOf[config.quantization_config?.experts] ?? typeOf[plain] ?? "f16",
  };
}

/** Tensors as [name, extents (innermost first), type]. */
function tensorsOf(s) {
  const { hidden: C, heads, kvHeads, headDim, width, vocab, experts } = s;
  const q = heads * headDim;
  const kv = kvHeads * headDim;
  const list = [
    ["token_embd.weight", [C, vocab], s.type],
    ["output_norm.weight", [C], "f32"],
    ["output.weight", [C, vocab], s.type],
  ];
  for (let l = 0; l < s.layers; l++) {
    const add = (name, extents, type = s.type) => list.push([`blk.${l}.${name}.weight`, extents, type]);
    add("attn_norm", [C], "f32");
    add("ffn_norm", [C], "f32");
    add("attn_output", [q, C]);
    if ((l + 1) % s.interval !== 0) {
      add("attn_norm_2", [q], "f32");
      add("attn_qkv", [C, 3 * q]);
      add("attn_gate", [C, q]);
    } else {
      add("attn_q", [C, q]);
      add("attn_k", [C, kv]);
      add("attn_v", [C, kv]);
    }
    if (s.arch === "minimax-01") {
      add("ffn_gate_inp", [C, experts], "f32");
      add("ffn_gate_exps", [C, width, experts], s.expertType);
      add("ffn_up_exps", [C, width, experts], s.expertType);
      add("ffn_down_exps", [width, C, experts], s.expertType);
    } else {
      add("ffn_gate", [C, width]);
      add("ffn_up", [C, width]);
      add("ffn_down", [width, C]);
    }
  }
  return list;
}

const count = (extents) => extents.reduce((a, b) => a * b, 1);
const padded = (bytes) => Math.ceil(bytes / 32) * 32;
const bytesOf = (extents, type) => (count(extents) / types[type].block) * types[type].bytes;

/** Writes the file. `context`: positions that the model claims to reach. */
export function writeGguf(path, s, context = 2 ** 17) {
  const key = (name) => `${s.arch}.${name}`;
  const metadata = [
    ["general.architecture", string(s.arch)],
    ["general.name", string("random")],
    ["general.alignment", uint(32)],
    [key("block_count"), uint(s.layers)],
    [key("context_length"), uint(context)],
    [key("embedding_length"), uint(s.hidden)],
    [key("feed_forward_length"), uint(s.width)],
    [key("attention.head_count"), uint(s.heads)],
    [key("attention.head_count_kv"), uint(s.kvHeads)],
    [key("attention.key_length"), uint(s.headDim)],
    [key("attention.value_length"), uint(s.headDim)],
    [key("attention.layer_norm_rms_epsilon"), float(1e-5)],
    [key("rope.dimension_count"), uint(s.rotaryDim)],
    [key("rope.freq_base"), float(10000)],
    [key("vocab_size"), uint(s.vocab)],
    ...(s.arch === "minimax-01"
      ? [
          [key("expert_count"), uint(s.experts)],
          [key("expert_used_count"), uint(s.used)],
          [key("full_attention_interval"), uint(s.interval)],
          [key("residual_scale"), float(s.residual)],
        ]
      : []),
    ...tokenizer(s.vocab),
  ];
  const tensors = tensorsOf(s);
  const header = [Buffer.from("GGUF"), u32(3), u64(tensors.length), u64(metadata.length)];
  for (const [name, value] of metadata) header.push(text(name), value);
  let offset = 0;
  for (const [name, extents, type] of tensors) {
    header.push(text(name), u32(extents.length), ...extents.map(u64), u32(types[type].id), u64(offset));
    offset += padded(bytesOf(extents, type));
  }
  const head = Buffer.concat(header);
  const file = openSync(path, "w");
  try {
    writeAll(file, Buffer.concat([head, Buffer.alloc(padded(head.length) - head.length)]));
    for (const [, extents, type] of tensors) writeTensor(file, extents, type);
  } finally {
    closeSync(file);
  }
}

/** A block of random weights of each type, written over and over. */
const blocks = new Map();

function blockOf(type) {
  let block = blocks.get(type);
  if (block) return block;
  const values = 65536;
  const { bytes, block: size } = types[type];
  block = Buffer.alloc((values / size) * bytes);
  let state = 1;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  for (let at = 0; at < block.length; at += bytes) {
    if (type === "f32") block.writeFloatLE(0.035 * random(), at);
    else if (type === "f16") block.writeUInt16LE(half(0.035 * random()), at);
    else if (type === "bf16") {
      const scratch = Buffer.alloc(4);
      scratch.writeFloatLE(0.035 * random());
      block.writeUInt16LE(scratch.readUInt16LE(2), at);
    } else {
      block.writeUInt16LE(half(0.035 / (type === "q8_0" ? 127 : 8)), at);
      for (let i = 2; i < bytes; i++) block.writeInt8(Math.round(127 * random()), at + i);
    }
  }
  blocks.set(type, block);
  return block;
}

function writeTensor(file, extents, type) {
  const size = bytesOf(extents, type);
  if (extents.length === 1) {
    const ones = Buffer.alloc(padded(size));
    for (let at = 0; at < size; at += 4) ones.writeFloatLE(1, at);
    writeAll(file, ones);
    return;
  }
  const block = blockOf(type);
  for (let at = 0; at < size; at += block.length) writeAll(file, block.subarray(0, Math.min(block.length, size - at)));
  writeAll(file, Buffer.alloc(padded(size) - size));
}

function writeAll(file, bytes) {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}

/** A normal number as float16 bits, cut, not rounded. */
function half(value) {
  const bits = new Uint32Array(new Float32Array([value]).buffer)[0];
  const exponent = ((bits >>> 23) & 255) - 112;
  return exponent <= 0 ? 0 : ((bits >>> 16) & 0x8000) | (exponent << 10) | ((bits >>> 13) & 1023);
}

// Values of metadata: a type number, then the value. 4 uint32, 5 int32, 6 float32, 8 string, 9 array.
const u32 = (value) => {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
};
const u64 = (value) => {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(BigInt(value));
  return out;
};
const f32 = (value) => {
  const out = Buffer.alloc(4);
  out.writeFloatLE(value);
  return out;
};
const text = (value) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
const uint = (value) => Buffer.concat([u32(4), u32(value)]);
const float = (value) => Buffer.concat([u32(6), f32(value)]);
const string = (value) => Buffer.concat([u32(8), text(value)]);
const array = (type, items) => Buffer.concat([u32(9), u32(type), u64(items.length), ...items]);

function tokenizer(vocab) {
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
  const tokens = ["<unk>", "<s>", "</s>", ...bytes].slice(0, vocab);
  const kinds = tokens.map((_, i) => (i === 0 ? 2 : i < 3 ? 3 : 6)); // unknown, control, byte
  while (tokens.length < vocab) {
    kinds.push(1);
    tokens.push(`\u2581w${tokens.length}`);
  }
  return [
    ["tokenizer.ggml.model", string("llama")],
    ["tokenizer.ggml.tokens", array(8, tokens.map(text))],
    [
      "tokenizer.ggml.scores",
      array(
        6,
        tokens.map((_, i) => f32(-i)),
      ),
    ],
    ["tokenizer.ggml.token_type", array(5, kinds.map(u32))],
    ["tokenizer.ggml.bos_token_id", uint(1)],
    ["tokenizer.ggml.eos_token_id", uint(2)],
    ["tokenizer.ggml.unknown_token_id", uint(0)],
  ];
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [config, out] = process.argv.slice(2);
  if (!config || !out) throw new Error("usage: node bench/peers/write-gguf.mjs CONFIG.json OUT.gguf");
  writeGguf(out, shapeOf(JSON.parse(readFileSync(config, "utf8"))));
}
