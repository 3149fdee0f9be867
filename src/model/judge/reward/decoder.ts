import type { Gpu } from '../../../gpu/device.js';
import { matmulNT } from '../../../gpu/ops/matmul.js';
import { Program } from '../../../gpu/program.js';
import { ReadbackRing } from '../../../gpu/readback.js';
import { Tensor } from '../../../gpu/tensor.js';
import { Activations } from '../../activations.js';
import { pack, planMicroBatches } from '../../batch/pack.js';
import { batchAxes, BatchTensors } from '../../batch/tensors.js';
import { InputError } from '../../../errors.js';
import { ModelFolder } from '../../files/hf_folder.js';
import type { ModelSpec } from '../../families/spec.js';
import { Parameters } from '../../parameters.js';
import { requirePositions } from '../../position_limit.js';
import { longFrom } from '../../rotary.js';
import { sequenceCapacity } from '../../session.js';
import { forward } from '../../transformer.js';

const HEAD = 'score.weight';

/** A folder of a decoder with a score instead of a language head (transformers' …ForSequenceClassification, one label). */
export function openRewardFolder(path: string): ModelFolder {
  return ModelFolder.open(path, (spec, config) => {
    const architecture = String((config['architectures'] as string[] | undefined)?.[0] ?? '(none)');
    if (!architecture.endsWith('ForSequenceClassification')) {
      throw new InputError(`${path} is a ${architecture}; a reward model (…ForSequenceClassification) was expected`, 'reward:FOLDER takes a model that gives one score to a dialogue');
    }
    const labels = Number(config['num_labels'] ?? Object.keys((config['id2label'] as object | undefined) ?? { 0: 1, 1: 1 }).length);
    if (labels !== 1) throw new InputError(`${path} gives ${labels} scores to a dialogue; one was expected`, 'a reward model has num_labels: 1');
    // No lm_head in the files: the score takes its place.
    return { ...spec, tied: true };
  }, [HEAD]);
}

/** Scores of token sequences by a decoder: its final-norm state at the last token times score.weight [1, D], as transformers reads it. */
export class RewardDecoder {
  private readonly batch: BatchTensors;
  private readonly program: Program;
  private readonly ring: ReadbackRing;
  private readonly scores: Tensor;

  private readonly spec: ModelSpec;

  private constructor(private readonly gpu: Gpu, parameters: Parameters, score: Tensor, private readonly capacity: { rows: number; sequences: number }) {
    const axes = batchAxes(capacity);
    this.spec = parameters.spec;
    this.batch = new BatchTensors(gpu, axes, longFrom(parameters.spec, axes.N.capacity));
    const acts = new Activations(gpu, parameters.spec, axes, 'forward', 'reward');
    this.scores = new Tensor(gpu, 'scores', [axes.S, 1]);
    this.program = new Program(gpu, 'reward');
    forward(this.program, { spec: parameters.spec, parameters, batch: this.batch, acts });
    matmulNT(this.program, { x: acts.hidden, w: score, y: this.scores });
    this.ring = new ReadbackRing(gpu, this.scores.bytes, 3);
  }

  /** @param rows token rows of a micro-batch. Throws InputError where score.weight is missing or of another shape. */
  static async open(gpu: Gpu, folder: ModelFolder, rows: number): Promise<RewardDecoder> {
    const { spec } = folder;
    const entry = folder.files.map((f) => f.tensors.get(HEAD)).find(Boolean);
    if (entry?.shape.join() !== `1,${spec.D}`) throw new InputError(`${folder.path}: ${HEAD} is ${entry ? `[${entry.shape.join(', ')}]` : 'missing'}; [1, ${spec.D}] was expected`, 'is this a reward model as transformers saves one?');
    const parameters = new Parameters(gpu, spec, false, 'reward');
    await parameters.load((p, first, n) => folder.readF32(p, first, n));
    const score = new Tensor(gpu, 'reward.score', [1, spec.D]);
    score.write(folder.readF32({ name: HEAD, shape: [1, spec.D], table: false }));
    const decoder = new RewardDecoder(gpu, parameters, score, { rows, sequences: sequenceCapacity(rows) });
    await decoder.program.ready();
    gpu.check();
    return decoder;
  }

  /** @returns one score per sequence; a score does not depend on what else is in the batch. Throws InputError for one longer than the rows. */
  async score(sequences: number[][]): Promise<number[]> {
    const longest = Math.max(0, ...sequences.map((s) => s.length));
    requirePositions(this.spec, longest + 1, 'a dialogue with the row that scores it has', 'a reward model with more positions');
    if (longest >= this.capacity.rows) throw new InputError(`a dialogue has ${longest} tokens, token_budget is ${this.capacity.rows}`, `--token_budget ${longest + 1}`);
    // One more row as the label of the last token: what is scored is the state that would predict it.
    const plan = planMicroBatches(sequences.map((s, id) => ({ rows: s.length + 1, sequences: 1, id })), this.capacity);
    const result: number[] = [];
    for (const members of plan) {
      const batch = pack(members.map((m) => ({ id: m, prompt: sequences[m]!, branches: [[0]] })));
      const encoder = this.gpu.device.createCommandEncoder({ label: 'reward' });
      this.batch.upload(encoder, batch);
      this.program.encode(encoder, batch.values);
      const read = this.ring.capture(encoder, [this.scores]);
      this.gpu.device.queue.submit([encoder.finish()]);
      const scores = new Float32Array(await read());
      members.forEach((m, i) => (result[m] = scores[i]!));
    }
    return result;
  }
}
