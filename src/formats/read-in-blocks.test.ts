import { expect, test } from "vitest";
import { type ByteSource, memorySource } from "../formats/index.js";
import { inBlocks } from "./read-in-blocks.js";

const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);

function counted(): { readonly source: ByteSource; readonly reads: [number, number][] } {
  const reads: [number, number][] = [];
  const inner = memorySource("file", bytes);
  const read: ByteSource["read"] = (offset, length, signal) => {
    reads.push([offset, length]);
    return inner.read(offset, length, signal);
  };
  return { source: { name: inner.name, size: inner.size, read, close: () => inner.close() }, reads };
}

test("any read gives the file's bytes", async () => {
  const source = inBlocks(counted().source, 16, 2);
  for (let offset = 0; offset <= 100; offset += 7) {
    for (let length = 0; offset + length <= 100; length++) {
      expect(await source.read(offset, length)).toEqual(bytes.slice(offset, offset + length));
      const target = new Uint8Array(length);
      await source.readInto?.(target, offset);
      expect(target).toEqual(bytes.slice(offset, offset + length));
    }
  }
});

test("short reads share blocks, and the oldest block makes room", async () => {
  const { source, reads } = counted();
  const blocks = inBlocks(source, 16, 2);
  await blocks.read(0, 4);
  await blocks.read(4, 14);
  expect(reads).toEqual([
    [0, 16],
    [16, 16],
  ]);
  await blocks.read(96, 4);
  await blocks.read(17, 2);
  await blocks.read(0, 2);
  expect(reads.slice(2)).toEqual([
    [96, 4],
    [0, 16],
  ]);
});

test("a read beyond the end is refused as by the file itself", async () => {
  await expect(inBlocks(counted().source, 16).read(98, 4)).rejects.toThrow("file");
});

test("a block that failed is asked for again", async () => {
  const { source } = counted();
  let isBroken = true;
  const flaky = inBlocks({
    ...source,
    read: (offset, length) => (isBroken ? Promise.reject(new Error("offline")) : source.read(offset, length)),
  });
  await expect(flaky.read(0, 2)).rejects.toThrow("offline");
  isBroken = false;
  expect(await flaky.read(0, 2)).toEqual(bytes.slice(0, 2));
});
