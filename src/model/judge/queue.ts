/** Items handed from one activity to another: whoever reads waits for the next one or the end. */
export class Queue<T> implements AsyncIterable<T> {
  private readonly items: T[] = [];
  private ended = false;
  private wake: (() => void) | undefined;

  push(...items: T[]): void {
    this.items.push(...items);
    this.wake?.();
  }
  /** No more items come. */
  end(): void {
    this.ended = true;
    this.wake?.();
  }

  /** Ends at once: what nobody has taken yet is dropped. */
  abandon(): void {
    this.items.length = 0;
    this.end();
  }

  /** What has arrived, at most `limit` items, waiting for the first; empty at the end. One reader at a time. */
  async take(limit: number): Promise<T[]> {
    while (this.items.length === 0 && !this.ended) await new Promise<void>((resolve) => (this.wake = resolve));
    this.wake = undefined;
    return this.items.splice(0, limit);
  }

  async *[Symbol.asyncIterator](): AsyncIterator<T> {
    for (;;) {
      const [item] = await this.take(1);
      if (item === undefined) return;
      yield item;
    }
  }

  /** A queue that holds these and has ended. */
  static of<T>(items: Iterable<T>): Queue<T> {
    const queue = new Queue<T>();
    queue.push(...items);
    queue.end();
    return queue;
  }
}
