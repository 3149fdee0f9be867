import { EdpoError } from '../errors.js';
import type { Gpu } from './device.js';
import type { ProfileSink } from './program.js';

/** Timestamps in one query set: WebGPU allows 4,096. */
const SLOTS = 4096;

/** One timed dispatch, in the order of encoding. */
export interface DispatchTime {
  label: string;
  ms: number;
}

/** All dispatches of one label. */
export interface LabelTime {
  label: string;
  ms: number;
  dispatches: number;
}

/**
 * Times every dispatch by timestamp queries: pass it to `Program.encode` as often as wanted, then `finish` on the same
 * encoder. One pass per dispatch then, so dispatches do not overlap and a profiled step takes longer than a plain one.
 */
export class Profiler implements ProfileSink {
  private readonly sets: Array<{ queries: GPUQuerySet; resolved: GPUBuffer }> = [];
  private readonly labels: string[] = [];

  /** Throws EdpoError where the adapter has no `timestamp-query`. */
  constructor(readonly gpu: Gpu) {
    if (!Profiler.supported(gpu)) throw new EdpoError(`${gpu.name} has no timestamp queries`, { hint: 'time whole submissions instead' });
  }

  static supported(gpu: Gpu): boolean {
    return gpu.features.has('timestamp-query');
  }

  next(label: string): GPUComputePassTimestampWrites {
    const at = this.labels.length * 2;
    this.labels.push(label);
    if (at === this.sets.length * SLOTS) {
      this.sets.push({
        queries: this.gpu.device.createQuerySet({ label: 'profile', type: 'timestamp', count: SLOTS }),
        resolved: this.gpu.createBuffer('profile', SLOTS * 8, GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC),
      });
    }
    const querySet = this.sets[Math.floor(at / SLOTS)]!.queries;
    return { querySet, beginningOfPassWriteIndex: at % SLOTS, endOfPassWriteIndex: (at % SLOTS) + 1 };
  }

  /** Encodes reading the timestamps back and starts a new list; await the result after `submit`. */
  finish(encoder: GPUCommandEncoder): () => Promise<DispatchTime[]> {
    const labels = this.labels.splice(0);
    const bytes = Math.max(8, labels.length * 16);
    const staging = this.gpu.createBuffer('profile readback', bytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
    for (let first = 0; first < labels.length * 2; first += SLOTS) {
      const { queries, resolved } = this.sets[first / SLOTS]!;
      const count = Math.min(SLOTS, labels.length * 2 - first);
      encoder.resolveQuerySet(queries, 0, count, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, staging, first * 8, count * 8);
    }
    return async () => {
      await staging.mapAsync(GPUMapMode.READ);
      const ns = new BigUint64Array(staging.getMappedRange().slice(0, labels.length * 16));
      this.gpu.destroyBuffer(staging);
      this.gpu.check();
      return labels.map((label, i) => ({ label, ms: Number(ns[2 * i + 1]! - ns[2 * i]!) / 1e6 }));
    };
  }

  destroy(): void {
    for (const { queries, resolved } of this.sets.splice(0)) {
      queries.destroy();
      this.gpu.destroyBuffer(resolved);
    }
  }
}

/** Sums times by label, the longest first. `key` shortens labels: `L03 matmul.nt_vec4` to its kernel, say. */
export function sumByLabel(times: DispatchTime[], key: (label: string) => string = (label) => label): LabelTime[] {
  const sums = new Map<string, LabelTime>();
  for (const { label, ms } of times) {
    const name = key(label);
    const sum = sums.get(name) ?? { label: name, ms: 0, dispatches: 0 };
    sum.ms += ms;
    sum.dispatches++;
    sums.set(name, sum);
  }
  return [...sums.values()].sort((a, b) => b.ms - a.ms);
}

/** The kernel of a recorded label: what follows the scopes' prefixes. */
export const kernelOf = (label: string): string => label.slice(label.lastIndexOf(' ') + 1);
