/** A queue between the scheduler, which pushes, and one consumer, which iterates. */

export class TokenQueue<T> implements AsyncIterable<T> {
  private readonly items: T[] = [];
  private wake: (() => void) | undefined;
  private ended = false;
  private failure: { readonly reason: unknown } | undefined;

  /** `onLeave` is called when the consumer leaves the loop before the end. */
  constructor(private readonly onLeave: () => void) {}

  push(item: T): void {
    this.items.push(item);
    this.wake?.();
  }

  end(): void {
    this.ended = true;
    this.wake?.();
  }

  fail(reason: unknown): void {
    this.failure ??= { reason };
    this.ended = true;
    this.wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    let finished = false;
    try {
      for (;;) {
        const item = this.items.shift();
        if (item !== undefined) yield item;
        else if (this.failure) throw this.failure.reason;
        else if (this.ended) {
          finished = true;
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.wake = resolve;
          });
          this.wake = undefined;
        }
      }
    } finally {
      if (!finished) this.onLeave();
    }
  }
}
