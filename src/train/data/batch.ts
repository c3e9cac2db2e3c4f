/**
 * What a source of training data gives the trainer, step by step.
 *
 * A batch holds pieces of documents side by side. Each piece is a row of the step: attention and states begin anew with it and do not cross into the
 * next one. A document longer than a piece goes on in a piece of its own.
 */

/** The tokens of one step and what each of them is to foretell. */
export interface TrainingBatch {
  /** Pieces of documents side by side, each a row of the step: attention and states do not cross. */
  readonly rows: readonly (readonly number[])[];
  /** For each token of all rows in order the id to foretell, or -1: no loss. */
  readonly targets: readonly number[];
}

/** Batches without end; at any moment it can say where it is, and go on from there. */
export interface BatchSource {
  next(): Promise<TrainingBatch>;
  /** JSON; what `restore` needs to go on exactly here. */
  position(): unknown;
  /** Goes to a `position` of a source that was opened with the same configuration. */
  restore(position: unknown): void;
}
