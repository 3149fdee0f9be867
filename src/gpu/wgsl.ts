import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { EdpoError } from '../errors.js';

const sources = new Map<string, string>();

/** Reads `src/gpu/shaders/<stem>.wgsl`, from the sources and from `dist/` alike (package.json `imports`). */
export function shaderSource(stem: string): string {
  let text = sources.get(stem);
  if (text === undefined) {
    const path = fileURLToPath(import.meta.resolve(`#shaders/${stem}.wgsl`));
    try {
      text = readFileSync(path, 'utf8');
    } catch (cause) {
      throw new EdpoError(`no shader ${stem}.wgsl in src/gpu/shaders`, { cause });
    }
    sources.set(stem, text);
  }
  return text;
}

/**
 * Expands lines `// #use lib/name`, each snippet once and before the text that uses it.
 * `replace` maps one snippet name to another (a subgroup snippet to its serial form, say).
 */
export function expandShader(stem: string, replace: Record<string, string> = {}): string {
  const done = new Set<string>();
  const expand = (text: string): string =>
    text.replace(/^\/\/ #use (\S+)$/gm, (_line, name: string) => {
      const target = replace[name] ?? name;
      if (done.has(target)) return '';
      done.add(target);
      return expand(shaderSource(target));
    });
  return expand(shaderSource(stem));
}
