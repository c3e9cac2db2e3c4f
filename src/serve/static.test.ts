import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { scriptedSource } from "../../test/scripted-source.js";
import { createApp } from "./app.js";

let base: string;
let request: (path: string, init?: RequestInit) => Promise<Response>;

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), "fulgur-static-"));
  await mkdir(join(base, "web", "assets"), { recursive: true });
  await mkdir(join(base, "models", "mini"), { recursive: true });
  await writeFile(join(base, "web", "index.html"), "<p>page</p>");
  await writeFile(join(base, "web", "assets", "a.js"), "1;");
  await writeFile(join(base, "web", "assets", "k.wasm"), "wasm");
  await writeFile(join(base, "web", ".hidden"), "hidden");
  await writeFile(join(base, "web", "empty.txt"), "");
  await writeFile(join(base, "models", "mini", "config.json"), "{}");
  await writeFile(join(base, "models", "mini", "model.safetensors"), "0123456789");
  await writeFile(join(base, "secret.txt"), "secret");
  await symlink(join(base, "secret.txt"), join(base, "web", "link.txt"));
  const app = createApp({
    source: scriptedSource(),
    folders: [
      { at: "/models/", folder: join(base, "models") },
      { at: "/", folder: join(base, "web") },
    ],
  });
  request = async (path, init) => app.request(path, init);
});

afterAll(() => rm(base, { recursive: true }));

describe("static files", () => {
  test.each([
    ["/", "text/html; charset=utf-8", "<p>page</p>"],
    ["/index.html", "text/html; charset=utf-8", "<p>page</p>"],
    ["/assets/a.js", "text/javascript; charset=utf-8", "1;"],
    ["/assets/k.wasm", "application/wasm", "wasm"],
    ["/empty.txt", "text/plain; charset=utf-8", ""],
    ["/models/mini/config.json", "application/json", "{}"],
    ["/models/mini/model.safetensors", "application/octet-stream", "0123456789"],
  ])("%s is %s, isolated", async (path, type, body) => {
    const response = await request(path);
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe(type);
    expect(response.headers.get("cross-origin-opener-policy")).toBe("same-origin");
    expect(response.headers.get("cross-origin-embedder-policy")).toBe("require-corp");
    expect(response.headers.get("content-length")).toBe(String(body.length));
    expect(await response.text()).toBe(body);
  });

  test.each([
    ["bytes=2-4", 206, "bytes 2-4/10", "234"],
    ["bytes=7-", 206, "bytes 7-9/10", "789"],
    ["bytes=-3", 206, "bytes 7-9/10", "789"],
    ["bytes=-99", 206, "bytes 0-9/10", "0123456789"],
    ["bytes=8-99", 206, "bytes 8-9/10", "89"],
    ["bytes=10-", 416, "bytes */10", ""],
    ["bytes=4-2", 200, null, "0123456789"],
    ["bytes=0-1,4-5", 200, null, "0123456789"],
    ["lines=1-2", 200, null, "0123456789"],
  ])("range %s: %i", async (range, status, contentRange, body) => {
    const response = await request("/models/mini/model.safetensors", { headers: { range } });
    expect(response.status).toBe(status);
    expect(response.headers.get("content-range")).toBe(contentRange);
    expect(await response.text()).toBe(body);
  });

  test("HEAD has the size and no body", async () => {
    const response = await request("/models/mini/model.safetensors", { method: "HEAD" });
    expect([response.status, response.headers.get("content-length")]).toEqual([200, "10"]);
    expect(await response.text()).toBe("");
  });

  test("an unchanged file is not sent again", async () => {
    const etag = (await request("/")).headers.get("etag") ?? "";
    const again = await request("/", { headers: { "if-none-match": etag } });
    expect(again.status).toBe(304);
  });

  test.each([
    "/../secret.txt",
    "/..%2fsecret.txt",
    "/%2e%2e/secret.txt",
    "/models/..%2f..%2fsecret.txt",
    "/..%5csecret.txt",
    "/assets/%2fetc/passwd",
    "/%00",
    "/%zz",
    "/.hidden",
    "/link.txt",
    "/models/",
    "/models/mini",
    "/assets",
    "/nothing.js",
  ])("%s is not found", async (path) => {
    const response = await request(path);
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ error: { type: "invalid_request_error" } });
  });
});
