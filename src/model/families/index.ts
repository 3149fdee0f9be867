import { z } from 'zod';
import { InputError } from '../../errors.js';
import { gemma, gemma2, gemma3 } from './gemma.js';
import { gpt2 } from './gpt2.js';
import { gptNeox } from './gpt_neox.js';
import { llama } from './llama.js';
import { mistral } from './mistral.js';
import { phi3 } from './phi3.js';
import { qwen2, qwen3 } from './qwen.js';
import type { FloatFormat } from '../files/float_formats.js';
import type { ModelSpec } from './spec.js';
import { stablelm } from './stablelm.js';

/** One entry per `model_type` of config.json; a family is one file. */
const families: Record<string, (config: Record<string, unknown>) => ModelSpec> = { llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3_text: gemma3, phi3, gpt_neox: gptNeox, gpt2, stablelm };

const STORED: Record<string, FloatFormat> = { float32: 'F32', float16: 'F16', bfloat16: 'BF16' };

/** Maps a config.json to what the kernels offer. Throws InputError naming the model type or the option edpo lacks. */
export function modelSpec(config: Record<string, unknown>, where: string): ModelSpec {
  const type = String(config['model_type'] ?? '');
  const family = families[type];
  if (!family) {
    throw new InputError(
      `${where}: model_type "${type || '(missing)'}" is not one edpo knows; expected ${Object.keys(families).join(', ')}`,
      'convert the checkpoint, or choose a Llama-type model',
    );
  }
  try {
    const storedFormat = STORED[String(config['torch_dtype'] ?? config['dtype'])];
    return { ...family(config), ...(storedFormat ? { storedFormat } : {}) };
  } catch (error) {
    const problems =
      error instanceof z.ZodError
        ? error.issues.map((i) => `${i.path.join('.')}: ${i.message}, got ${JSON.stringify(config[String(i.path[0])])}`)
        : [error instanceof Error ? error.message : String(error)];
    throw new InputError(`${where}: ${problems.join('; ')}`, 'choose a checkpoint without that option, or mend config.json if it is wrong');
  }
}

export type { ModelSpec } from './spec.js';
