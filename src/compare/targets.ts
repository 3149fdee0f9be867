/** One row of a table of the paper: a method and its figures; null where the paper has none. */
export interface TargetRow {
  /** As the paper writes it. */
  method: string;
  /** Names of methods in a comparison that it stands for, the usual one first. */
  names: string[];
  figures: Array<number | null>;
}

export interface Target {
  title: string;
  columns: string[];
  rows: TargetRow[];
}

const BENCHMARKS = ['AlpacaEval 2 LC %', 'AlpacaEval 2 WR %', 'Arena-Hard WR %', 'MT-Bench 1–10'];
const row = (method: string, names: string[], ...figures: Array<number | null>): TargetRow => ({ method, names, figures });

/** Tables 1 and 2 of arXiv 2502.13177. */
export const TARGETS: Record<string, Target> = {
  'table1-mistral': {
    title: 'Table 1, Mistral-Instruct (7B, UltraFeedback)', columns: BENCHMARKS,
    rows: [
      row('SFT', ['sft'], 17.1, 14.7, 12.6, 7.5), row('DPO', ['sigmoid'], 26.8, 24.9, 16.3, 7.6), row('RRHF', ['rrhf'], 25.3, 24.8, 18.1, 7.6), row('SLiC-HF', ['slic_hf'], 24.1, 24.6, 18.9, 7.8),
      row('IPO', ['ipo'], 20.3, 20.3, 16.2, 7.8), row('CPO', ['cpo'], 23.8, 28.8, 22.6, 7.5), row('KTO', ['kto'], 24.5, 23.6, 17.9, 7.7), row('ORPO', ['orpo'], 24.5, 24.9, 20.8, 7.7),
      row('R-DPO', ['r_dpo'], 27.3, 24.5, 16.1, 7.5), row('SimPO', ['simpo'], 32.1, 34.8, 21.0, 7.6), row('ε-DPO', ['epsilon_dpo'], 35.6, 29.6, 17.2, 7.8),
    ],
  },
  'table1-llama3': {
    title: 'Table 1, Llama-3-Instruct (8B, UltraFeedback)', columns: BENCHMARKS,
    rows: [
      row('SFT', ['sft'], 26.0, 25.3, 22.3, 8.1), row('DPO', ['sigmoid'], 40.3, 37.9, 32.6, 8.0), row('RRHF', ['rrhf'], 31.3, 28.4, 26.5, 7.9), row('SLiC-HF', ['slic_hf'], 26.9, 27.5, 26.2, 8.1),
      row('IPO', ['ipo'], 35.6, 35.6, 30.5, 8.3), row('CPO', ['cpo'], 28.9, 32.2, 28.8, 8.0), row('KTO', ['kto'], 33.1, 31.8, 26.4, 8.2), row('ORPO', ['orpo'], 28.5, 27.4, 25.8, 8.0),
      row('R-DPO', ['r_dpo'], 41.1, 37.8, 33.1, 8.0), row('SimPO', ['simpo'], 44.7, 40.5, 33.8, 8.0), row('ε-DPO', ['epsilon_dpo'], 46.4, 44.9, 36.7, 8.0),
    ],
  },
  table2: {
    title: 'Table 2, relaxations of the KL penalty (Llama-3-Instruct)', columns: BENCHMARKS.slice(0, 3),
    rows: [
      row('SFT', ['sft'], 26.0, 25.3, 22.3), row('DPO', ['sigmoid'], 40.3, 37.9, 32.6), row('β-DPO', ['beta_dpo'], 43.4, 38.2, null), row('TR-DPO^τ (hard)', ['tr_dpo_hard', 'tr_dpo'], 42.8, 47.2, 32.4),
      row('TR-DPO^α (soft)', ['tr_dpo_soft'], 43.5, 46.8, 34.7), row('ε-DPO', ['epsilon_dpo'], 46.4, 44.9, 36.7),
    ],
  },
};
