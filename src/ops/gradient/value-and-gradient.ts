/**
 * Reverse-mode gradients over recorded operations.
 *
 *   const { value, gradients } = valueAndGradient(loss)(parameters);
 *
 * `loss` runs once, its operations are recorded with what their gradients need, and the list is walked backwards. Kept tensors
 * are freed as soon as their operation has been passed. `checkpoint` keeps a function's inputs only and runs it again.
 *
 * Source  reverse mode: Griewank & Walther, "Evaluating Derivatives" (2008), chapter 3; recomputation: Chen et al. 2016,
 *         arXiv 1604.06174.
 * Our choice  tensors are known by their place in memory, so views of the whole tensor (`reshape`) need no record of their
 *         own. A part of a tensor (`slice`) is another tensor: gradients do not pass through it.
 */
import type { Allocation } from "../../device/index.js";
import {
  activeTape,
  type Backward,
  NoGradientError,
  type Recorded,
  record,
  ShapeError,
  sameShape,
  type Tape,
  type Tensor,
  upload,
  withTape,
} from "../../tensor/index.js";
import { add } from "../elementwise/elementwise.js";

export type Parameters = Readonly<Record<string, Tensor>>;

export interface ValueAndGradient<P extends Parameters> {
  /** f32 [1]. */
  readonly value: Tensor;
  /** By the parameters' names; a parameter that the value does not depend on has none. */
  readonly gradients: { readonly [K in keyof P]?: Tensor };
}

/** Which tensor: its place in memory. */
class Places<V> {
  private readonly byAllocation = new Map<Allocation, Map<string, V>>();

  get(tensor: Tensor): V | undefined {
    return this.byAllocation.get(tensor.allocation)?.get(keyOf(tensor));
  }
  set(tensor: Tensor, value: V): void {
    const { allocation } = tensor;
    let places = this.byAllocation.get(allocation);
    if (!places) {
      places = new Map();
      this.byAllocation.set(allocation, places);
    }
    places.set(keyOf(tensor), value);
  }
  delete(tensor: Tensor): void {
    this.byAllocation.get(tensor.allocation)?.delete(keyOf(tensor));
  }
  *values(): IterableIterator<V> {
    for (const places of this.byAllocation.values()) yield* places.values();
  }
}

const keyOf = ({ byteOffset, byteLength }: Tensor) => `${byteOffset} ${byteLength}`;

interface Entry {
  readonly operation: string;
  readonly inputs: readonly Tensor[];
  readonly needs: readonly boolean[];
  readonly outputs: readonly Tensor[];
  readonly kept: readonly Tensor[];
  readonly backward: Backward;
}

class RecordingTape implements Tape {
  private readonly entries: Entry[] = [];
  private readonly needed = new Places<true>();

  constructor(sources: Iterable<Tensor>) {
    for (const source of sources) this.needed.set(source, true);
  }

  onOperation({ operation, inputs, outputs, backward }: Recorded): void {
    const needs = inputs.map((input) => this.needed.get(input) === true);
    if (!needs.includes(true)) return;
    if (!backward) throw new NoGradientError(operation);
    const kept: Tensor[] = [];
    const closure = backward((...tensors) => {
      const handles = tensors.map((tensor) => {
        const handle = tensor?.retain();
        if (handle) kept.push(handle);
        return handle;
      });
      return handles as unknown as typeof tensors; // one handle a tensor, in order
    });
    for (const output of outputs) this.needed.set(output, true);
    this.entries.push({
      operation,
      inputs: inputs.map((input) => input.retain()),
      needs,
      outputs: outputs.map((output) => output.retain()),
      kept,
      backward: closure,
    });
  }

