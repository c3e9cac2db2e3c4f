/**
 * A model's fingerprint: what tells it from other models, but not from quantised copies of itself.
 *
 * SHA-256 over the names and bytes of all norms: training changes them, `fulgur quantize` leaves them as they are, and they
 * are small. A checkpoint without norms is told by its tensors' names and shapes.
 */
import { type Folder, openCheckpoint } from "../formats/index.js";

export async function modelFingerprint(folder: Folder, signal?: AbortSignal): Promise<string> {
  await using checkpoint = await openCheckpoint(folder, signal);
  const entries = [...checkpoint.entries.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const norms = entries.filter(({ name, shape }) => shape.length === 1 && /norm/.test(name) && !/_scale$/.test(name));
  const encoder = new TextEncoder();
  const parts: Uint8Array[] = [];
  for (const { name, dtype } of norms) {
    parts.push(encoder.encode(`${name} ${dtype}\n`), await checkpoint.read(name, signal));
  }
  if (norms.length === 0) {
    for (const { name, shape } of entries) parts.push(encoder.encode(`${name} ${shape.join("x")}\n`));
  }
  return sha256(parts);
}

/** Lower-case hexadecimal digits. */
export async function sha256(parts: readonly Uint8Array[]): Promise<string> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.byteLength;
  }
  const digest = new Uint8Array(await globalThis.crypto.subtle.digest("SHA-256", all));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
