/**
 * Errors a person reads: one sentence with what was expected, what came and where, then a hint to type.
 * `main.ts` prints them without a stack trace (unless `--debug`) and exits with `exitCode`:
 * 1 the run failed, 2 usage, configuration or input.
 */
export class EdpoError extends Error {
  readonly exitCode: 1 | 2 | 130;
  readonly hint: string | undefined;
  constructor(message: string, options: { hint?: string; exitCode?: 1 | 2 | 130; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'EdpoError';
    this.hint = options.hint;
    this.exitCode = options.exitCode ?? 1;
  }
}

/** Bad input, found before any GPU work: a config key, a file, a row. Exit code 2. */
export class InputError extends EdpoError {
  constructor(message: string, hint?: string, cause?: unknown) {
    super(message, { exitCode: 2, ...(hint === undefined ? {} : { hint }), cause });
    this.name = 'InputError';
  }
}

/** Several problems found together; printed one per line, so that all are mended in one go. */
export class InputErrors extends EdpoError {
  readonly problems: string[];
  constructor(title: string, problems: string[], hint?: string) {
    super([title, ...problems.map((p) => `  ${p}`)].join('\n'), { exitCode: 2, ...(hint === undefined ? {} : { hint }) });
    this.name = 'InputErrors';
    this.problems = problems;
  }
}
