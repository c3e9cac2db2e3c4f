/**
 * JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it: a blank after each comma and colon.
 *
 * Chat templates put tool definitions and arguments into the prompt in this form, and a model has seen no other.
 */

/**
 * Writes a value as Python does.
 *
 * @throws {TypeError} the value has no JSON form (a function, a cycle, a bigint).
 */
export function pythonJson(value: unknown): string {
  // Through JSON first: it refuses cycles, applies toJSON and drops what JSON does not have.
  const plain: unknown = JSON.parse(JSON.stringify(value) ?? refuse(value));
  return write(plain);
}

function refuse(value: unknown): never {
  throw new TypeError(`pythonJson: a value with a JSON form expected, got ${typeof value}.`);
}

function write(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(write).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    return `{${Object.entries(value)
      .map(([key, each]) => `${JSON.stringify(key)}: ${write(each)}`)
      .join(", ")}}`;
  }
  return JSON.stringify(value);
}
