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

/**
 * Writes out the lines between `// #for i COUNT` and `// #end` once for each i from 0, `$i` replaced by its number; loops nest. COUNT is a number or one of
 * `constants`. Dawn gives drivers no hint to unroll, and subgroup matrices want names of their own, not places in an array.
 */
export function unroll(text: string, constants: Record<string, number>): string {
  const lines = text.split('\n');
  const expand = (from: number, to: number): string[] => {
    const out: string[] = [];
    for (let i = from; i < to; i++) {
      const open = /^\s*\/\/ #for (\w+) (\w+)$/.exec(lines[i]!);
      if (!open) {
        out.push(lines[i]!);
        continue;
      }
      let end = i + 1;
      for (let depth = 1; ; end++) {
        if (end >= to) throw new EdpoError(`${lines[i]!.trim()} has no // #end`);
        if (/^\s*\/\/ #for /.test(lines[end]!)) depth++;
        if (/^\s*\/\/ #end$/.test(lines[end]!) && --depth === 0) break;
      }
      const count = constants[open[2]!] ?? Number(open[2]);
      if (!Number.isInteger(count)) throw new EdpoError(`${lines[i]!.trim()}: ${open[2]} is neither a number nor a constant of the kernel`);
      const body = expand(i + 1, end);
      for (let n = 0; n < count; n++) out.push(...body.map((line) => line.replaceAll(`$${open[1]}`, String(n))));
      i = end;
    }
    return out;
  };
  return expand(0, lines.length).join('\n');
}
