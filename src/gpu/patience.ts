import type { Gpu } from './device.js';

/** One nap: long against a turn of the event loop, short against a step on a software adapter. */
const NAP_MS = 1;
const cell = new Int32Array(new SharedArrayBuffer(4));
let waiting = 0;
/** One loop of naps at most, however quickly one wait follows another. */
let napping = false;
/** Naps taken since the process began. */
export let naps = 0;

function nap(): void {
  napping = waiting > 0;
  if (!napping) return;
  naps++;
  Atomics.wait(cell, 0, 0, NAP_MS);
  setImmediate(nap);
}

/**
 * Awaits a promise of the GPU without a busy loop. Dawn's Node binding polls on every turn of the event loop while such
 * a promise is pending; on an adapter that computes on the processor that takes a core from the kernels (1.3 to 1.8
 * times the time on two cores). There the thread sleeps between turns; a hardware adapter's promise is awaited as it is.
 */
export async function patiently<T>(gpu: Gpu, promise: Promise<T>): Promise<T> {
  if (gpu.kind === 'hardware') return promise;
  waiting++;
  if (!napping) {
    napping = true;
    setImmediate(nap);
  }
  try {
    return await promise;
  } finally {
    waiting--;
  }
}
