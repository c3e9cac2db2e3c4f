/** From files on disk to batches: reading, tokenising once, mixing, going on. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { writeFileAtomic } from "../../../formats/node/index.js";
import { chatTemplateFromConfig, createTokenizer } from "../../../text/index.js";
import {
  byteTokenizerFiles,
  drawShard,
  type OpenBatchesOptions,
  openBatches,
  openSources,
  type PieceSource,
  type TrainingBatch,
} from "../../data/index.js";
import { ensureShard } from "./shard-store.js";
import { lines, textChunks } from "./text-file.js";

const files = byteTokenizerFiles();
const tokenizer = createTokenizer(files.tokenizer, files.config);
const template = chatTemplateFromConfig(files.config)!;

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "fulgur-data-"));
});
afterEach(() => rm(dir, { recursive: true }));

const put = (name: string, content: string | Uint8Array): Promise<void> => writeFile(join(dir, name), content);

/** The message of an error, with the directory's random name taken out. */
async function complaint(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.then(
    () => "no complaint",
    (thrown: unknown) => thrown,
  );
  return String(error).replaceAll(dir, "DIR");
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const open = (config: unknown, options: Partial<OpenBatchesOptions> = {}) =>
  openBatches(config, tokenizer, {
    tokensPerBatch: 64,
    sequence: 32,
    seed: 1,
    template,
    folder: dir,
    shards: join(dir, "shards"),
    ...options,
  });

describe("text files", () => {
  // Characters of 1 to 4 bytes around every place where the stream (64 KiB a chunk) can cut.
  const text = `${"aé東🙂".repeat(40_000)}\n`;

  test.each(["plain", "gzip"])("%s: characters across chunk borders stay whole", async (kind) => {
    for (const shift of [0, 1, 2, 3]) {
      const whole = "x".repeat(shift) + text;
      const bytes = new TextEncoder().encode(whole);
      await put("a.txt", kind === "gzip" ? gzipSync(bytes) : bytes);
      const chunks = await collect(textChunks(join(dir, "a.txt")));
      expect(chunks.length).toBeGreaterThan(3);
      expect(chunks.join("") === whole).toBe(true);
    }
  });

  test("lines are numbered, whatever ends them", async () => {
    await put("a.txt", "one\r\ntwo\n\nlast");
    expect(await collect(lines(textChunks(join(dir, "a.txt"))))).toEqual([
      ["one", 1],
      ["two", 2],
      ["", 3],
      ["last", 4],
    ]);
  });

  test("what is not readable text is said", async () => {
    await put("latin.txt", Uint8Array.of(0x61, 0x0a, 0x62, 0xe9, 0x0a));
    await put("cut.txt", Uint8Array.of(0x61, 0xe6, 0x9d));
    await put("packed.txt.xz", Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0, 0));
    const gzip = gzipSync("a line\n".repeat(100_000));
    await put("short.txt.gz", gzip.subarray(0, gzip.length - 40));
    const names = ["latin.txt", "cut.txt", "packed.txt.xz", "short.txt.gz", "absent.txt", "."];
    const read = (name: string) => complaint(collect(textChunks(join(dir, name))));
    expect(await Promise.all(names.map(read))).toMatchInlineSnapshot(`
      [
        "DataError: DIR/latin.txt, line 2: expected UTF-8 text, got other bytes",
        "DataError: DIR/cut.txt, line 1: expected UTF-8 text, got other bytes",
        "DataError: DIR/packed.txt.xz: expected plain or gzip-compressed text, got xz; unpack it first: xz -dk FILE",
        "DataError: DIR/short.txt.gz, line 97083 or later: the gzip data is damaged or cut short: unexpected end of file",
        "DataError: DIR/absent.txt: could not be opened: there is no such file or folder",
        "DataError: DIR: expected a file, got a folder or a device",
      ]
    `);
  });

  test("progress counts the file's bytes, and an abort stops", async () => {
    await put("a.txt", text);
    const seen: number[] = [];
    await collect(textChunks(join(dir, "a.txt"), { onProgress: (done) => seen.push(done) }));
    expect(seen.at(-1)).toBe((await stat(join(dir, "a.txt"))).size);
    const stop = new AbortController();
    const reading = collect(
      textChunks(join(dir, "a.txt"), { signal: stop.signal, onProgress: () => stop.abort(new Error("enough")) }),
    );
    await expect(reading).rejects.toThrow("enough");
  });
});

