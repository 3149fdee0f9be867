import { isMap, isNode, isScalar, LineCounter, parseDocument } from 'yaml';
import { InputError, InputErrors } from '../errors.js';

/** One key of a YAML file with its value and line (from 1). `path` has a section's name in nested files. */
export interface YamlEntry {
  key: string;
  path: string[];
  value: unknown;
  line: number;
}

/** Top-level entries of a YAML mapping; those of the named sections one level down. The only user of the YAML package. */
export function readYaml(text: string, file: string, sections: string[]): YamlEntry[] {
  const counter = new LineCounter();
  const document = parseDocument(text, { lineCounter: counter, uniqueKeys: true });
  if (document.errors.length > 0) {
    const places = document.errors.map((e) => {
      const { line, col } = counter.linePos(e.pos[0]);
      // The message repeats the place and quotes the line; its first sentence says what is wrong.
      return { line, text: `line ${line}, column ${col}: ${e.message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, '')}` };
    });
    if (places.length === 1) throw new InputError(`${file} ${places[0]!.text}`, 'mend the YAML there');
    throw new InputErrors(`${file} line ${places[0]!.line}: broken YAML, in ${places.length} places`, places.map((p) => p.text), 'mend the YAML there, from the top');
  }
  const root = document.contents;
  if (root === null) return [];
  if (!isMap(root)) throw new InputError(`${file}: expected keys and values at the top, got ${isScalar(root) ? 'a single value' : 'a list'}`, 'one "key: value" a line, as in configs/hh.yaml');
  const entries: YamlEntry[] = [];
  const walk = (map: typeof root, path: string[]): void => {
    for (const pair of map.items) {
      const key = isScalar(pair.key) ? String(pair.key.value) : String(pair.key);
      const range = (pair.key as { range?: [number, number, number] }).range;
      const line = range ? counter.linePos(range[0]).line : 0;
      if (path.length === 0 && sections.includes(key) && isMap(pair.value)) walk(pair.value as typeof root, [key]);
      else entries.push({ key, path: [...path, key], value: isNode(pair.value) ? (pair.value.toJS(document) as unknown) : null, line });
    }
  };
  walk(root, []);
  return entries;
}
export { stringify as writeYaml } from 'yaml';
