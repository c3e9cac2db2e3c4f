/**
 * Negative log-likelihood of tokens under rows of logits.
 *
 *   nll = Σ over t of log Σ over v of exp(logits[t, v]) − logits[t, target[t]]
 *
 * Axes      T tokens, V vocabulary; logits: [T, V] row-major.
 * Precision logits are float32; everything here is float64.
 */

/**
 * The sum over the tokens, in nats.
 *
 * @param logits [T, V].
 * @param targets T ids; targets[t] is what should follow after row t.
 * @throws {RangeError} the sizes do not fit, or an id is not below V.
 */
export function negativeLogLikelihood(logits: Float32Array, targets: readonly number[], vocabSize: number): number {
  if (logits.length !== targets.length * vocabSize) {
    throw new RangeError(
      `negativeLogLikelihood: logits expected [T=${targets.length}, V=${vocabSize}], got ${logits.length} values`,
    );
  }
  let sum = 0;
  for (const [t, target] of targets.entries()) {
    if (!(Number.isInteger(target) && target >= 0 && target < vocabSize)) {
      throw new RangeError(`negativeLogLikelihood: target ${t} is id ${target}; the model has ${vocabSize}`);
    }
    const row = logits.subarray(t * vocabSize, (t + 1) * vocabSize);
    let largest = Number.NEGATIVE_INFINITY;
    for (let v = 0; v < vocabSize; v++) if (row[v]! > largest) largest = row[v]!;
    let total = 0;
    for (let v = 0; v < vocabSize; v++) total += Math.exp(row[v]! - largest);
    // The difference first: a large logit beside a small logarithm would cost digits.
    sum += Math.log(total) + (largest - row[target]!);
  }
  return sum;
}
