import { escape } from './html.js';
import { SCRIPT } from './script.js';
import { STYLE } from './style.js';

// Nothing may be fetched, whatever a text of the data says.
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

export interface Section { id: string; title: string; html: string }

export interface OfflinePage {
  /** A word or two above the heading. */
  brand: string;
  title: string;
  /** HTML. */
  heading: string;
  /** HTML, a paragraph each. */
  about: string[];
  notes: string[];
  sections: Section[];
}

/** The frame of every page edpo writes: one file, no requests, light, dark and print, readable by keyboard and aloud. It holds no time of its making. */
export function offlinePage({ brand, title, heading, about, notes, sections }: OfflinePage): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<title>${escape(title)}</title><link rel="icon" href="data:,">
<style>${STYLE}</style></head>
<body><a class="skip" href="#main">Skip to the figures</a>
<header><p class="brand">${escape(brand)}</p><h1>${heading}</h1>
${about.map((a) => `<p class="about">${a}</p>`).join('\n')}
<nav aria-label="Sections"><ul>${sections.map((s) => `<li><a href="#${s.id}">${escape(s.title)}</a></li>`).join('')}</ul></nav></header>
<main id="main" tabindex="-1">
${notes.length > 0 ? `<div class="note" role="note" aria-label="Notes"><ul>${notes.map((n) => `<li>${escape(n)}</li>`).join('')}</ul></div>` : ''}
${sections.map((s) => `<section aria-labelledby="s-${s.id}" id="${s.id}"><h2 id="s-${s.id}">${escape(s.title)}</h2>\n${s.html}</section>`).join('\n')}
</main>
<footer class="small"><p>Point at a plot, or focus it and use the arrow keys, to read its values; “Values” below each holds them as a table.</p></footer>
<div id="say" class="hidden" role="status" aria-live="polite"></div>
<script>${SCRIPT}</script></body></html>
`;
}