describe("shards on disk", () => {
  const context = { tokenizer, template, fingerprint: "ab".repeat(32) };

  test("are made once, and again when text, tokenizer or reading changes", async () => {
    await put("a.txt", "one\0two");
    const make = (options = {}, fingerprint = context.fingerprint) =>
      ensureShard(join(dir, "a.txt"), join(dir, "shards"), options, { ...context, fingerprint });
    const first = await make();
    const made = await stat(first);
    expect(await make()).toBe(first);
    expect((await stat(first)).mtimeMs).toBe(made.mtimeMs);
    const others = [await make({ separator: "o" }), await make({}, "cd".repeat(32))];
    await put("a.txt", "one\0three");
    others.push(await make());
    expect(new Set([first, ...others]).size).toBe(4);
    await put("copy.txt", "one\0two");
    const copy = await ensureShard(join(dir, "copy.txt"), join(dir, "shards"), {}, context);
    expect(await readFile(copy)).toEqual(await readFile(first));
    expect((await readdir(join(dir, "shards"))).every((name) => /^(a|copy)-[0-9a-f]{16}\.shard$/.test(name))).toBe(
      true,
    );
  });

  test("an abort leaves nothing behind", async () => {
    await put("a.txt", "some words and more words ".repeat(40_000));
    const stop = new AbortController();
    const onProgress = (done: number): void => {
      if (done > 200_000) stop.abort(new Error("enough"));
    };
    const work = ensureShard(
      join(dir, "a.txt"),
      join(dir, "shards"),
      {},
      { ...context, signal: stop.signal, onProgress },
    );
    await expect(work).rejects.toThrow("enough");
    expect(await readdir(join(dir, "shards"))).toEqual([]);
  });

  test("lines that are no documents are told with file and line", async () => {
    const bad = [
      '{"text": "fine"}\n\n{"text": 3}',
      '{"text": "fine"}\nnot json',
      '["a list"]',
      '{"messages": [{"role": "user", "content": "only a question"}]}',
      '{"messages": [{"content": "nobody"}]}',
      '{"messages": [], "text": "both"}',
      "\n\n",
    ];
    const messages: string[] = [];
    for (const [i, content] of bad.entries()) {
      await put(`${i}.jsonl`, content);
      messages.push(await complaint(ensureShard(join(dir, `${i}.jsonl`), join(dir, "shards"), {}, context)));
    }
    await put("chat.jsonl", '{"messages": [{"role": "assistant", "content": "a"}]}');
    const without = { ...context, template: undefined };
    messages.push(await complaint(ensureShard(join(dir, "chat.jsonl"), join(dir, "shards"), {}, without)));
    expect(messages).toMatchInlineSnapshot(`
      [
        "DataError: DIR/0.jsonl, line 3: expected either "text" (a string) or "messages" (a list), got keys text",
        "DataError: DIR/1.jsonl, line 2: expected a JSON object, got "not json"",
        "DataError: DIR/2.jsonl, line 1: expected a JSON object, got another JSON value",
        "DataError: DIR/3.jsonl, line 1: chat: messages expected an answer (role "assistant") to train on, got none.",
        "DataError: DIR/4.jsonl, line 1: chat: messages[0].role expected text such as user, got nothing.",
        "DataError: DIR/5.jsonl, line 1: expected either "text" (a string) or "messages" (a list), got keys messages, text",
        "DataError: DIR/6.jsonl: expected at least one document, got none",
        "DataError: DIR/chat.jsonl, line 1: has "messages", but the tokenizer has no chat template to write them with",
      ]
    `);
  });
});

