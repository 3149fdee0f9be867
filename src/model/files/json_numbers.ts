/** A string, which may hold what looks like a number, or a number. */
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const MARK = 'number as it stands ';

/**
 * JSON text with some top-level keys set, every other number as it was written: 6.0 stays 6.0, where JSON.stringify makes it 6 and transformers,
 * whose configurations tell floats from integers, refuses that.
 */
export function withKeys(text: string, over: Record<string, unknown>): string {
  const kept = text.replace(TOKEN, (token) => (token.startsWith('"') || String(Number(token)) === token ? token : JSON.stringify(MARK + token)));
  const value = { ...(JSON.parse(kept) as Record<string, unknown>), ...over };
  return JSON.stringify(value, null, 2).replace(new RegExp(`"${MARK}([^"]+)"`, 'g'), '$1');
}
