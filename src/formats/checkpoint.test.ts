import { describe, expect, test } from "vitest";
import { type ByteSource, memorySource } from "./byte-source.js";
import { indexFileName, openCheckpoint, openSafetensors, singleFileName } from "./checkpoint.js";
import { CheckpointError } from "./checkpoint-error.js";
import type { Folder } from "./folder.js";
import { parseJson } from "./json.js";
import { memorySink, writeSafetensors } from "./safetensors-writer.js";

/** Tensors of one byte value each, `size` bytes of U8. */
async function shard(tensors: Readonly<Record<string, number>>, size = 4, metadata = {}): Promise<Uint8Array> {
  const sink = memorySink();
  const list = Object.entries(tensors).map(([name, fill]) => ({
    name,
    dtype: "U8" as const,
    shape: [size],
    bytes: () => new Uint8Array(size).fill(fill),
  }));
  await writeSafetensors(sink, list, metadata);
  return sink.bytes();
}

/** A folder in memory that counts how many of its files are open and logs every read. */
function memoryFolder(files: Readonly<Record<string, Uint8Array | string>>) {
  const counts = { open: 0 };
  const reads: number[] = [];
  const bytesOf = (file: string): Uint8Array => {
    const content = Object.hasOwn(files, file) ? files[file] : undefined;
    if (content === undefined) throw new CheckpointError(`dir/${file}`, "file", "no such file");
    return typeof content === "string" ? new TextEncoder().encode(content) : content;
  };
  const folder: Folder = {
    name: "dir",
    async open(file) {
      const inner = memorySource(`dir/${file}`, bytesOf(file));
      counts.open++;
      const source: ByteSource = {
        ...inner,
        read(offset, length, signal) {
          reads.push(length);
          return inner.read(offset, length, signal);
        },
        async close() {
          counts.open--;
          await inner.close();
        },
      };
      return source;
    },
    has: async (file) => Object.hasOwn(files, file),
    readText: async (file) => new TextDecoder().decode(bytesOf(file)),
    readJson: async (file) => parseJson(new TextDecoder().decode(bytesOf(file)), { file: `dir/${file}` }),
    close: async () => {},
  };
  return { folder, counts, reads };
}

const index = (weightMap: unknown): string => JSON.stringify({ metadata: { total_size: 1 }, weight_map: weightMap });

