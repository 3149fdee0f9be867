import { keyedWord } from '../data/order.js';
import type { Document } from './pack.js';

const KEY = 0x0d2a;

/** A number per token row in `pack`'s order, of (document, branch, position) alone: dropout's masks do not depend on the packing. */
export function rowKeys(documents: Document[]): Uint32Array {
  const keys: number[] = [];
  for (const { id, prompt, branches, numbers } of documents) {
    [prompt, ...branches].forEach((part, k) => {
      for (let i = 0; i < part.length; i++) keys.push(keyedWord(KEY, id, k > 0 && numbers ? numbers[k - 1]! : k, i));
    });
  }
  return Uint32Array.from(keys);
}

/** Dropout's number of an optimiser step. */
export const stepKey = (seed: number, step: number): number => keyedWord(KEY, seed, step);
