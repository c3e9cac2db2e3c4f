/**
 * Bytes from a web server, by HTTP ranges.
 *
 * One request at the start learns the size and keeps the first 64 KiB, in which the header of most files lies;
 * each read after it is one request. A server that ignores `Range` sends the whole file with the first answer:
 * it is then kept in memory, and no other request follows.
 */
import { type ByteSource, checkRange, closedError, memorySource, shortReadError } from "./byte-source.js";
import { CheckpointError, reasonOf } from "./checkpoint-error.js";

export interface UrlOptions {
  /** Replaces the global `fetch`: for authorisation headers, caches and tests. */
  readonly fetch?: typeof globalThis.fetch;
  readonly signal?: AbortSignal;
}

const probeBytes = 64 * 1024;

/**
 * Opens `url`.
 *
 * @throws {CheckpointError} the server has no such file, or gives no size.
 */
export async function urlSource(url: string | URL, options: UrlOptions = {}): Promise<ByteSource> {
  const name = addressName(url);
  const request = requester(name, url, options.fetch);
  const first = await request({ range: [0, probeBytes], ...signalOf(options.signal) });

  if (first.status === 200) return memorySource(name, await bodyOf(first, name, options.signal));
  const total = contentRange(first)?.total;
  // An empty file has no satisfiable range: 416 with "bytes */0".
  if (first.status === 416 && total === 0) return memorySource(name, new Uint8Array());
  if (first.status !== 206) throw statusError(name, first);
  const size = total ?? (await sizeByHead(request, name, options.signal));
  const head = await bodyOf(first, name, options.signal);
  if (head.byteLength !== Math.min(size, probeBytes)) {
    throw shortReadError(name, 0, Math.min(size, probeBytes), head.byteLength);
  }
  const etag = first.headers.get("etag");

  let held: Uint8Array | undefined = head; // first bytes, or everything once the server stops honouring ranges
  return {
    name,
    size,
    async read(offset, length, signal) {
      signal?.throwIfAborted();
      if (!held) throw closedError(name);
      checkRange(name, size, offset, length);
      if (length === 0) return new Uint8Array(); // HTTP has no empty range
      if (offset + length <= held.byteLength) return held.slice(offset, offset + length);

      const response = await request({ range: [offset, length], ...signalOf(signal) });
      const etagNow = response.headers.get("etag");
      if (etag !== null && etagNow !== null && etag !== etagNow) {
        await response.body?.cancel();
        throw new CheckpointError(name, "ETag", `expected ${etag}, got ${etagNow}: the file changed while it was read`);
      }
      if (response.status === 200) {
        const whole = await bodyOf(response, name, signal);
        if (whole.byteLength !== size) throw shortReadError(name, 0, size, whole.byteLength);
        if (held) held = whole; // unless closed meanwhile
        return whole.slice(offset, offset + length);
      }
      if (response.status !== 206) throw statusError(name, response);
      const range = contentRange(response);
      if (range && range.begin !== offset) {
        await response.body?.cancel();
        throw new CheckpointError(name, "Content-Range", `expected to begin at ${offset}, got ${range.begin}`);
      }
      const bytes = await bodyOf(response, name, signal);
      if (bytes.byteLength !== length) throw shortReadError(name, offset, length, bytes.byteLength);
      return bytes;
    },
    async close() {
      held = undefined;
    },
  };
}

interface RequestOptions {
  readonly method?: "GET" | "HEAD";
  /** Offset and length. */
  readonly range?: readonly [number, number];
  readonly signal?: AbortSignal;
}

/** A function that asks for `url` and turns network failures into CheckpointErrors. Statuses are the caller's. */
export function requester(
  name: string,
  url: string | URL,
  fetch: typeof globalThis.fetch = globalThis.fetch,
): (options: RequestOptions) => Promise<Response> {
  return async ({ method = "GET", range, signal }) => {
    const headers: Record<string, string> = range ? { Range: `bytes=${range[0]}-${range[0] + range[1] - 1}` } : {};
    try {
      return await fetch(url, { method, headers, ...signalOf(signal) });
    } catch (cause) {
      signal?.throwIfAborted();
      const nested = cause instanceof Error && cause.cause instanceof Error ? ` (${cause.cause.message})` : "";
      throw new CheckpointError(name, "request", `${reasonOf(cause)}${nested}`, { cause });
    }
  };
}

/** The whole body; failures become CheckpointErrors. */
export async function bodyOf(response: Response, name: string, signal?: AbortSignal): Promise<Uint8Array> {
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    signal?.throwIfAborted();
    throw new CheckpointError(name, "response", `the body could not be read: ${reasonOf(cause)}`, { cause });
  }
}

/** The error for an unwanted status; lets go of the connection. */
export function statusError(name: string, response: Response): CheckpointError {
  response.body?.cancel().catch(() => {}); // the error below is what matters
  const advice = response.status === 404 ? ": no such file" : "";
  return new CheckpointError(name, "HTTP status", `expected 200 or 206, got ${response.status}${advice}`);
}

/** The address without its query, which may hold a signature. */
export function addressName(url: string | URL): string {
  const { origin, protocol, host, pathname } = new URL(url);
  return `${origin === "null" ? `${protocol}//${host}` : origin}${pathname}`;
}

function contentRange(
  response: Response,
): { readonly begin: number | undefined; readonly total: number | undefined } | undefined {
  const match = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
  if (!match) return undefined;
  const [, begin, total] = match;
  return {
    begin: begin === undefined ? undefined : Number(begin),
    total: total === undefined || total === "*" ? undefined : Number(total),
  };
}

/** Servers of other origins often hide Content-Range from a page; Content-Length of a HEAD is never hidden. */
async function sizeByHead(
  request: (options: RequestOptions) => Promise<Response>,
  name: string,
  signal: AbortSignal | undefined,
): Promise<number> {
  const response = await request({ method: "HEAD", ...signalOf(signal) });
  const length = response.headers.get("content-length");
  if (response.ok && length !== null && /^\d+$/.test(length)) return Number(length);
  throw new CheckpointError(
    name,
    "Content-Range",
    "the server gives no size (neither Content-Range nor Content-Length)",
  );
}

const signalOf = (signal: AbortSignal | undefined): { signal?: AbortSignal } => (signal ? { signal } : {});
