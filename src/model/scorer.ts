import type { Gpu } from '../gpu/device.js';
import { Head } from '../gpu/ops/head.js';
import { takeColumn } from '../gpu/ops/take_column.js';
import { Program } from '../gpu/program.js';
import { ReadbackRing } from '../gpu/readback.js';
import { Tensor } from '../gpu/tensor.js';
import { Activations } from './activations.js';
import { pack, type BatchCapacity, type Document, type PackedBatch } from './batch/pack.js';
import { batchAxes, BatchTensors } from './batch/tensors.js';
import { headTable } from './recorded_run.js';
import { Operands } from './operands.js';
import { operandTensorsOf } from './operand_tensors.js';
import type { Parameters } from './parameters.js';
import { longFrom } from './rotary.js';
import { forward } from './transformer.js';

/** Scored rows of a micro-batch: label log-probs [S], and where asked the states [S, D] that predict them. */
export interface Scores {
  batch: PackedBatch;
  logps: Float32Array;
  hidden: Float32Array | undefined;
}

/** A model run forward alone, to fill a reference cache: the very kernels of training, so the bits agree. */
export class Scorer {
  private readonly batch: BatchTensors;
  private readonly acts: Activations;
  private readonly head: Head;
  private readonly logps: Tensor;
  private readonly operands: Operands | undefined;
  private readonly program: Program;
  private readonly ring: ReadbackRing;

  constructor(readonly gpu: Gpu, readonly parameters: Parameters, capacity: BatchCapacity, readonly withHidden: boolean) {
    const { spec } = parameters;
    const axes = batchAxes(capacity);
    this.batch = new BatchTensors(gpu, axes, longFrom(spec, axes.N.capacity));
    this.acts = new Activations(gpu, spec, axes, 'forward', 'reference', parameters.adapters, 'float32', operandTensorsOf(gpu, parameters));
    this.head = new Head({ gpu, S: axes.S, D: spec.D, V: spec.V, mode: 'none', pieces: headTable(parameters).map((p) => p.value), rounded: false, bf16: false, softCap: spec.logitSoftCap });
    this.logps = new Tensor(gpu, 'logps', [axes.S]);
    this.program = new Program(gpu, 'score');
    if (gpu.mixed) this.operands = new Operands(gpu, gpu.mixed, [parameters], { rows: axes.N.capacity, headTile: this.head.width, states: 0, training: false });
    this.program.mixed(this.operands?.store, () => {
      forward(this.program, { spec, parameters, batch: this.batch, acts: this.acts });
      this.head.forward(this.program, { hidden: this.acts.hidden, labels: this.batch.labels });
    });
    takeColumn(this.program, { x: this.head.stats, y: this.logps }, 0);
    this.ring = new ReadbackRing(gpu, this.logps.bytes + (withHidden ? this.acts.hidden.bytes : 0), 3);
  }

  async ready(): Promise<this> {
    await Promise.all([this.program.ready(), this.operands?.prepare()]);
    this.gpu.check();
    return this;
  }

  /** Submits one micro-batch; the returned function waits for its scores. */
  submit(documents: Document[]): () => Promise<Scores> {
    const batch = pack(documents);
    const encoder = this.gpu.device.createCommandEncoder({ label: 'score' });
    this.batch.upload(encoder, batch);
    this.program.encode(encoder, batch.values);
    const read = this.ring.capture(encoder, this.withHidden ? [this.logps, this.acts.hidden] : [this.logps]);
    this.gpu.device.queue.submit([encoder.finish()]);
    const data = read();
    data.catch(() => undefined);
    return async () => {
      const buffer = await data;
      const { S } = batch.values;
      const at = this.logps.bytes;
      return {
        batch,
        logps: new Float32Array(buffer, 0, S),
        hidden: this.withHidden ? new Float32Array(buffer, at, S * this.parameters.spec.D) : undefined,
      };
    };
  }
}