describe("openBatches", () => {
  const chat = (n: number) =>
    JSON.stringify({
      messages: [
        { role: "user", content: `q${n}` },
        { role: "assistant", content: `a${n}` },
      ],
    });

  async function putAll(): Promise<void> {
    await mkdir(join(dir, "books"));
    await put("books/one.txt", "The first book is short.\0\nThe second one is a little longer than the first.");
    await put("books/two.txt.gz", gzipSync("A third book, packed: naïve 東京 🙂. ".repeat(20)));
    await put("books/notes.md", "not read");
    await put("chats.jsonl", Array.from({ length: 9 }, (_, n) => chat(n)).join("\n"));
    await put("prose.txt", "The old man walked slowly along the shore and looked at the sea. ".repeat(400));
  }

  const config = {
    sources: [
      { files: "books", weight: 0.5 },
      { files: ["chats.jsonl"], weight: 0.2 },
      { exercises: { families: ["parity", "leap"], levels: [1, 0, 0], mode: "direct" }, weight: 0.2 },
      { retrieval: { prose: "prose.txt", facts: [1, 2], tokens: [100, 200] }, weight: 0.1 },
    ],
  };
  const large = { tokensPerBatch: 512, sequence: 200 };

  test("mixes everything, and goes on from the place after any batch", async () => {
    await putAll();
    await using batches = await open(config, large);
    const places: unknown[] = [];
    const taken: TrainingBatch[] = [];
    for (let i = 0; i < 12; i++) {
      places.push(JSON.parse(JSON.stringify(batches.position())));
      taken.push(await batches.next());
    }
    for (const { rows, targets } of taken) {
      expect(rows.flat()).toHaveLength(512);
      expect(targets).toHaveLength(512);
      expect(targets.some((target) => target !== -1)).toBe(true);
    }
    for (const [i, place] of places.entries()) {
      await using again = await open(config, large);
      again.restore(place);
      expect(await again.next()).toEqual(taken[i]);
      if (i + 1 < taken.length) expect(await again.next()).toEqual(taken[i + 1]);
    }
    await using other = await open(config, { ...large, seed: 2 });
    expect(() => other.restore(places[1])).toThrow("other data, weights, sizes or seed than when it was saved?");
    expect(await other.next()).not.toEqual(taken[0]);
    const shares = batches
      .progress()
      .map(({ tokens }) => tokens / batches.progress().reduce((sum, one) => sum + one.tokens, 0));
    for (const [i, { weight }] of config.sources.entries()) expect(Math.abs(shares[i]! - weight)).toBeLessThan(0.04);
    expect(batches.progress()[1]!.passes).toBeGreaterThan(1);
    expect(batches.progress()[2]).not.toHaveProperty("passes");
  });

  test("one pass over a text foretells every token of it once", async () => {
    await putAll();
    const counts = new Map<number, number>();
    const text = await readFile(join(dir, "books/one.txt"), "utf8");
    const expected = text.split("\0").flatMap((document) => [...tokenizer.encode(document.trim()), 0]);
    const size = { tokensPerBatch: expected.length, sequence: 16 };
    await using batches = await open({ sources: [{ files: "books/one.txt" }] }, size);
    for (const target of (await batches.next()).targets) counts.set(target, (counts.get(target) ?? 0) + 1);
    const wanted = new Map<number, number>();
    for (const id of expected) wanted.set(id, (wanted.get(id) ?? 0) + 1);
    expect(counts).toEqual(wanted);
    expect(batches.progress()[0]!.passes).toBe(1);
  });

  test("conversations: the loss is on the answers alone", async () => {
    await putAll();
    await using batches = await open({ sources: [{ files: "chats.jsonl" }] });
    const { rows, targets } = await batches.next();
    let at = 0;
    for (const row of rows) {
      const own = targets.slice(at, at + row.length).filter((target) => target !== -1);
      at += row.length;
      if (own.length > 0) expect(tokenizer.decode(own)).toMatch(/^<think><\/think>a\d<\|end\|>$/);
      expect(tokenizer.decode(row)).toMatch(/^<\|endoftext\|><\|user\|>q\d/);
    }
  });

  test("a conversation longer than a row is noted", async () => {
    await put("long.jsonl", `${chat(1)}\n${chat(1).replace("a1", "a".repeat(100))}`);
    await using batches = await open({ sources: [{ files: "long.jsonl" }] });
    expect(batches.notes).toMatchInlineSnapshot(`
      [
        "long.jsonl: 1 conversations are longer than 32 tokens and lose their end",
      ]
    `);
    await batches.next();
  });

  test("a damaged shard is told when it is read, or made by another tokenizer when it is opened", async () => {
    await putAll();
    await using first = await open({ sources: [{ files: "books/one.txt" }] });
    await first.next();
    const [name] = await readdir(join(dir, "shards"));
    const path = join(dir, "shards", name!);
    const bytes = await readFile(path);
    bytes[70]! ^= 1;
    await writeFile(path, bytes);
    const config = { sources: [{ files: path }] };
    const messages = [await complaint(open(config))];
    const other = createTokenizer(
      JSON.parse(
        await readFile(new URL("../../../../test/fixtures/text/tokenizer-stories260K.json", import.meta.url), "utf8"),
      ),
    );
    const options = { tokensPerBatch: 64, sequence: 32, seed: 1, folder: dir };
    messages.push(await complaint(openBatches(config, other, options)));
    await truncate(path, 150);
    messages.push(await complaint(open(config)));
    expect(messages.map((message) => message.replace(/[0-9a-f]{16}/, "HASH"))).toMatchInlineSnapshot(`
      [
        "DataError: DIR/shards/one-HASH.shard, bytes 0 to 251: damaged (wrong checksum); delete the shard to have it made again",
        "DataError: DIR/shards/one-HASH.shard: was made with another tokenizer or chat template than the model's",
        "DataError: DIR/shards/one-HASH.shard, byte 86: expected the trailer of a shard, got other bytes (is the file cut short?)",
      ]
    `);
  });

  test("a wrong section is told by its field", async () => {
    await put("empty.txt", " \n");
    await put("words.jsonl", '["apple", "x", "fruit", ""]');
    await mkdir(join(dir, "hollow"));
    const wrong: [unknown, Partial<OpenBatchesOptions>?][] = [
      [undefined],
      [{ sources: [] }],
      [{ sources: [{ file: "a.txt" }] }],
      [{ sources: [{ files: 3 }] }],
      [{ sources: [{ files: "empty.txt", wieght: 2 }] }],
      [{ sources: [{ files: "absent.txt" }] }],
      [{ sources: [{ files: "empty.txt" }] }],
      [{ sources: [{ files: "hollow" }] }],
      [{ sources: [{ exercises: { mode: "loud" }, weight: -1 }] }],
      [{ sources: [{ exercises: { families: ["addition"] } }] }],
      [{ sources: [{ exercises: { families: ["define"] } }] }],
      [{ sources: [{ exercises: { families: ["define"], material: { glosses: "words.jsonl" } } }] }],
      [{ sources: [{ exercises: {} }] }, { template: undefined }],
      [{ sources: [{ retrieval: {} }] }],
      [{ sources: [{ retrieval: { dense: 1, tokens: [1, 99] } }] }],
      [{ sources: [{ exercises: {}, weight: 0 }] }],
      [{ sources: [{ exercises: {} }], maximumRows: 1 }],
    ];
    const messages = await Promise.all(wrong.map(([config, options]) => complaint(open(config, options))));
    expect(messages).toMatchInlineSnapshot(`
      [
        "DataError: configuration: data: Invalid input: expected object, received undefined",
        "DataError: configuration: data.sources: Too small: expected array to have >=1 items",
        "DataError: configuration: data.sources[0]: expected one of "files", "exercises" and "retrieval"",
        "DataError: configuration: data.sources[0].files: expected a path or a list of paths, of files or folders",
        "DataError: configuration: data.sources[0]: Unrecognized key: "wieght"",
        "DataError: absent.txt: could not be opened: there is no such file or folder",
        "DataError: DIR/empty.txt: expected at least one document, got none",
        "DataError: hollow: expected a folder with .txt, .jsonl (also .gz) or .shard files, got none",
        "DataError: configuration: data.sources[0].exercises.mode: Invalid option: expected one of "think"|"direct"|"mixed"; data.sources[0].weight: Too small: expected number to be >=0",
        "DataError: data.sources[0].exercises: tasks: there is no family "addition". Families: add, sub, mul, divide, compare, sort, sortwords, minmax, sum, mod, countdown, letters, length, revword, revlist, nth, copy, bool, weekday, date, time, leap, recall, word, seq, parity, case, spell, define, whichword, kind, small, unknown, story, continue.",
        "DataError: data.sources[0].exercises: tasks: define needs material.glosses, got nothing.",
        "DataError: words.jsonl, line 1: Invalid option: expected one of "n"|"v"|"a"",
        "DataError: data.sources[0].exercises: needs a chat template, and the tokenizer has none",
        "DataError: data.sources[0].retrieval, prose: expected a text file, got nothing (or "dense": 1 for facts alone)",
        "DataError: data.sources[0].retrieval: tokens expected whole numbers from <= to of 1 to 32, got 1 to 99.",
        "DataError: data: batches: weights expected above 0, got [0].",
        "DataError: data: batches: maximumRows expected at least 2 for 64 tokens in rows of 32, got 1.",
      ]
    `);
  });
});

