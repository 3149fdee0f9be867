import { z } from 'zod';
import { DATASET_FORMATS } from '../../model/data/formats.js';
import { TOKENIZATIONS } from '../../model/data/tokenise.js';
import { TRUNCATION_MODES } from '../../model/data/truncate.js';
import { mixtureSchema } from '../mixture.js';
import { COMMANDS, count, DATA, keysOf, list, text } from './define.js';

const key = keysOf('data');

/** Keys of the data: where they are, how rows are read, tokenised and cut. */
export const dataKeys = {
  dataset_name: key('dataset_name', DATA, text.optional(), 'a data file, a folder with files named by split, or a hub id (ORG/NAME or ORG/NAME@REVISION)'),
  dataset_revision: key('dataset_revision', DATA, text.optional(), 'branch, tag or commit of a dataset_name from the hub; main where absent'),
  offline: key('offline', [...COMMANDS], z.boolean().default(false), 'ask no hub: what has a hub id is taken from the cache (also HF_HUB_OFFLINE=1)'),
  data_files: key('data_files', DATA, list.optional(), 'training (or input) files one by one; wins over dataset_name'),
  data_dir: key('data_dir', DATA, list.optional(), 'subfolders of dataset_name, e.g. helpful-base'),
  dataset_mixture: key('dataset_mixture', DATA, mixtureSchema.optional(), 'several data sets in place of dataset_name, as alignment-handbook has it: datasets, each with id, config, split, columns and the weight of its rows that is taken; seed draws and shuffles; test_split_size rows (or that share) are held out for evaluation, or test_datasets are read; {…} as a flag'),
  eval_data_files: key('eval_data_files', ['train', 'sft', 'precompute-ref', 'plan'], list.optional(), 'evaluation files; the test split of dataset_name where absent'),
  dataset_train_split: key('dataset_train_split', DATA, text.default('train'), 'beginning of the training files’ names'),
  dataset_test_split: key('dataset_test_split', DATA, text.default('test'), 'beginning of the evaluation files’ names'),
  dataset_format: key('dataset_format', DATA, z.enum(DATASET_FORMATS).default('auto'), 'hf: prompt/chosen/rejected in all TRL’s shapes; hh: Anthropic-HH dialogues; tokenized: prompt_ids, chosen_ids, rejected_ids (sdpo: chosen_weights, rejected_weights too); list: prompt, responses, scores (rrhf); auto: by the first row'),
  tokenization: key('tokenization', DATA, z.enum(TOKENIZATIONS).default('edpo'), 'edpo: BOS once, EOS not doubled; trl-0.13: as the official code (EOS always appended)'),
  max_length: key('max_length', DATA, count.default(1024), 'tokens of prompt + one response; 0: no limit'),
  max_prompt_length: key('max_prompt_length', [...DATA, 'generate'], count.default(512), 'tokens of the prompt, whose end is kept; 0: no limit'),
  truncation_mode: key('truncation_mode', DATA, z.enum(TRUNCATION_MODES).default('drop'), 'a row over max_length is dropped, its responses are cut (keep_start), or it is an error'),
  bad_rows: key('bad_rows', DATA, z.enum(['auto', 'error', 'drop']).default('auto'), 'rows with empty or identical responses: an error, or dropped and counted; auto drops them in hh data alone'),
  max_train_samples: key('max_train_samples', DATA, count.default(0), 'use the first usable rows only; 0: all'),
  max_eval_samples: key('max_eval_samples', DATA, count.default(0), 'the same for the evaluation split'),
  dataset_num_proc: key('dataset_num_proc', DATA, z.int().positive().optional(), 'threads that tokenise a large data set, never more than there are cores; 1: the main one alone; up to 8 where absent. The result is the same'),
} as const;
