import { describe, expect, test } from "vitest";
import { type ByteSource, blobSource, memorySource } from "./byte-source.js";
import { CheckpointError } from "./checkpoint-error.js";
import { urlFolder } from "./folder.js";
import { urlSource } from "./url-source.js";

const bytes = Uint8Array.from({ length: 200_000 }, (_, at) => (at * 7 + (at >> 8)) % 256);
const address = "https://host.example/models/a.bin?signature=secret";

interface ServerOptions {
  readonly body?: Uint8Array<ArrayBuffer>;
  readonly ranges?: boolean | "first only";
  readonly hideContentRange?: boolean;
  readonly changeEtag?: boolean;
}

/** A web server in one function; `log` tells what was asked. */
function server({ body = bytes, ranges = true, hideContentRange = false, changeEtag = false }: ServerOptions = {}) {
  const log: string[] = [];
  const fetch: typeof globalThis.fetch = async (_url, init) => {
    init?.signal?.throwIfAborted();
    const range = new Headers(init?.headers).get("range");
    log.push(`${init?.method ?? "GET"} ${range ?? "whole"}`);
    const headers: Record<string, string> = { etag: changeEtag && log.length > 1 ? '"2"' : '"1"' };
    if (init?.method === "HEAD")
      return new Response(null, { headers: { ...headers, "content-length": String(body.byteLength) } });
    const match = /^bytes=(\d+)-(\d+)$/.exec(range ?? "");
    if (!match || !ranges || (ranges === "first only" && log.length > 1)) return new Response(body, { headers });
    const begin = Number(match[1]);
    const end = Math.min(Number(match[2]) + 1, body.byteLength);
    if (begin >= body.byteLength) {
      return new Response(null, {
        status: 416,
        headers: { ...headers, "content-range": `bytes */${body.byteLength}` },
      });
    }
    if (!hideContentRange) headers["content-range"] = `bytes ${begin}-${end - 1}/${body.byteLength}`;
    return new Response(body.slice(begin, end), { status: 206, headers });
  };
  return { fetch, log };
}

const sources: readonly { readonly name: string; readonly open: () => Promise<ByteSource> | ByteSource }[] = [
  { name: "memory", open: () => memorySource("a", bytes) },
  { name: "a Buffer, whose slice is a view", open: () => memorySource("a", Buffer.from(bytes)) },
  { name: "blob", open: () => blobSource("a", new Blob([bytes])) },
  { name: "url with ranges", open: () => urlSource(address, server()) },
  { name: "url without ranges", open: () => urlSource(address, server({ ranges: false })) },
  { name: "url whose ranges end after the first", open: () => urlSource(address, server({ ranges: "first only" })) },
  { name: "url with Content-Range hidden", open: () => urlSource(address, server({ hideContentRange: true })) },
];

