import { z } from 'zod';
import { count, keysOf, list, MODEL, text } from './define.js';

const key = keysOf('device');

/** Keys of the GPU: which, and how much of it a run takes. */
export const deviceKeys = {
  token_budget: key('token_budget', MODEL, count.default(2048), 'token rows of a micro-batch at most; never changes results beyond rounding of gradients; auto (0), in train and sft: the most that fits gpu_memory (a software adapter: free memory), tried on the longest documents first'),
  gpu_memory: key('gpu_memory', ['train', 'sft', 'plan'], z.number().positive().optional(), 'GB (1e9 bytes) the run may take on the GPU; a larger plan is refused before anything is allocated, with the cheapest changes'),
  adapter: key('adapter', MODEL, text.default('auto'), 'auto, software, swiftshader, part of an adapter’s name, or NAME@i: the i-th (from 0) of those whose names contain NAME, also where they are alike (edpo doctor lists them)'),
  adapters: key('adapters', ['precompute-ref', 'eval-winrate'], list.optional(), 'several at once, each as adapter takes it, or all (the hardware ones): a process for each makes its part of the cache or of the answers, and the parts are joined'),
} as const;
