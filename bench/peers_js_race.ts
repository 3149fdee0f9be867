import { median, warmUp } from '../src/gpu/timing.js';
import { blockFlops, blockInputs, difference, productFlops, productInputs, TOLERANCE, type BlockCase, type Job, type Named, type ProductCase, type System } from './peers_js_case.js';

/** One piece of work for all systems. */
export interface PeerJsCase { what: string; shape: string; flops: number; inputs: Named; job(s: System, inputs: Named): Job }

/** @param shapes [M, O, I]; @param blocks [B, T, D, H] */
export function peerCases(shapes: number[][], blocks: number[][]): PeerJsCase[] {
  const products = shapes.flatMap(([M, O, I]) => (['nt', 'nn', 'tn'] as const).map((form): PeerJsCase => {
    const c: ProductCase = { form, M: M!, O: O!, I: I! };
    return { what: `matmul ${form}`, shape: `${M} x ${O} x ${I}`, flops: productFlops(c), inputs: productInputs(c, 1), job: (s, inputs) => s.product(c, inputs) };
  }));
  return [...products, ...blocks.flatMap(([B, T, D, H]) => [false, true].map((backward): PeerJsCase => {
    const c: BlockCase = { B: B!, T: T!, D: D!, H: H!, F: 4 * D!, backward };
    return { what: backward ? 'block with gradients' : 'block forward', shape: `${B} x ${T} x ${D} x ${H}`, flops: blockFlops(c), inputs: blockInputs(c, 1), job: (s, inputs) => s.block(c, inputs) };
  }))];
}

/** A system's time at a case, or why it has none. */
export interface Raced {
  system: string;
  ms: number;
  /** Time over edpo's in the same round, the median of all rounds. */
  of_edpo: number;
  /** The tensor that differs most from edpo's, of its norm. */
  difference: number;
  difference_in: string;
  reason?: string;
}

/** One case on all systems, edpo first: the results of each are held against edpo's before anything is timed; runs take turns. */
export async function race(c: PeerJsCase, systems: System[], runs: number): Promise<Raced[]> {
  let truth: Named | undefined;
  const failed: Raced[] = [];
  const racing: Array<{ system: string; job: Job; once: (repeats: number) => Promise<number>; repeats: number; times: number[]; at: ReturnType<typeof difference> }> = [];
  for (const s of systems) {
    let job: Job | undefined;
    let at = { tensor: '', difference: NaN };
    try {
      const made = (job = c.job(s, c.inputs));
      await made.run(1);
      const results = await made.results();
      truth ??= results;
      at = difference(results, truth);
      if (!(at.difference <= TOLERANCE)) throw new Error(`${at.tensor} differs from edpo's by ${at.difference.toExponential(2)} of its norm, more than ${TOLERANCE}`);
      const once = async (repeats: number): Promise<number> => {
        const from = performance.now();
        await made.run(repeats);
        return performance.now() - from;
      };
      racing.push({ system: s.name, job: made, once, repeats: 1, times: [], at });
    } catch (error) {
      // A library may lack an operation or its gradient: the others go on.
      if (truth === undefined) throw error;
      job?.destroy();
      failed.push({ system: s.name, ms: NaN, of_edpo: NaN, difference: at.difference, difference_in: at.tensor, reason: (error as Error).message.split('\n')[0]! });
    }
  }
  for (const r of racing) r.repeats = await warmUp(r.once);
  for (let i = 0; i < runs; i++) for (const r of racing) r.times.push((await r.once(r.repeats)) / r.repeats);
  for (const r of racing) r.job.destroy();
  const [edpo] = racing;
  return [...racing.map((r) => ({ system: r.system, ms: median(r.times), of_edpo: median(r.times.map((t, i) => t / edpo!.times[i]!)), difference: r.at.difference, difference_in: r.at.tensor })), ...failed];
}
