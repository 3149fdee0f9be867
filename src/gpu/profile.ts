import { EdpoError } from '../errors.js';
import type { Gpu } from './device.js';
import type { DispatchSizes, ProfileSink } from './program.js';

/** Timestamps in one query set: WebGPU allows 4,096. */
const SLOTS = 4096;

/** One timed dispatch or pass, in the order of encoding. `from`: when it began, from the first one's begin. */
export interface DispatchTime extends DispatchSizes {
  ms: number;
  from: number;
}

/** All dispatches of one label. */
export interface LabelTime {
  label: string;
  ms: number;
  dispatches: number;
}

/**
 * Times by timestamp queries: pass it to `Program.encode` as often as wanted, then `finish` on the same encoder or a later one. Per dispatch every
 * one gets a pass of its own, so dispatches do not overlap and a profiled step takes longer than a plain one; per pass the replay is as it always is.
 */
export class Profiler implements ProfileSink {
  private readonly sets: Array<{ queries: GPUQuerySet; resolved: GPUBuffer }> = [];
  private readonly timed: DispatchSizes[] = [];

  /** Throws EdpoError where the adapter has no `timestamp-query`. */
  constructor(readonly gpu: Gpu, readonly per: 'dispatch' | 'pass' = 'dispatch') {
    if (!Profiler.supported(gpu)) throw new EdpoError(`${gpu.name} has no timestamp queries`, { hint: 'time whole submissions instead' });
  }

  static supported(gpu: Gpu): boolean {
    return gpu.features.has('timestamp-query');
  }

  next(sizes: DispatchSizes): GPUComputePassTimestampWrites {
    const at = this.timed.length * 2;
    this.timed.push(sizes);
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
    const timed = this.timed.splice(0);
    const bytes = Math.max(8, timed.length * 16);
    const staging = this.gpu.createBuffer('profile readback', bytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
    for (let first = 0; first < timed.length * 2; first += SLOTS) {
      const { queries, resolved } = this.sets[first / SLOTS]!;
      const count = Math.min(SLOTS, timed.length * 2 - first);
      encoder.resolveQuerySet(queries, 0, count, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, staging, first * 8, count * 8);
    }
    return async () => {
      await staging.mapAsync(GPUMapMode.READ);
      const ns = new BigUint64Array(staging.getMappedRange().slice(0, timed.length * 16));
      this.gpu.destroyBuffer(staging);
      this.gpu.check();
      return timed.map((sizes, i) => ({ ...sizes, ms: Number(ns[2 * i + 1]! - ns[2 * i]!) / 1e6, from: Number(ns[2 * i]! - ns[0]!) / 1e6 }));
    };
  }

  destroy(): void {
    for (const { queries, resolved } of this.sets.splice(0)) {
      queries.destroy();
      this.gpu.destroyBuffer(resolved);
    }
  }
}

/** From the first begin to the last end, and how much of it nothing timed ran: uploads, copies, and waiting for the host. */
export function idleShare(times: DispatchTime[]): { span: number; busy: number; idle: number } {
  const span = Math.max(...times.map((t) => t.from + t.ms)) - Math.min(...times.map((t) => t.from));
  // Passes may overlap at their ends: what runs is their union.
  let [busy, until] = [0, -Infinity];
  for (const { from, ms } of [...times].sort((a, b) => a.from - b.from)) {
    busy += Math.max(0, from + ms - Math.max(from, until));
    until = Math.max(until, from + ms);
  }
  return { span, busy, idle: span > 0 ? 1 - busy / span : 0 };
}

/** Sums times by label, the longest first. `key` shortens labels: `L03 matmul.nt_vec4` to its kernel, say. */
export function sumByLabel(times: Array<Pick<DispatchTime, 'label' | 'ms'>>, key: (label: string) => string = (label) => label): LabelTime[] {
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
