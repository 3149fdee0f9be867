/** What a command's help says besides its options, as a manual page does. */
interface Page {
  /** What it does, in a few sentences. */
  text: string;
  /** Files it writes, and what is in them. */
  files?: Array<[string, string]>;
  examples: string[];
  see?: string;
}

const RUN_FILES: Array<[string, string]> = [
  ['config.json, *.safetensors, …', 'the trained model (or adapter) in Hugging Face layout'],
  ['checkpoint-N/', 'everything a resume needs'],
  ['trainer_log.jsonl', 'a line of metrics per logging step'],
  ['report.html', 'the run as one offline page, kept up to date'],
  ['run.json', 'versions, adapter, hashes, memory; written last'],
];

const PAGES: Record<string, Page> = {
  train: {
    text: 'Trains a policy on pairs of a chosen and a rejected response against a frozen reference. The loss is loss_type (edpo methods lists them). What the reference says is taken from ref_cache or made at the start. Killed or interrupted, the same command with --resume goes on to the same bits.',
    files: [...RUN_FILES, ['pairs.ndjson', 'the ledger: a line per pair and step']],
    examples: ['edpo train --config configs/hh.yaml --beta 0.05', 'edpo train --model_name_or_path ORG/MODEL --dataset_name ORG/PAIRS --loss_type epsilon_dpo --output_dir runs/a', 'edpo train --config hh.yaml --resume'],
    see: 'edpo plan (what it will take), edpo inspect (what it will see), edpo report',
  },
  sft: {
    text: 'Fine-tunes on responses: of preference data the chosen ones. Resumes as train does.',
    files: RUN_FILES,
    examples: ['edpo sft --config configs/hh-sft.yaml', 'edpo sft --model_name_or_path ORG/MODEL@main --data_files train.jsonl --output_dir runs/sft', 'edpo sft --config configs/hh-sft.yaml --resume'],
  },
  'precompute-ref': {
    text: 'Runs the reference once over the data. Streamed to disk; a killed run goes on with --resume; shards are merged to the same bytes as one run. train, eval and compare read the folder and refuse one that was made of other data or weights.',
    files: [['ref.SPLIT.ndjson', 'a header, then a line of log-probs per pair'], ['ref.SPLIT.hidden-*.bin', 'hidden states, where the loss needs them']],
    examples: ['edpo precompute-ref --config hh.yaml --ref_cache cache/', 'edpo precompute-ref --config hh.yaml --ref_cache cache/ --shard 0/4', 'edpo precompute-ref --config hh.yaml --ref_cache cache/ --merge_shards', 'edpo precompute-ref --config hh.yaml --ref_cache cache/ --adapters all'],
    see: 'docs/cache-format.md, docs/several-gpus.md',
  },
  eval: {
    text: 'Scores a policy against a reference on preference pairs; nothing is trained.',
    files: [['pairs.ndjson', 'the ledger: a line per pair'], ['eval.json', 'accuracy, margins, KL both ways, shares of ε-steps, losses']],
    examples: ['edpo eval --model_name_or_path runs/hh --ref_model_name_or_path sft --dataset_name hh/ --output_dir eval', 'edpo eval --config hh.yaml --ref_cache cache/ --output_dir eval'],
  },
  'eval-winrate': {
    text: 'Lets a judge compare a model’s answers with the data’s chosen ones, a file’s or another model’s, each pair in both orders. Answers are sampled (temperature 1.0, 1,024 tokens) or read from --outputs; AlpacaEval, Arena-Hard and MT-Bench files are told by their keys. With ref_model_name_or_path the policy’s KL on its own answers stands beside the win rate. Nothing is sampled or judged twice: the same command goes on after a kill.',
    files: [
      ['answers.ndjson', 'sampled answers, as they end'], ['annotations.ndjson', 'verdicts, as they come'], ['winrate.json', 'win rate, intervals, length control, position consistency, KL'],
      ['model_outputs.json, …', 'the benchmark’s own files'], ['judge_cache.ndjson', 'an endpoint’s replies, by request'],
    ],
    examples: [
      'edpo eval-winrate --model_name_or_path runs/hh --ref_model_name_or_path sft --dataset_name hh/ --single_turn --judge pairrm:llm-blender/PairRM-hf --output_dir win',
      'edpo eval-winrate --model_name_or_path runs/a --baseline runs/b --dataset_name hh/ --judge command:./judge.py --output_dir win',
      'edpo eval-winrate --outputs outputs.json --baseline reference.json --judge openai:gpt-4-turbo --judge_order hashed --estimate --output_dir win',
      'edpo eval-winrate --outputs answers.jsonl --questions question.jsonl --judge openai:MODEL --output_dir mt',
      'edpo eval-winrate --judgments annotations.json --lc_difficulties instruction_difficulty.csv',
    ],
    see: 'docs/judges.md (judges, protocols, formats, what happens when an endpoint fails)',
  },
  generate: {
    text: 'Answers prompts with a KV cache; a finished answer makes room for the next prompt. Greedy at temperature 0; seeded by prompt, so neither the batch nor its order changes an answer. Lines go to stdout.',
    examples: ['edpo generate --model_name_or_path runs/hh --prompt "Once upon a time" --max_new_tokens 64', 'edpo generate --model_name_or_path ORG/MODEL --prompts_file prompts.jsonl --temperature 0 > answers.jsonl'],
  },
  plan: {
    text: 'Counts a run’s steps, rows, memory and disk from configuration and data; no GPU is asked. Without data it tells every way to train the model and the cards that hold it. Beyond gpu_memory it ends with exit code 2 and the three cheapest changes that fit.',
    examples: ['edpo plan --config hh.yaml', 'edpo plan --config hh.yaml --token_budget 8192 --json', 'edpo plan --config hh.yaml --gpu_memory 24', 'edpo plan --model_name_or_path ORG/MODEL --loss_type epsilon_dpo'],
  },
  inspect: {
    text: 'Shows the first rows token by token with what is scored, then all rows: lengths, truncation, doubled or missing BOS and EOS, identical and duplicate pairs, and what a padded trainer would run.',
    examples: ['edpo inspect --model_name_or_path m --dataset_name d.jsonl', 'edpo inspect --config hh.yaml --max_train_samples 1 --json'],
  },
  merge: {
    text: 'Adds a LoRA adapter to its base and writes one whole model.',
    files: [['config.json, *.safetensors, …', 'the merged model in Hugging Face layout']],
    examples: ['edpo merge --model_name_or_path runs/lora --output_dir models/merged', 'edpo merge --model_name_or_path ORG/BASE --adapter_name_or_path runs/lora --output_dir models/merged --save_dtype float32'],
  },
  doctor: {
    text: 'Opens the adapter a run would take, says why it is that one, and computes known answers on it. --tune also measures tiles of matrix products and attention and keeps the fastest in the user’s cache folder, by adapter, driver and version of edpo; every command takes them from there, and no result changes.',
    examples: ['edpo doctor', 'edpo doctor --adapter swiftshader --json', 'edpo doctor --tune'],
  },
  compare: {
    text: 'Trains every method under every override with every seed on one data set and one reference cache, and evaluates them: held-out pairs, the policy’s own samples, win rates where the file’s winrate section names a judge, checkpoints and realigned points on request (docs/comparisons.md). What is finished stays; the same command goes on. Every key of edpo train is a flag here, for all runs.',
    files: [['compare.md, compare.ndjson', 'the table, and a line per run'], ['compare.html', 'the table and the papers’ figures as one offline page'], ['figures/', 'with --figures: each as SVG and CSV'], ['METHOD-sSEED/', 'each run’s folder']],
    examples: ['edpo compare --config configs/compare/quickstart.yaml', 'edpo compare --config configs/compare/quickstart.yaml --shard 0/4', 'edpo compare --config configs/compare/fig5.yaml --figures'],
  },
  methods: { text: 'Everything edpo can train with: each loss with its formula, paper, what it needs of the reference, defaults, and whose semantics it follows; then what changes a loss.', examples: ['edpo methods --json'] },
  report: {
    text: 'Writes one offline page: plots, pairs worth reading, evaluations, win rates, configuration. A RUN is the --output_dir of edpo train, sft or eval; folders of edpo eval-winrate may stand beside them. Several runs are overlaid, with what differs between them and, where win rates have a KL beside them, the paper’s Fig. 5.',
    files: [['report.html', 'in the run’s folder; of several runs in the current one']],
    examples: ['edpo report runs/hh', 'edpo report runs/dpo runs/edpo runs/edpo-winrate --output compare.html'],
    see: 'docs/logging.md',
  },
  config: {
    text: 'Prints a configuration in full after defaults, file and flags; explains a key; or says of another trainer’s file (TRL, alignment handbook, SimPO, the official ε-DPO) per key what is used, ignored because, differs because. Every key is a flag here too; configs/reference.yaml lists them.',
    examples: ['edpo config configs/hh.yaml --beta 0.05', 'edpo config configs/hh.yaml --for train', 'edpo config --explain epsilon', 'edpo config --explain trl.yaml --json'],
  },
  completion: {
    text: 'Prints a script that completes commands, keys and values of choices.',
    examples: ['source <(edpo completion bash)', 'edpo completion zsh > ~/.zfunc/_edpo', 'edpo completion fish > ~/.config/fish/completions/edpo.fish'],
  },
};

