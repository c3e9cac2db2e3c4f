import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CheckpointError } from "../checkpoint-error.js";
import { writeSafetensors } from "../safetensors-writer.js";
import { directoryFolder, fileSource, openCheckpointDirectory, writeFileAtomic } from "./index.js";

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "fulgur-formats-"));
});
afterEach(() => rm(dir, { recursive: true }));

/** The message of a CheckpointError, with the directory's random name taken out. */
async function complaint(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(CheckpointError);
  return (error as CheckpointError).message.replaceAll(dir, "DIR");
}

describe("fileSource", () => {
  test("gives exactly what was asked for, also to reads at once", async () => {
    const bytes = Uint8Array.from({ length: 5000 }, (_, at) => at % 251);
    await writeFile(join(dir, "a"), bytes);
    const source = await fileSource(join(dir, "a"));
    expect(source.size).toBe(5000);
    const reads = await Promise.all([0, 1000, 4999].map((at) => source.read(at, 5000 - at)));
    expect(reads).toEqual([bytes, bytes.slice(1000), bytes.slice(4999)]);
    await expect(source.read(4999, 2)).rejects.toThrow(RangeError);
    await expect(source.read(0, 1, AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
    await source.close();
    await source.close();
    await expect(source.read(0, 1)).rejects.toThrow("read after close");
  });

  test("reads into shared memory in place", async () => {
    const bytes = Uint8Array.from({ length: 5000 }, (_, at) => at % 251);
    await writeFile(join(dir, "a"), bytes);
    const source = await fileSource(join(dir, "a"));
    const memory = new Uint8Array(new SharedArrayBuffer(4096));
    await source.readInto?.(memory.subarray(8, 1008), 4000);
    expect([...memory.subarray(8, 1008)]).toEqual([...bytes.subarray(4000)]);
    expect([memory[7], memory[1008]]).toEqual([0, 0]);
    await expect(source.readInto?.(memory, 4000)).rejects.toThrow(RangeError);
    await source.close();
  });

  test("a file cut after opening is an error", async () => {
    await writeFile(join(dir, "a"), new Uint8Array(100));
    const source = await fileSource(join(dir, "a"));
    await truncate(join(dir, "a"), 40);
    expect(await complaint(source.read(10, 90))).toMatchInlineSnapshot(
      `"DIR/a: file: expected 90 bytes at 10, got 30 (truncated while it was read?)"`,
    );
    await source.close();
  });

  test("what is no file is an error", async () => {
    expect(await complaint(fileSource(join(dir, "absent")))).toMatchInlineSnapshot(
      `"DIR/absent: file: could not be opened: there is no such file or folder"`,
    );
    expect(await complaint(fileSource(dir))).toMatchInlineSnapshot(
      `"DIR: file: expected a file, got a directory or device"`,
    );
  });
});

describe("directoryFolder", () => {
  test("finds, reads and opens files, and stays inside", async () => {
    await mkdir(join(dir, "sub"));
    await writeFile(join(dir, "sub", "a.json"), '{"a":[1]}');
    const folder = directoryFolder(dir);
    expect(await folder.has("sub/a.json")).toBe(true);
    expect(await folder.has("sub")).toBe(false);
    expect(await folder.has("sub/a.json/b")).toBe(false);
    expect(await folder.readJson("sub/a.json")).toEqual({ a: [1] });
    const source = await folder.open("sub/a.json");
    expect(source.size).toBe(9);
    await source.close();
    await expect(folder.open("../a")).rejects.toThrow(RangeError);
  });

  test("errors name file and place", async () => {
    await writeFile(join(dir, "a.json"), '{\n  "a": 1\n  "b": 2\n}');
    await writeFile(join(dir, "b.json"), Uint8Array.of(0x22, 0xff, 0x22));
    const folder = directoryFolder(dir);
    expect(await complaint(folder.readJson("a.json"))).toMatchInlineSnapshot(
      `"DIR/a.json: JSON: expected "," or "}" at line 3, column 3, got "\\"""`,
    );
    expect(await complaint(folder.readJson("b.json"))).toMatchInlineSnapshot(
      `"DIR/b.json: text: expected UTF-8, got other bytes"`,
    );
    expect(await complaint(folder.readText("absent.txt"))).toMatchInlineSnapshot(
      `"DIR/absent.txt: file: could not be read: there is no such file or folder"`,
    );
  });
});

describe("openCheckpointDirectory", () => {
  test("opens what was written, and closes it", async () => {
    await writeFileAtomic(join(dir, "model.safetensors"), (sink) =>
      writeSafetensors(sink, [{ name: "a", dtype: "I16", shape: [2], bytes: () => Uint8Array.of(1, 2, 3, 4) }]),
    );
    const checkpoint = await openCheckpointDirectory(dir);
    expect([...(await checkpoint.read("a"))]).toEqual([1, 2, 3, 4]);
    await checkpoint.close();
    await expect(checkpoint.read("a")).rejects.toThrow("read after close");
  });

  test("no directory, no checkpoint", async () => {
    expect(await complaint(openCheckpointDirectory(join(dir, "absent")))).toMatchInlineSnapshot(
      `"DIR/absent: directory: could not be opened: there is no such file or folder"`,
    );
    await writeFile(join(dir, "file"), "");
    expect(await complaint(openCheckpointDirectory(join(dir, "file")))).toMatchInlineSnapshot(
      `"DIR/file: directory: expected a directory, got a file"`,
    );
    expect(await complaint(openCheckpointDirectory(dir))).toMatchInlineSnapshot(
      `"DIR: checkpoint: expected model.safetensors or model.safetensors.index.json, got neither"`,
    );
  });
});

describe("writeFileAtomic", () => {
  test("replaces a file whole", async () => {
    await writeFile(join(dir, "a"), "old content");
    await writeFileAtomic(join(dir, "a"), async (sink) => {
      await sink.write(new TextEncoder().encode("ne"));
      expect(await readFile(join(dir, "a"), "utf8")).toBe("old content");
      await sink.write(new TextEncoder().encode("w"));
    });
    expect(await readFile(join(dir, "a"), "utf8")).toBe("new");
    expect(await readdir(dir)).toEqual(["a"]);
  });

  const failures = [
    {
      name: "an error",
      stop: (): void => {
        throw new Error("enough");
      },
    },
    { name: "an abort", stop: (abort: AbortController): void => abort.abort(new Error("enough")) },
  ];
  test.each(failures)("$name leaves the old file and nothing else", async ({ stop }) => {
    await writeFile(join(dir, "a"), "old");
    const abort = new AbortController();
    const work = writeFileAtomic(
      join(dir, "a"),
      async (sink) => {
        await sink.write(new Uint8Array(10));
        stop(abort);
      },
      { signal: abort.signal },
    );
    await expect(work).rejects.toThrow("enough");
    expect(await readFile(join(dir, "a"), "utf8")).toBe("old");
    expect(await readdir(dir)).toEqual(["a"]);
  });

  test("an aborted signal or a missing directory starts nothing", async () => {
    const write = (): Promise<void> => expect.unreachable();
    await expect(
      writeFileAtomic(join(dir, "a"), write, { signal: AbortSignal.abort(new Error("enough")) }),
    ).rejects.toThrow("enough");
    await expect(writeFileAtomic(join(dir, "no", "a"), write)).rejects.toThrow("ENOENT");
    expect(await readdir(dir)).toEqual([]);
  });
});
