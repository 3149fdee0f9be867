#!/usr/bin/env node
import { existsSync } from 'node:fs';
const main = new URL('../dist/src/cli/main.js', import.meta.url);
if (!existsSync(main)) {
  console.error('edpo: this checkout is not built\nhint: npm ci (or npm run build)');
  process.exit(2);
}
await import(main.href);
