import type { Compilation } from '../gpu/compilation.js';
import type { CliIo } from './io.js';
import { duration, QUIET_MS } from './progress.js';

const TICK_MS = 100;
/** Waits shorter than this are not worth a line. */
const SHORT_S = 2;

/**
 * Shows that kernels are being compiled: on a terminal a line that counts, elsewhere one now and then; what took longer is said when it ends, and
 * every wave is logged with its seconds.
 */
export function watchCompilation(compilation: Compilation, io: CliIo): void {
  let timer: NodeJS.Timeout | undefined;
  let shown = 0;
  let drawn = false;
  const text = (): string => `compiling kernels for this adapter: ${compilation.made} of ${compilation.asked}  ${duration(compilation.seconds * 1000)}`;
  compilation.onBegin = () => {
    shown = Date.now();
    drawn = false;
    timer = setInterval(() => {
      if (io.isTTY) {
        drawn = true;
        process.stderr.write(`\r\x1b[K${text()}`);
      } else if (Date.now() - shown >= QUIET_MS) {
        shown = Date.now();
        io.say(text());
      }
    }, TICK_MS);
    timer.unref();
  };
  compilation.onEnd = ({ pipelines, seconds }) => {
    clearInterval(timer);
    if (drawn) process.stderr.write('\r\x1b[K');
    if (seconds >= SHORT_S) io.say(`compiled ${pipelines} kernels in ${duration(seconds * 1000)}`);
    io.log.info({ pipelines, seconds: Number(seconds.toFixed(3)) }, 'kernels compiled');
  };
}
