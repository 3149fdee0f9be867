/** Devices alive in this process; kept apart from device.ts, so that asking costs no load of Dawn. */
interface Closable {
  device: GPUDevice;
  lost: boolean;
  close(): void;
}

export const openGpus = new Set<Closable>();

/** How long the queue may take to run dry before the device is destroyed all the same. */
const DRAIN_MS = 10_000;

/**
 * Destroys every device once its queue is dry. To be called before `process.exit`: a process that exits while a software adapter
 * still computes may crash in its teardown and lose its exit code.
 */
export async function closeGpus(): Promise<void> {
  for (const gpu of [...openGpus]) {
    if (!gpu.lost) {
      const dry = gpu.device.queue.onSubmittedWorkDone().catch(() => undefined);
      await Promise.race([dry, new Promise((done) => setTimeout(done, DRAIN_MS))]);
    }
    gpu.close();
  }
}
