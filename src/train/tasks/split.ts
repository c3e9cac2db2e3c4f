/**
 * Training and evaluation never share a problem: the checksum of a problem's key decides where it belongs.
 */

/** The two parts of every checked family. */
export type Split = "train" | "evaluation";

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = remainder & 1 ? (remainder >>> 1) ^ 0xedb88320 : remainder >>> 1;
  return remainder;
});

/** CRC-32 as in zip, gzip and PNG (reflected polynomial EDB88320), unsigned. */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ crcTable[(crc ^ byte) & 255]!;
  return (crc ^ 0xffffffff) >>> 0;
}

const utf8 = new TextEncoder();

/**
 * True for the sixteenth part of all problems that is kept for evaluation.
 *
 * @param key the canonical text of the problem; `null` (open families) is never evaluated.
 */
export function isEvaluation(family: string, key: string | null): boolean {
  return key !== null && crc32(utf8.encode(`${family}|${key}`)) % 16 === 0;
}
