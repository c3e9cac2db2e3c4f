/**
 * Files of a folder over HTTP: the page's build and the model files that it loads.
 *
 * Every file is served cross-origin isolated (COOP same-origin, COEP require-corp), because the page's CPU device needs
 * SharedArrayBuffer. Ranges are served, one at a time, because checkpoints are read in pieces.
 */
import { createReadStream } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { extname, join, sep } from "node:path";
import { Readable } from "node:stream";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import type { MiddlewareHandler } from "hono";

/** A folder and where it appears. */
export interface StaticFolder {
  /** Begins and ends with a slash, such as `/models/`. */
  readonly at: string;
  readonly folder: string;
}

const types: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".ico": "image/x-icon",
  ".jinja": "text/plain; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".map": "application/json",
  ".md": "text/markdown; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
};

const isolation = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
  "cross-origin-resource-policy": "same-origin",
  "x-content-type-options": "nosniff",
} as const;

/** Serves files; passes on what it does not have. */
export function staticFiles({ at, folder }: StaticFolder): MiddlewareHandler {
  return async (c, next) => {
    const { pathname } = new URL(c.req.url);
    if ((c.req.method !== "GET" && c.req.method !== "HEAD") || !pathname.startsWith(at)) return next();
    const file = await find(folder, pathname.slice(at.length));
    if (!file) return next();
    const { path, size, modified } = file;
    const headers = new Headers({
      ...isolation,
      "content-type": types[extname(path).toLowerCase()] ?? "application/octet-stream",
      "accept-ranges": "bytes",
      // The bundler names its assets by their contents; all else may change in place.
      "cache-control": pathname.startsWith("/assets/") ? "public, max-age=31536000, immutable" : "no-cache",
      etag: `"${size.toString(36)}-${Math.round(modified).toString(36)}"`,
    });
    if (c.req.header("if-none-match") === headers.get("etag")) return new Response(null, { status: 304, headers });
    const range = parseRange(c.req.header("range"), size);
    if (range === "unsatisfiable") {
      headers.set("content-range", `bytes */${size}`);
      return new Response(null, { status: 416, headers });
    }
    const { start, end } = range ?? { start: 0, end: size - 1 };
    if (range) headers.set("content-range", `bytes ${start}-${end}/${size}`);
    headers.set("content-length", String(end - start + 1));
    const isEmpty = c.req.method === "HEAD" || size === 0;
    // The two declarations of ReadableStream (node:stream/web and the global) describe the same class.
    const body = isEmpty
      ? null
      : (Readable.toWeb(createReadStream(path, { start, end })) as NodeReadableStream<Uint8Array>);
    return new Response(body, { status: range ? 206 : 200, headers });
  };
}

/** The file of a URL's path below `folder`; undefined when there is none, or when the path leads out of it. */
async function find(
  folder: string,
  encoded: string,
): Promise<{ readonly path: string; readonly size: number; readonly modified: number } | undefined> {
  let relative: string;
  try {
    relative = decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
  if (relative === "" || relative.endsWith("/")) relative += "index.html";
  // Hidden files, "..", and what other systems read as a separator, a drive or an end.
  if (relative.split("/").some((name) => name === "" || name.startsWith(".") || /[\\:\0]/.test(name))) return undefined;
  try {
    const root = await realpath(folder);
    const path = await realpath(join(root, relative));
    if (!path.startsWith(root + sep)) return undefined; // a link that leads elsewhere
    const entry = await stat(path);
    return entry.isFile() ? { path, size: entry.size, modified: entry.mtimeMs } : undefined;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return (
    error instanceof Error &&
    "code" in error &&
    ["ENOENT", "ENOTDIR", "ENAMETOOLONG", "EACCES"].includes(String(error.code))
  );
}

/** The first and last byte asked for; undefined: all of the file (also for what RFC 9110 lets a server ignore). */
function parseRange(
  header: string | undefined,
  size: number,
): { readonly start: number; readonly end: number } | "unsatisfiable" | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return undefined;
  const [, first = "", last = ""] = match;
  if (first === "")
    return Number(last) === 0 || size === 0
      ? "unsatisfiable"
      : { start: Math.max(0, size - Number(last)), end: size - 1 };
  const start = Number(first);
  const end = last === "" ? size - 1 : Math.min(Number(last), size - 1);
  if (last !== "" && Number(last) < start) return undefined;
  return start < size ? { start, end } : "unsatisfiable";
}