test("drawn documents, written down, give the same pieces", async () => {
  const source = { exercises: { families: ["add", "copy"] } };
  const sources = await openSources({ sources: [source] }, tokenizer, {
    sequence: 300,
    seed: 3,
    template,
    folder: dir,
  });
  const drawing = sources.sources[0]!.source;
  const path = join(dir, "drawn.shard");
  const header = { idBytes: 2, vocabSize: tokenizer.vocabSize, fingerprint: sources.fingerprint.slice(0, 32) } as const;
  await writeFileAtomic(path, (sink) => drawShard(drawing, 20, sink, header));
  const written = await openSources({ sources: [{ files: path }] }, tokenizer, {
    sequence: 300,
    seed: 3,
    template,
    folder: dir,
  });
  const shard = written.sources[0]!.source;
  expect(shard.epoch).toBe(20);
  const all = async (from: PieceSource) => {
    const pieces = await Promise.all(Array.from({ length: 20 }, (_, n) => from.piece(n)));
    return pieces
      .map(({ ids, loss, isWhole }) => ({ ids, loss: Array.from(loss, Boolean), isWhole }))
      .sort((a, b) => (a.ids.join() < b.ids.join() ? -1 : 1));
  };
  expect(await all(shard)).toEqual(await all(drawing));
  await written.close();
});