describe.each(sources)("$name", ({ open }) => {
  test("gives exactly what was asked for, as a copy that starts aligned", async () => {
    const source = await open();
    expect(source.size).toBe(bytes.byteLength);
    for (const [offset, length] of [
      [0, 0],
      [0, 8],
      [3, 70_000],
      [199_999, 1],
      [100_001, 333],
      [200_000, 0],
      [0, 200_000],
    ] as const) {
      const got = await source.read(offset, length);
      expect(got.byteOffset % 8).toBe(0);
      expect(Buffer.compare(got, bytes.subarray(offset, offset + length))).toBe(0);
      got.fill(0); // must not reach the source
    }
    expect((await source.read(5, 1))[0]).toBe(bytes[5]);
    await source.close();
  });

  test("refuses what is outside, what is closed and what is aborted", async () => {
    const source = await open();
    for (const [offset, length] of [
      [-1, 2],
      [199_999, 2],
      [0.5, 1],
      [0, -1],
      [Number.NaN, 1],
    ] as const) {
      await expect(source.read(offset, length)).rejects.toThrow(RangeError);
    }
    await expect(source.read(0, 1, AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
    await source.close();
    await source.close();
    await expect(source.read(0, 1)).rejects.toThrow("read after close");
  });
});

describe("urlSource", () => {
  test("asks once for the head of the file, then once a read", async () => {
    const { fetch, log } = server();
    const source = await urlSource(address, { fetch });
    await source.read(0, 8);
    await source.read(8, 60_000);
    await source.read(100_000, 10);
    expect(log).toEqual(["GET bytes=0-65535", "GET bytes=100000-100009"]);
  });

  test("asks once for everything when ranges are ignored", async () => {
    const { fetch, log } = server({ ranges: false });
    const source = await urlSource(address, { fetch });
    await source.read(100_000, 10);
    expect(log).toHaveLength(1);
  });

  test("an empty file", async () => {
    expect((await urlSource(address, server({ body: new Uint8Array() }))).size).toBe(0);
  });

  test("errors name the address without its query", async () => {
    const messageOf = async (work: Promise<unknown>): Promise<string> => {
      const error: unknown = await work.catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(CheckpointError);
      return (error as CheckpointError).message;
    };
    const missing = urlSource(address, { fetch: async () => new Response("", { status: 404 }) });
    expect(await messageOf(missing)).toMatchInlineSnapshot(
      `"https://host.example/models/a.bin: HTTP status: expected 200 or 206, got 404: no such file"`,
    );
    const offline = urlSource(address, {
      fetch: () => Promise.reject(new TypeError("fetch failed", { cause: new Error("ECONNREFUSED") })),
    });
    expect(await messageOf(offline)).toMatchInlineSnapshot(
      `"https://host.example/models/a.bin: request: fetch failed (ECONNREFUSED)"`,
    );
    const changed = await urlSource(address, server({ changeEtag: true }));
    expect(await messageOf(changed.read(100_000, 4))).toMatchInlineSnapshot(
      `"https://host.example/models/a.bin: ETag: expected "1", got "2": the file changed while it was read"`,
    );
    const short: typeof fetch = async () =>
      new Response(bytes.slice(0, 10), { status: 206, headers: { "content-range": "bytes 0-65535/200000" } });
    expect(await messageOf(urlSource(address, { fetch: short }))).toMatchInlineSnapshot(
      `"https://host.example/models/a.bin: file: expected 65536 bytes at 0, got 10 (truncated while it was read?)"`,
    );
  });
});

describe("urlFolder", () => {
  const files = new Map<string, Response>();
  const fetch: typeof globalThis.fetch = async (url, init) => {
    const found = files.get(String(url));
    if (!found) return new Response("", { status: 404 });
    return init?.method === "HEAD" ? new Response(null, found) : found.clone();
  };
  files.set("https://h/m/config.json?v=1", new Response('{"a":1}'));
  files.set("https://h/m/broken.json?v=1", new Response('{\n"a" 1}'));
  files.set(
    "https://h/m/page.json?v=1",
    new Response("<html>", { headers: { "content-type": "text/html; charset=utf-8" } }),
  );
  files.set("https://h/m/sub/a%23b.txt?v=1", new Response("text"));
  const folder = urlFolder("https://h/m?v=1", { fetch });

  test("reads files under the base, with its query", async () => {
    expect(folder.name).toBe("https://h/m/");
    expect(await folder.readJson("config.json")).toEqual({ a: 1 });
    expect(await folder.readText("sub/a#b.txt")).toBe("text");
    expect((await folder.open("config.json")).size).toBe(7);
  });

  test("says what is there; a page in place of a file is nothing", async () => {
    expect(await Promise.all(["config.json", "absent.json", "page.json"].map((file) => folder.has(file)))).toEqual([
      true,
      false,
      false,
    ]);
  });

  test("errors name file and place", async () => {
    await expect(folder.readJson("broken.json")).rejects.toThrowErrorMatchingInlineSnapshot(
      `[CheckpointError: https://h/m/broken.json: JSON: expected ":" at line 2, column 5, got "1"]`,
    );
    await expect(folder.readText("absent.json")).rejects.toThrowErrorMatchingInlineSnapshot(
      `[CheckpointError: https://h/m/absent.json: HTTP status: expected 200 or 206, got 404: no such file]`,
    );
  });

  test.each(["../x", "/x", "a//b", "a/../b", "", "C:x", "a\\b", "x\0"])(
    "%j does not leave the folder",
    async (file) => {
      await expect(folder.has(file)).rejects.toThrow(RangeError);
      await expect(folder.open(file)).rejects.toThrow(RangeError);
      await expect(folder.readText(file)).rejects.toThrow(RangeError);
    },
  );
});
