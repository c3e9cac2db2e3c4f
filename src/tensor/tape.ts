/**
 * The gradient tape's hook. Every operation ends with `record`; while no tape is active this costs one comparison.
 *
 * The tape itself (reverse mode, recomputation, accumulation) comes with training; the hook is part of each operation's
 * contract from the start so that adding gradients changes no signature.
 */
import type { Tensor } from "./tensor.js";

/** Gradients of the inputs, given those of the outputs; `undefined` where an input needs none. */
export type Backward = (dOutputs: readonly (Tensor | undefined)[]) => readonly (Tensor | undefined)[];

export interface Recorded {
  readonly operation: string;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly backward: Backward | undefined;
}

export interface Tape {
  /** Called for each operation in the order of execution. */
  onOperation(recorded: Recorded): void;
}

/** An operation on the way to a trained parameter has no gradient. */
export class NoGradientError extends Error {
  override readonly name = "NoGradientError";
  constructor(readonly operation: string) {
    super(`${operation} has no gradient yet, but its input depends on a trained parameter`);
  }
}

let active: Tape | undefined;

export function activeTape(): Tape | undefined {
  return active;
}

/** Runs `f` with `tape` recording. Tapes do not nest: the inner one records alone. */
export function withTape<T>(tape: Tape, f: () => T): T {
  const outer = active;
  active = tape;
  try {
    return f();
  } finally {
    active = outer;
  }
}

/** To be called at the end of each operation. `backward` is made only when a tape listens. */
export function record(
  operation: string,
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  backward?: () => Backward,
): void {
  active?.onOperation({ operation, inputs, outputs, backward: backward?.() });
}
