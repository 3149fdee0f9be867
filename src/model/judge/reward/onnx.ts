import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { InputError } from '../../../errors.js';
import type { Judge } from '../types.js';

/** What edpo uses of @xenova/transformers, which is not among its own dependencies (it brings ONNX Runtime and 240 MB). */
interface Xenova {
  env: { allowRemoteModels: boolean; localModelPath: string };
  AutoTokenizer: { from_pretrained(name: string): Promise<Tokenizer> };
  AutoModelForSequenceClassification: { from_pretrained(name: string, o: { quantized: boolean }): Promise<Model> };
}
interface Tokenizer {
  (text: string, o: { text_pair: string | null; return_tensor: false; return_token_type_ids: boolean }): { input_ids: number[]; token_type_ids?: number[] };
  model_max_length?: number;
  sep_token_id?: number;
}
interface Model {
  (inputs: Record<string, unknown>): Promise<{ logits: { data: Float32Array; dims: number[] } }>;
  session: { inputNames: string[] };
}

const FILES = [{ file: join('onnx', 'model.onnx'), quantized: false }, { file: join('onnx', 'model_quantized.onnx'), quantized: true }];

/** The ONNX model of a folder in transformers.js' layout, if there is one and no weights for edpo's own kernels. */
export function onnxFile(path: string): { file: string; quantized: boolean } | undefined {
  if (existsSync(join(path, 'model.safetensors')) || existsSync(join(path, 'model.safetensors.index.json'))) return undefined;
  if (!FILES.some(({ file }) => existsSync(join(path, file))) && existsSync(join(path, 'model.onnx'))) throw new InputError(`${path}: model.onnx is looked for in a folder onnx/ beside config.json`, `mkdir ${path}/onnx && mv ${path}/model.onnx ${path}/onnx/`);
  return FILES.find(({ file }) => existsSync(join(path, file)));
}

/** The package, installed beside edpo or where the command is run. */
async function xenova(): Promise<Xenova & { Tensor: new (type: 'int64', data: BigInt64Array, dims: number[]) => unknown }> {
  const load = async (from: string): Promise<unknown> => import(from);
  try {
    return (await load('@xenova/transformers')) as never;
  } catch {
    try {
      const require = createRequire(join(process.cwd(), 'package.json'));
      return (await load(pathToFileURL(require.resolve('@xenova/transformers')).href)) as never;
    } catch (cause) {
      throw new InputError('a reward model in ONNX runs through @xenova/transformers, which is not installed here', 'npm install @xenova/transformers@2 (in this folder), or take the model’s safetensors', cause);
    }
  }
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/**
 * A sequence-classification encoder in ONNX as the judge, on the CPU: the prompt as the first text, the answer as the second; the higher of two
 * scores wins, equal ones tie. Every pair is scored alone, so nothing else in a batch can change a score. An answer beyond the model's length is
 * cut at its end (detail `truncated_a`, `truncated_b`); where the prompt leaves no room for it the verdict is invalid.
 * @throws InputError for a folder without config or tokenizer, or a model with another number of scores than one
 */
export async function onnxJudge(path: string): Promise<Judge> {
  const { file, quantized } = onnxFile(path)!;
  const absent = ['config.json', 'tokenizer.json', 'tokenizer_config.json'].filter((f) => !existsSync(join(path, f)));
  if (absent.length > 0) throw new InputError(`${path} has no ${absent.join(', ')}`, 'a model for transformers.js has config.json, tokenizer.json and tokenizer_config.json beside onnx/');
  const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as { id2label?: object; num_labels?: number; max_position_embeddings?: number; architectures?: string[] };
  const labels = config.num_labels ?? Object.keys(config.id2label ?? { 0: 1, 1: 1 }).length;
  if (labels !== 1) throw new InputError(`${path} gives ${labels} scores to a dialogue; one was expected`, 'a reward model has num_labels: 1');
  const { env, AutoTokenizer, AutoModelForSequenceClassification, Tensor } = await xenova();
  env.allowRemoteModels = false;
  env.localModelPath = `${dirname(resolve(path))}/`;
  const name = basename(resolve(path));
  const tokenizer = await AutoTokenizer.from_pretrained(name);
  const limit = Math.min(tokenizer.model_max_length ?? Infinity, config.max_position_embeddings ?? Infinity);
  const identity = { judge: `reward:${await sha256(join(path, file))}`, tokenizer: await sha256(join(path, 'tokenizer.json')), quantized };
  let model: Promise<Model> | undefined;
  const score = async (prompt: string, answer: string): Promise<{ score: number; truncated: boolean }> => {
    const m = await (model ??= AutoModelForSequenceClassification.from_pretrained(name, { quantized }));
    const types = m.session.inputNames.includes('token_type_ids');
    // An empty second text is none, as in transformers.
    const e = tokenizer(prompt, { text_pair: answer || null, return_tensor: false, return_token_type_ids: types });
    const truncated = e.input_ids.length > limit;
    if (truncated) {
      // As "only the second text is cut" does: its last tokens go, the closing separator stays.
      const own = tokenizer(prompt, { text_pair: '', return_tensor: false, return_token_type_ids: false }).input_ids.length;
      if (own >= limit || tokenizer.sep_token_id === undefined) return { score: NaN, truncated };
      e.input_ids = [...e.input_ids.slice(0, limit - 1), tokenizer.sep_token_id];
      if (e.token_type_ids) e.token_type_ids = e.token_type_ids.slice(0, limit);
    }
    const n = e.input_ids.length;
    const tensor = (ids: number[]): unknown => new Tensor('int64', BigInt64Array.from(ids, BigInt), [1, n]);
    const { logits } = await m({ input_ids: tensor(e.input_ids), attention_mask: tensor(Array<number>(n).fill(1)), ...(types ? { token_type_ids: tensor(e.token_type_ids!) } : {}) });
    return { score: logits.data[0]!, truncated };
  };
  return {
    identity,
    async ask(questions, each) {
      for await (const q of questions) {
        const [a, b] = [await score(q.prompt, q.a), await score(q.prompt, q.b)];
        const long = { ...(a.truncated ? { truncated_a: true } : {}), ...(b.truncated ? { truncated_b: true } : {}) };
        if (Number.isNaN(a.score - b.score)) each(q.id, 'invalid', { reason: Number.isNaN(a.score) && !a.truncated ? 'a score that is no number' : 'the prompt leaves no room for an answer', ...long });
        else each(q.id, a.score > b.score ? 'a' : b.score > a.score ? 'b' : 'tie', { score_a: a.score, score_b: b.score, ...long });
      }
    },
  };
}