describe("one file", () => {
  test("opens, reads, closes", async () => {
    const { folder, counts } = memoryFolder({ [singleFileName]: await shard({ a: 1, b: 2 }, 4, { step: "7" }) });
    const checkpoint = await openCheckpoint(folder);
    expect([...checkpoint.entries.keys()]).toEqual(["a", "b"]);
    expect(checkpoint.totalBytes).toBe(8);
    expect(checkpoint.metadata).toEqual({ step: "7" });
    expect([...(await checkpoint.read("b"))]).toEqual([2, 2, 2, 2]);
    await checkpoint.close();
    expect(counts.open).toBe(0);
  });

  test("closes by itself at the end of `await using`", async () => {
    const { folder, counts } = memoryFolder({ [singleFileName]: await shard({ a: 1 }) });
    {
      await using checkpoint = await openCheckpoint(folder);
      expect(checkpoint.entries.size).toBe(1);
    }
    expect(counts.open).toBe(0);
  });

  test("a damaged file is closed again", async () => {
    const { folder, counts } = memoryFolder({ [singleFileName]: new Uint8Array(20) });
    await expect(openCheckpoint(folder)).rejects.toThrow(CheckpointError);
    expect(counts.open).toBe(0);
  });

  test("streams in pieces and never reads more than one", async () => {
    const { folder, reads } = memoryFolder({ [singleFileName]: await shard({ a: 1, b: 2 }, 1000) });
    const checkpoint = await openCheckpoint(folder);
    reads.length = 0;
    const pieces: [number, number][] = [];
    for await (const { offset, bytes } of checkpoint.stream("b", { chunkBytes: 300 })) {
      expect(bytes.every((byte) => byte === 2)).toBe(true);
      pieces.push([offset, bytes.byteLength]);
      expect(reads).toHaveLength(pieces.length); // no reading ahead
    }
    expect(pieces).toEqual([
      [0, 300],
      [300, 300],
      [600, 300],
      [900, 100],
    ]);
  });

  test("reads a range into the caller's memory", async () => {
    const { folder } = memoryFolder({ [singleFileName]: await shard({ a: 1, b: 2 }, 1000) });
    const checkpoint = await openCheckpoint(folder);
    const memory = new Uint8Array(8);
    await checkpoint.readInto("b", memory.subarray(2, 6), 996);
    expect([...memory]).toEqual([0, 0, 2, 2, 2, 2, 0, 0]);
    await expect(checkpoint.readInto("a", memory, 996)).rejects.toThrow(RangeError);
    await expect(checkpoint.readInto("c", memory, 0)).rejects.toThrow(CheckpointError);
  });

  test("a stream stops at an abort, and when its consumer leaves", async () => {
    const { folder, reads } = memoryFolder({ [singleFileName]: await shard({ a: 1 }, 1000) });
    const checkpoint = await openCheckpoint(folder);
    const abort = new AbortController();
    reads.length = 0;
    const consume = async (leave: boolean): Promise<void> => {
      for await (const _ of checkpoint.stream("a", { chunkBytes: 100, signal: abort.signal })) {
        if (leave) break;
        abort.abort(new Error("enough"));
      }
    };
    await consume(true);
    expect(reads).toEqual([100]);
    await expect(consume(false)).rejects.toThrow("enough");
  });

  test("an unknown tensor and a bad chunk size are errors at once", async () => {
    const checkpoint = await openSafetensors(memorySource("m", await shard({ a: 1 })));
    await expect(checkpoint.read("x")).rejects.toThrowErrorMatchingInlineSnapshot(
      `[CheckpointError: m: tensor "x": tensors: expected a tensor "x", got none]`,
    );
    expect(() => checkpoint.stream("x")).toThrow(CheckpointError);
    expect(() => checkpoint.stream("a", { chunkBytes: 0 })).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: stream: chunkBytes expected a whole number from 1, got 0]`,
    );
  });

  test("an empty tensor streams no piece", async () => {
    const checkpoint = await openSafetensors(memorySource("m", await shard({ a: 1 }, 0)));
    expect(await checkpoint.read("a")).toHaveLength(0);
    for await (const _ of checkpoint.stream("a")) expect.unreachable();
  });
});

describe("shards", () => {
  test("open as one checkpoint", async () => {
    const { folder, counts } = memoryFolder({
      [indexFileName]: index({ b: "s2", a: "s1", c: "s1" }),
      s1: await shard({ a: 1, c: 3 }, 4, { format: "pt" }),
      s2: await shard({ b: 2 }),
    });
    const checkpoint = await openCheckpoint(folder);
    expect([...checkpoint.entries.keys()]).toEqual(["a", "c", "b"]);
    expect(checkpoint.totalBytes).toBe(12);
    expect(checkpoint.metadata).toEqual({ format: "pt" });
    expect([...(await checkpoint.read("b"))]).toEqual([2, 2, 2, 2]);
    expect(counts.open).toBe(2);
    await checkpoint.close();
    expect(counts.open).toBe(0);
  });

  test("what does not fit together is an error that names file and field", async () => {
    const s1 = await shard({ a: 1 });
    const s2 = await shard({ b: 2 });
    const both = { s1, s2 };
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, at) => [`t${at}`, "s1"]));
    const cases: Readonly<Record<string, Readonly<Record<string, Uint8Array | string>>>> = {
      "nothing there": {},
      "index not JSON": { [indexFileName]: '{\n  "weight_map": {\n    "a": "s1",\n  }\n}' },
      "index a list": { [indexFileName]: "[]" },
      "no weight_map": { [indexFileName]: '{"metadata":{}}' },
      "weight_map a list": { [indexFileName]: index(["s1"]) },
      "file a number": { [indexFileName]: index({ a: 1 }) },
      "file above the folder": { [indexFileName]: index({ a: "../s1" }) },
      "file ..": { [indexFileName]: index({ a: ".." }) },
      "file in a folder": { [indexFileName]: index({ a: "sub/s1" }) },
      "file absolute": { [indexFileName]: index({ a: "/etc/s1" }) },
      "file with a backslash": { [indexFileName]: index({ a: "..\\s1" }) },
      "file empty": { [indexFileName]: index({ a: "" }) },
      "tensor twice in the index": { [indexFileName]: '{"weight_map":{"a":"s1","a":"s2"}}' },
      "shard missing": { [indexFileName]: index({ a: "s1", b: "s3" }), ...both },
      "shard damaged": { [indexFileName]: index({ a: "s1", b: "s2" }), s1, s2: s2.slice(0, -1) },
      "tensor missing": { [indexFileName]: index({ a: "s1", b: "s2", c: "s2" }), ...both },
      "tensors exchanged": { [indexFileName]: index({ a: "s2", b: "s1" }), ...both },
      "tensor not listed": { [indexFileName]: index({ a: "s1", b: "s2" }), s1, s2: await shard({ b: 2, c: 3 }) },
      "tensor in two shards": { [indexFileName]: index({ a: "s1", b: "s2" }), s1, s2: await shard({ a: 1, b: 2 }) },
      "thirty tensors missing": { [indexFileName]: index(many), s1: await shard({}) },
    };
    const lines: string[] = [];
    for (const [name, files] of Object.entries(cases)) {
      const { folder, counts } = memoryFolder(files);
      const error: unknown = await openCheckpoint(folder).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(CheckpointError);
      expect(counts.open).toBe(0);
      lines.push(`${name} | ${(error as CheckpointError).message}`);
    }
    expect(lines.join("\n")).toMatchInlineSnapshot(`
      "nothing there | dir: checkpoint: expected model.safetensors or model.safetensors.index.json, got neither
      index not JSON | dir/model.safetensors.index.json: JSON: expected a key in " at line 4, column 3, got "}"
      index a list | dir/model.safetensors.index.json: JSON: expected an object, got []
      no weight_map | dir/model.safetensors.index.json: weight_map: expected an object, got nothing
      weight_map a list | dir/model.safetensors.index.json: weight_map: expected an object, got ["s1"]
      file a number | dir/model.safetensors.index.json: tensor "a": weight_map: expected a plain file name, got 1
      file above the folder | dir/model.safetensors.index.json: tensor "a": weight_map: expected a plain file name, got "../s1"
      file .. | dir/model.safetensors.index.json: tensor "a": weight_map: expected a plain file name, got ".."
      file in a folder | dir/model.safetensors.index.json: tensor "a": weight_map: expected a plain file name, got "sub/s1"
      file absolute | dir/model.safetensors.index.json: tensor "a": weight_map: expected a plain file name, got "/etc/s1"
      file with a backslash | dir/model.safetensors.index.json: tensor "a": weight_map: expected a plain file name, got "..\\\\s1"
      file empty | dir/model.safetensors.index.json: tensor "a": weight_map: expected a plain file name, got ""
      tensor twice in the index | dir/model.safetensors.index.json: JSON: key "a" comes twice in "weight_map", again at line 1, column 25
      shard missing | dir/model.safetensors.index.json: weight_map: expected the shard "s3" beside it, got no such file
      shard damaged | dir/s2: tensor "b": data_offsets: expected to end within the 3 bytes of data, got [0, 4] (truncated file?)
      tensor missing | dir/model.safetensors.index.json: tensor "c": weight_map: expected in "s2", got it in no shard
      tensors exchanged | dir/model.safetensors.index.json: tensor "a": weight_map: expected in "s2", got it in "s1"
        tensor "b": expected in "s1", got it in "s2"
      tensor not listed | dir/model.safetensors.index.json: tensor "c": weight_map: expected in the index, as "s2" has it, got nothing
      tensor in two shards | dir/model.safetensors.index.json: tensor "a": weight_map: expected in one shard, got it in "s1" and in "s2"
      thirty tensors missing | dir/model.safetensors.index.json: tensor "t0": weight_map: expected in "s1", got it in no shard
        tensor "t1": expected in "s1", got it in no shard
        tensor "t2": expected in "s1", got it in no shard
        tensor "t3": expected in "s1", got it in no shard
        tensor "t4": expected in "s1", got it in no shard
        tensor "t5": expected in "s1", got it in no shard
        tensor "t6": expected in "s1", got it in no shard
        tensor "t7": expected in "s1", got it in no shard
        tensor "t8": expected in "s1", got it in no shard
        tensor "t9": expected in "s1", got it in no shard
        … and 20 more"
    `);
  });
});
