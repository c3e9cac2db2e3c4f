/** Shards give back what was written, stretch by stretch, and say where they are damaged. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ByteSource, memorySink, memorySource } from "../../formats/index.js";
import type { ShardHeader } from "./shard-format.js";
import { ShardReader } from "./shard-reader.js";
import { shardSource } from "./shard-source.js";
import { ShardWriter } from "./shard-writer.js";

interface Written {
  readonly ids: number[];
  readonly loss?: boolean[] | undefined;
  readonly isWhole: boolean;
}

const header: ShardHeader = { idBytes: 2, vocabSize: 40_000, fingerprint: "0123456789abcdef".repeat(2) };

async function write(documents: readonly Written[], head = header, part = 7): Promise<Uint8Array> {
  const sink = memorySink();
  const writer = new ShardWriter(sink, head);
  for (const { ids, loss, isWhole } of documents) {
    for (let at = 0; at < ids.length; at += part) {
      await writer.append(ids.slice(at, at + part), loss?.slice(at, at + part));
    }
    await writer.endDocument({ isWhole });
  }
  await writer.finish();
  return sink.bytes();
}

/** Many documents of different lengths, some with a mask. */
const library = (count: number, most: number): Written[] =>
  Array.from({ length: count }, (_, d) => {
    const ids = Array.from({ length: 2 + ((d * 37) % most) }, (_, i) => (d * 1000 + i) % 40_000);
    return { ids, loss: d % 3 === 1 ? ids.map((_, i) => i % 5 !== 2) : undefined, isWhole: d % 4 === 3 };
  });

const all = (entry: { ids: number }): [number, number] => [0, entry.ids];

describe("a shard", () => {
  test.each([header, { ...header, idBytes: 4, vocabSize: 200_000 } as const])(
    "of $idBytes bytes an id gives all back",
    async (head) => {
      const documents = library(150, 900);
      const bytes = await write(documents, head);
      const shard = await ShardReader.open(memorySource("a.shard", bytes));
      expect(shard.header).toEqual(head);
      expect(shard.documents).toBe(150);
      expect(shard.totals.ids).toBe(documents.reduce((sum, { ids }) => sum + ids.length, 0));
      const counted = documents.map(({ ids, loss }) => ids.filter((_, i) => i > 0 && (loss?.[i] ?? true)).length);
      expect(shard.totals.counted).toBe(counted.reduce((sum, count) => sum + count));
      for (const [d, entry] of (await shard.entries(0, 150)).entries()) {
        const { ids, loss } = documents[d]!;
        expect(await shard.stretch(entry, ...all(entry))).toEqual({ ids, loss: loss ?? ids.map(() => true) });
      }
    },
  );

  test("any stretch of a document is read alone", async () => {
    const documents = library(20, 400);
    const shard = await ShardReader.open(memorySource("a.shard", await write(documents)));
    const entries = await shard.entries(0, 20);
    await fc.assert(
      fc.asyncProperty(fc.nat(19), fc.nat(1000), fc.nat(1000), async (d, a, b) => {
        const { ids, loss = ids.map(() => true) } = documents[d]!;
        const first = a % ids.length;
        const count = b % (ids.length - first + 1);
        const expected = { ids: ids.slice(first, first + count), loss: loss.slice(first, first + count) };
        expect(await shard.stretch(entries[d]!, first, count)).toEqual(expected);
      }),
    );
  });

  test("documents with nothing to foretell stay out", async () => {
    const documents: Written[] = [
      { ids: [1], isWhole: false },
      { ids: [1, 2, 3], loss: [true, false, false], isWhole: true },
      { ids: [4, 5], isWhole: false },
    ];
    const shard = await ShardReader.open(memorySource("a.shard", await write(documents)));
    expect(shard.totals).toMatchObject({ documents: 1, ids: 2, counted: 1 });
  });

  test("only what is asked for is read", async () => {
    const bytes = await write(library(2000, 3000));
    const inner = memorySource("large.shard", bytes);
    let read = 0;
    const counting: ByteSource = {
      name: inner.name,
      size: inner.size,
      read: (offset, length) => {
        read += length;
        return inner.read(offset, length);
      },
      close: () => inner.close(),
    };
    const shard = await ShardReader.open(counting);
    const source = await shardSource([shard], { name: "large", sequence: 256, seed: "a" });
    expect(bytes.length).toBeGreaterThan(5_000_000);
    expect(read).toBeLessThan(bytes.length / 50);
    for (let n = 0; n < 10; n++) await source.piece(n);
    expect(read).toBeLessThan(bytes.length / 5);
  });

  const damages = [
    { name: "another file", change: (bytes: Uint8Array) => bytes.fill(65, 0, 8) },
    { name: "cut short", change: (bytes: Uint8Array) => bytes.subarray(0, bytes.length - 100) },
    { name: "nearly empty", change: (bytes: Uint8Array) => bytes.subarray(0, 40) },
    { name: "a changed trailer", change: (bytes: Uint8Array) => flip(bytes, bytes.length - 40) },
    { name: "a changed check", change: (bytes: Uint8Array) => flip(bytes, bytes.length - 66) },
    { name: "a changed id", change: (bytes: Uint8Array) => flip(bytes, 20_000) },
    { name: "a changed index", change: (bytes: Uint8Array) => flip(bytes, bytes.length - 300) },
    { name: "bytes in the middle lost", change: (bytes: Uint8Array) => without(bytes, 5000, 64) },
  ];
  test.each(damages)("damage is told with file and place: $name", async ({ change }) => {
    const bytes = await write(library(60, 900));
    const read = async () => {
      const shard = await ShardReader.open(memorySource("a.shard", change(new Uint8Array(bytes)) as Uint8Array));
      for (const entry of await shard.entries(0, shard.documents)) await shard.stretch(entry, ...all(entry));
    };
    const message = await read().then(
      () => "no complaint",
      (error: unknown) => String(error),
    );
    expect(message).toMatchSnapshot();
  });

  test("ids outside the vocabulary are refused", async () => {
    await expect(write([{ ids: [1, 40_000], isWhole: false }])).rejects.toThrow("expected 0 to 39999, got 40000");
  });
});

