/** A run of pipelines being compiled together: from the first asked for until none is under way. */
export interface CompilationWave {
  pipelines: number;
  seconds: number;
}

/** Counts the pipelines a device compiles, all at once on Dawn's threads; a driver's first compile of a model's kernels may take tens of seconds. */
export class Compilation {
  /** Of the wave under way: asked for, and made so far. */
  asked = 0;
  made = 0;
  private started = 0;
  /** A wave begins; it has ended. */
  onBegin: (() => void) | undefined;
  onEnd: ((wave: CompilationWave) => void) | undefined;

  get busy(): boolean {
    return this.made < this.asked;
  }
  get seconds(): number {
    return (performance.now() - this.started) / 1000;
  }

  /** Counts `pipeline` until it settles, whichever way. */
  track(pipeline: Promise<unknown>): void {
    if (!this.busy) {
      this.asked = this.made = 0;
      this.started = performance.now();
      this.onBegin?.();
    }
    this.asked++;
    const settled = (): void => {
      this.made++;
      if (!this.busy) this.onEnd?.({ pipelines: this.asked, seconds: this.seconds });
    };
    pipeline.then(settled, settled);
  }
}
