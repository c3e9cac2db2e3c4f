/** Terminal manners: data on stdout, talk on stderr; no colour and no moving lines where there is no terminal. */
import pc from "picocolors";

/** A wrong use of the command line: exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** A file or folder that was named and cannot be used: exit code 1. */
export class InputError extends Error {
  override readonly name = "InputError";
}

/** Interrupted by Ctrl-C: exit code 130. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError";
  constructor() {
    super("interrupted");
  }
}

export const isTerminal = process.stderr.isTTY === true;

/** A line of talk. */
export function say(text = ""): void {
  process.stderr.write(`${text}\n`);
}

/** A line of data. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value));
}

export const colors = pc.createColors(isTerminal && pc.isColorSupported);

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytesText(bytes: number): string {
  const power = bytes > 0 ? Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1) : 0;
  return `${(bytes / 2 ** (10 * power)).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}

/** A progress line on a terminal that rewrites itself; silent elsewhere and for work that ends within a moment. */
export function progressLine(title: string): { update(done: number, total: number, note?: string): void; end(): void } {
  const began = performance.now();
  let shown = 0;
  let wrote = false;
  return {
    update(done, total, note = "") {
      const now = performance.now();
      if (!isTerminal || now - began < 500 || (now - shown < 80 && done < total)) return;
      shown = now;
      wrote = true;
      const share = total > 0 ? Math.min(1, done / total) : 0;
      const bar = "█".repeat(Math.round(share * 24)).padEnd(24, "░");
      process.stderr.write(`\r\x1b[2K${title} ${bar} ${(100 * share).toFixed(0).padStart(3)} % ${note}`);
    },
    end() {
      if (wrote) process.stderr.write("\r\x1b[2K");
    },
  };
}

/** Aligns rows of cells; numbers to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  const isNumber = (cell: string) => /^[\d.,−-]+( ?[%×a-zA-Z/]+)?$/.test(cell);
  return rows
    .map((row) =>
      row
        .map((cell, i) => (isNumber(cell) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
