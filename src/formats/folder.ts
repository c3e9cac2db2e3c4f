/**
 * Files of one model under one roof: a directory or a base address. A loader that takes a `Folder` works in Node
 * and in the page.
 */
import type { ByteSource } from "./byte-source.js";
import { CheckpointError } from "./checkpoint-error.js";
import { parseJson } from "./json.js";
import { inBlocks } from "./read-in-blocks.js";
import { addressName, bodyOf, requester, statusError, type UrlOptions, urlSource } from "./url-source.js";

export interface Folder {
  /** Path or address, for errors. */
  readonly name: string;
  /**
   * Opens a file, named relative to the folder with forward slashes. The caller closes it; it outlives the folder.
   * @throws {CheckpointError} there is no such file.
   */
  open(file: string): Promise<ByteSource>;
  has(file: string): Promise<boolean>;
  /** The whole file as UTF-8. */
  readText(file: string): Promise<string>;
  /** The whole file as JSON; errors name file, line and column. */
  readJson(file: string): Promise<unknown>;
  close(): Promise<void>;
}

/** A folder on a web server. `baseUrl` is absolute; its query, if any, is sent with every file. */
export function urlFolder(baseUrl: string | URL, options: UrlOptions = {}): Folder {
  const base = new URL(baseUrl);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  const urlOf = (file: string): URL => {
    const path = checkRelativePath(file).split("/").map(encodeURIComponent).join("/");
    const url = new URL(path, base);
    url.search = base.search;
    return url;
  };
  const requestOf = (file: string) => {
    const url = urlOf(file);
    return requester(addressName(url), url, options.fetch);
  };
  const signal = options.signal ? { signal: options.signal } : {};

  const readText = async (file: string): Promise<string> => {
    const name = addressName(urlOf(file));
    const response = await requestOf(file)(signal);
    if (response.status !== 200) throw statusError(name, response);
    return decodeUtf8(await bodyOf(response, name, options.signal), name);
  };
  return {
    name: addressName(base),
    // A checkpoint has hundreds of tensors: as a request each, they would wait for the server every time.
    open: async (file) => inBlocks(await urlSource(urlOf(file), options)),
    async has(file) {
      const request = requestOf(file);
      let response = await request({ method: "HEAD", ...signal });
      // 405, 501: servers that know no HEAD.
      if (response.status === 405 || response.status === 501) {
        response = await request({ range: [0, 1], ...signal });
        await response.body?.cancel();
      }
      // 403: object stores say "forbidden" for what is not there when they may not list.
      if ([403, 404, 410].includes(response.status)) return false;
      if (!response.ok && response.status !== 416) throw statusError(addressName(urlOf(file)), response);
      // Servers of single-page applications answer every unknown path with their page.
      const isPage = /^text\/html\b/i.test(response.headers.get("content-type") ?? "");
      return !isPage || /\.html?$/i.test(file);
    },
    readText,
    readJson: async (file) => parseJson(await readText(file), { file: addressName(urlOf(file)) }),
    close: async () => {},
  };
}

/**
 * Returns `file` when it names something inside a folder.
 *
 * @throws {RangeError} an absolute path, or one with `..`, `.`, an empty part, a backslash or a control character.
 */
export function checkRelativePath(file: string): string {
  const parts = file.split("/");
  // A colon would make a drive (C:) or an address of it.
  if (
    hasControlCharacter(file) ||
    /[\\:]/.test(file) ||
    parts.some((part) => part === "" || part === "." || part === "..")
  ) {
    throw new RangeError(`file name expected relative, inside the folder, got ${JSON.stringify(file)}`);
  }
  return file;
}

/** True for a bare file name that is safe in any folder. */
export function isPlainFileName(file: string): boolean {
  return file !== "" && file !== "." && file !== ".." && !/[\\/:]/.test(file) && !hasControlCharacter(file);
}

function hasControlCharacter(text: string): boolean {
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) < 0x20) return true;
  return false;
}

/** Decodes UTF-8, without the byte order mark. @throws {CheckpointError} other bytes. */
export function decodeUtf8(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new CheckpointError(file, "text", "expected UTF-8, got other bytes", { cause });
  }
}