  /** Walks back from `seeds`; gives the gradients of `wanted`, which the caller owns. Frees what the tape kept. */
  backward(seeds: readonly (readonly [Tensor, Tensor])[], wanted: readonly Tensor[]): readonly (Tensor | undefined)[] {
    const gradients = new Places<Tensor>();
    const accumulate = (tensor: Tensor, gradient: Tensor) => {
      const before = gradients.get(tensor);
      gradients.set(tensor, before ? summed(before, gradient) : gradient);
    };
    try {
      for (const [tensor, gradient] of seeds) accumulate(tensor, gradient.retain());
      const sources = new Places<true>();
      for (const tensor of wanted) sources.set(tensor, true);
      for (let entry = this.entries.pop(); entry; entry = this.entries.pop()) {
        const { inputs, outputs, needs, operation } = entry;
        const dOutputs = outputs.map((output) => shaped(gradients.get(output), output));
        try {
          if (dOutputs.every((d) => d === undefined)) continue;
          const dInputs = entry.backward(dOutputs, needs);
          for (const [i, input] of inputs.entries()) {
            const d = dInputs[i];
            if (!d) continue;
            if (!needs[i]) {
              d.dispose();
              continue;
            }
            if (d.size !== input.size)
              throw new ShapeError(operation, `gradient of input ${i}`, `${input.size} elements`, d.shape);
            accumulate(input, d);
          }
        } finally {
          for (const [i, output] of outputs.entries()) {
            const d = gradients.get(output);
            if (dOutputs[i] !== d) dOutputs[i]?.dispose();
            if (sources.get(output)) continue;
            gradients.delete(output);
            d?.dispose();
          }
          free(entry);
        }
      }
      return wanted.map((tensor) => {
        const gradient = gradients.get(tensor);
        gradients.delete(tensor);
        const own = shaped(gradient, tensor);
        if (own !== gradient) gradient?.dispose();
        return own;
      });
    } finally {
      for (const gradient of gradients.values()) gradient.dispose();
      this.dispose();
    }
  }

  dispose(): void {
    for (const entry of this.entries) free(entry);
    this.entries.length = 0;
  }
}

function free({ inputs, outputs, kept }: Entry): void {
  for (const tensor of [...inputs, ...outputs, ...kept]) tensor.dispose();
}

/** The gradient in the shape of its tensor: the place in memory is what counts, and a view of it may have had another. */
function shaped<T extends Tensor | undefined>(gradient: T, tensor: Tensor): T | Tensor {
  if (!gradient || sameShape(gradient.shape, tensor.shape)) return gradient;
  return gradient.reshape(tensor.shape).handOver();
}

function summed(a: Tensor, b: Tensor): Tensor {
  const alike = shaped(b, a);
  const sum = withTape(undefined, () => add(a, alike));
  const retained = sum.retain();
  for (const tensor of new Set([a, b, alike, sum])) tensor.dispose();
  return retained;
}

/**
 * The gradient of a scalar function.
 *
 * @param f f32 [1] from the parameters, which it may also reach as the tensors of a model.
 * @throws {NoGradientError} An operation on the way has no gradient.
 * @throws {ShapeError} The value is not a single number.
 */
export function valueAndGradient<P extends Parameters>(
  f: (parameters: P) => Tensor,
): (parameters: P) => ValueAndGradient<P> {
  return (parameters) => {
    return pullback(f)(parameters, (value) => {
      if (value.size !== 1) throw new ShapeError("valueAndGradient", "value", "one number", value.shape);
      return upload(value.device, [1], value.shape);
    });
  };
}

/**
 * The same for a function of any shape: gradients of Σ seed · f.
 *
 * @param seed makes the seed, of the value's shape; it is disposed of afterwards.
 */
export function pullback<P extends Parameters>(
  f: (parameters: P) => Tensor,
): (parameters: P, seed: (value: Tensor) => Tensor) => ValueAndGradient<P> {
  return (parameters, seed) => {
    const names = Object.keys(parameters);
    const wanted = Object.values(parameters);
    const tape = new RecordingTape(wanted);
    try {
      const value = withTape(tape, () => f(parameters));
      const found = withTape(undefined, () => {
        using start = seed(value);
        return tape.backward([[value, start]], wanted);
      });
      const gradients: Record<string, Tensor> = {};
      for (const [i, name] of names.entries()) {
        const gradient = found[i];
        if (gradient) gradients[name] = gradient;
      }
      return { value, gradients: gradients as ValueAndGradient<P>["gradients"] }; // keys are those of the parameters
    } finally {
      tape.dispose();
    }
  };
}

/**
 * Runs `f` without keeping what its gradient needs; it is run again when the gradient passes.
 *
 * @param inputs All tensors that a gradient may have to pass to, parameters included; `f` gets them in the same order.
 * @returns what `f` returns.
 *
 * Cost: `f` once more in the backward pass; memory for its inputs and output only.
 */
export function checkpoint(f: (inputs: readonly Tensor[]) => Tensor, inputs: readonly Tensor[]): Tensor {
  if (!activeTape()) return f(inputs);
  const out = withTape(undefined, () => f(inputs));
  record("checkpoint", inputs, [out], (keep) => {
    const kept = keep(...inputs);
    return ([dOut], needs) => {
      if (!dOut) return [];
      const wanted = kept.filter((_, i) => needs[i]);
      const tape = new RecordingTape(wanted);
      const again = withTape(tape, () => f(kept));
      const found = tape.backward([[again, dOut]], wanted);
      again.dispose();
      let next = 0;
      return kept.map((_, i) => (needs[i] ? found[next++] : undefined));
    };
  });
  return out;
}
