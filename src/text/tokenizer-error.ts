/** The error of the tokenizer files: what is wrong in tokenizer.json, and where. */

/** A tokenizer.json that cannot be used: `field` says where, the message what was expected and found. */
export class TokenizerError extends Error {
  override readonly name = "TokenizerError";
  constructor(
    readonly field: string,
    expected: string,
    got: unknown,
    options?: ErrorOptions,
  ) {
    super(`tokenizer.json: ${field} expected ${expected}, got ${describe(got)}.`, options);
  }
}

function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
