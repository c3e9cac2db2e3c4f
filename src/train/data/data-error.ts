/** The one error that training data can cause: which file, where in it, what was expected. */

/** Training data that cannot be used. */
export class DataError extends Error {
  override readonly name = "DataError";

  /**
   * @param source the file, or the source's place in the configuration.
   * @param place where in it: a line, a byte, a field; "" for the whole.
   * @param detail what was expected and what was there.
   */
  constructor(
    readonly source: string,
    readonly place: string,
    detail: string,
    options: { readonly cause?: unknown } = {},
  ) {
    super(`${source}${place === "" ? "" : `, ${place}`}: ${detail}`, options);
  }
}