function flip(bytes: Uint8Array, at: number): Uint8Array {
  bytes[at]! ^= 0x10;
  return bytes;
}

function without(bytes: Uint8Array, at: number, count: number): Uint8Array {
  return new Uint8Array([...bytes.subarray(0, at), ...bytes.subarray(at + count)]);
}

describe("pieces of shards", () => {
  const open = async (parts: readonly (readonly Written[])[], sequence: number, seed = "a") => {
    const shards = await Promise.all(
      parts.map(async (part, i) => ShardReader.open(memorySource(`${i}.shard`, await write(part)))),
    );
    return shardSource(shards, { name: "test", sequence, seed });
  };

  test("each pass holds every token of every document once", async () => {
    const documents = library(130, 300);
    // A shard without documents in front, and one between.
    const source = await open([[], documents.slice(0, 70), [], documents.slice(70)], 64);
    for (const pass of [0, 1]) {
      const seen = new Map<number, number>();
      for (let n = 0; n < source.epoch; n++) {
        const { ids, isWhole } = await source.piece(pass * source.epoch + n);
        expect(ids.length - 1).toBeLessThanOrEqual(64);
        if (isWhole) continue;
        for (const id of ids.slice(1)) seen.set(id, (seen.get(id) ?? 0) + 1);
      }
      const expected = new Map<number, number>();
      for (const { ids, isWhole } of documents) {
        if (!isWhole) for (const id of ids.slice(1)) expected.set(id, (expected.get(id) ?? 0) + 1);
      }
      expect(seen).toEqual(expected);
    }
  });

  test("pieces of one document are of a size, and whole ones keep their beginning", async () => {
    const ids = Array.from({ length: 102 }, (_, i) => i); // 101 tokens
    const source = await open([[{ ids, isWhole: false }]], 50);
    expect(source.epoch).toBe(3);
    const starts = await Promise.all([0, 1, 2].map(async (n) => (await source.piece(n)).ids));
    expect(starts.map((piece) => [piece[0], piece.length]).sort((a, b) => a[0]! - b[0]!)).toEqual([
      [0, 35],
      [34, 35],
      [68, 34],
    ]);
    const whole = await open([[{ ids, isWhole: true }]], 50);
    expect(whole.epoch).toBe(1);
    expect(whole.truncated).toBe(1);
    expect((await whole.piece(0)).ids).toEqual(ids.slice(0, 51));
  });

  test("passes and seeds have orders of their own", async () => {
    const documents = library(50, 100);
    const firsts = async (seed: string, from: number) => {
      const source = await open([documents], 32, seed);
      const pieces = Array.from({ length: source.epoch }, (_, n) => source.piece(from * source.epoch + n));
      return (await Promise.all(pieces)).map(({ ids }) => ids[0]);
    };
    expect(await firsts("a", 0)).toEqual(await firsts("a", 0));
    expect(await firsts("a", 0)).not.toEqual(await firsts("a", 1));
    expect(await firsts("a", 0)).not.toEqual(await firsts("b", 0));
  });

  test("no document at all is an error", async () => {
    await expect(open([[]], 8)).rejects.toThrow("test: expected at least one document, got none.");
  });
});
