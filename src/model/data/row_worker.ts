import { parentPort, workerData } from 'node:worker_threads';
import { openText } from '../text/open.js';
import type { RowOptions } from './row_outcome.js';
import { replyTo } from './row_reply.js';
import type { ThreadSetup, ThreadTask } from './row_threads.js';

/** One thread that tokenises (row_threads.ts): loads the tokenizer, then answers tasks until it is ended. */
const { text, options } = workerData as ThreadSetup;
const o: RowOptions = { ...options, ...(await openText(text)) };

// Tasks that came while the tokenizer was loaded have waited for this.
parentPort!.on('message', ({ rows, sides }: ThreadTask) => {
  const reply = replyTo(rows, sides, o);
  parentPort!.postMessage(reply, [reply.words.buffer, reply.weights.buffer]);
});
