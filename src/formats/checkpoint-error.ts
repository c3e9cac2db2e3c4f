/**
 * The one error that a file of weights can cause: what is wrong, in which file, in which field, of which tensor.
 */

/** A file of a checkpoint is missing, damaged, or not what another file says about it. */
export class CheckpointError extends Error {
  override readonly name = "CheckpointError";
  /** The tensor that the complaint is about, when there is one. */
  declare readonly tensor?: string; // `declare`: absent, not undefined, when there is none

  /**
   * @param file name of the file (or address, without its query).
   * @param field the part of the file: a header field such as `data_offsets`, `header length`, `weight_map`.
   * @param detail what was expected and what was there.
   */
  constructor(
    readonly file: string,
    readonly field: string,
    detail: string,
    options: { readonly tensor?: string; readonly cause?: unknown } = {},
  ) {
    const where = options.tensor === undefined ? "" : `tensor ${quote(options.tensor)}: `;
    super(`${file}: ${where}${field}: ${detail}`, options.cause === undefined ? undefined : { cause: options.cause });
    if (options.tensor !== undefined) this.tensor = options.tensor;
  }
}

/** Quotes a value from a file for a message: control characters escaped, clipped so that no file can flood the terminal. */
export function quote(value: unknown): string {
  // Clipped before and after quoting: a name may be a hundred megabytes long, and an array too.
  const whole = typeof value === "string" && value.length > 100 ? `${value.slice(0, 100)}…` : value;
  const text = Array.isArray(whole)
    ? `[${whole.slice(0, 20).map(quote).join(", ")}${whole.length > 20 ? ", …" : ""}]`
    : plain(whole);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

function plain(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "object" && value !== null) return "an object";
  if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value); // JSON has no -0 and no Infinity
  // What a terminal would not show, or would show in another order, is escaped as JSON escapes the rest.
  return JSON.stringify(value).replace(/[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** The text of anything thrown; in plain words where a system's code says enough. */
export function reasonOf(thrown: unknown): string {
  if (thrown instanceof Error && "code" in thrown) {
    if (thrown.code === "ENOENT") return "there is no such file or folder";
    if (thrown.code === "EACCES") return "permission denied";
  }
  return thrown instanceof Error ? thrown.message : String(thrown);
}
