/** A folder by path or address. */
import { type Folder, urlFolder } from "./folder.js";

/** Opens an absolute URL anywhere, and a path where there is a file system. */
export async function openFolder(where: string | URL): Promise<Folder> {
  if (where instanceof URL || /^https?:\/\//.test(where)) return urlFolder(where);
  // Loaded on demand: a page has no file system, and its bundle no use for this.
  const { directoryFolder } = await import("./node/index.js");
  return directoryFolder(where);
}
