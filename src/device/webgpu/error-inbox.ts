/**
 * Errors that the driver reports after the fact. They wait here until the next `read` or `idle` rejects with one.
 *
 * A kernel that does not compile also makes every later use of it fail, so causes are told before consequences.
 */
import { DeviceError } from "../errors.js";

export class ErrorInbox {
  private cause: DeviceError | undefined;
  private consequence: DeviceError | undefined;
  private readonly checks = new Set<Promise<void>>();

  addCause(error: DeviceError): void {
    this.cause ??= error;
  }

  /** An error that WebGPU reported outside of any scope; names the kernel when the message holds its label. */
  addUncaptured(message: string, isLabel: (label: string) => boolean): void {
    const label = [...message.matchAll(/"([^"]+)"/g)].map(([, name = ""]) => name).find(isLabel);
    const where = label === undefined ? "WebGPU" : `kernel "${label}"`;
    this.consequence ??= new DeviceError(`${where}: ${message.trim()}`, label);
  }

  /** Keeps `settle` waiting until `check` is done. */
  watch(check: Promise<void>): void {
    // A check fails only with the device itself, and that is told elsewhere.
    const settled = check.catch(() => undefined).finally(() => this.checks.delete(settled));
    this.checks.add(settled);
  }

  /** Waits for the checks under way and throws the first error that came in; then the inbox is empty. */
  async settle(): Promise<void> {
    while (this.checks.size > 0) await Promise.all(this.checks);
    const error = this.cause ?? this.consequence;
    this.cause = undefined;
    this.consequence = undefined;
    if (error) throw error;
  }
}
