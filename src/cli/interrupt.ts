/** Ctrl-C and its relatives, as an abort signal. A second Ctrl-C ends the process at once, as it does by default. */
import { InterruptedError } from "./output.js";

export type InterruptName = "SIGINT" | "SIGTERM" | "SIGHUP";

export interface Interrupts extends Disposable {
  /** Aborted by the first one, with an InterruptedError. */
  readonly signal: AbortSignal;
  /** The first one's name, once it came. */
  readonly first: Promise<InterruptName>;
}

const names: readonly InterruptName[] = ["SIGINT", "SIGTERM", "SIGHUP"];

/** Listens until disposed or until the first interrupt. */
export function catchInterrupts(): Interrupts {
  const controller = new AbortController();
  let settle: (name: InterruptName) => void = () => undefined;
  const first = new Promise<InterruptName>((resolve) => {
    settle = resolve;
  });
  const ignore = () => {
    for (const name of names) process.off(name, onSignal);
  };
  const onSignal = (name: InterruptName) => {
    ignore();
    settle(name);
    controller.abort(new InterruptedError());
  };
  for (const name of names) process.on(name, onSignal);
  return { signal: controller.signal, first, [Symbol.dispose]: ignore };
}