/** One sentence a line as wide as a terminal is, at most. */
function wrapped(text: string, width: number): string {
  const lines = [''];
  for (const word of text.split(' ')) {
    if (lines.at(-1)!.length + word.length + 1 > width && lines.at(-1) !== '') lines.push('');
    lines[lines.length - 1] += `${lines.at(-1) === '' ? '' : ' '}${word}`;
  }
  return lines.map((l) => `  ${l}`).join('\n');
}

/** Everything below a command's options. */
export function manual(command: string, environment?: string): string {
  const { text, files, examples, see } = PAGES[command]!;
  const width = Math.min(process.stdout.columns ?? 80, 100) - 2;
  const column = Math.max(0, ...(files ?? []).map(([f]) => f.length)) + 2;
  const parts = [
    `Description:\n${wrapped(text, width)}`,
    ...(files ? [`Files:\n${files.map(([file, what]) => `  ${file.padEnd(column)}${what}`).join('\n')}`] : []),
    `Example:\n${examples.map((e) => `  ${e}`).join('\n')}`,
    ...(environment === undefined ? [] : [`Every option is also a key of the YAML file; configs/reference.yaml lists them all.\n${environment}`]),
    'Exit codes: 0 done, 1 the run failed, 2 usage, configuration or input, 130 interrupted.',
    ...(see === undefined ? [] : [`See also: ${see}`]),
  ];
  return `\n${parts.join('\n\n')}`;
}
