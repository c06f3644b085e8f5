// The table of values in the chart's README, made of the comments in values.yaml: "# -- text" above a
// key explains it. Run it to write the table: node tests/deploy/support/chart-readme.js
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { isMap, isScalar, parseDocument } from 'yaml';

export const CHART = path.join(import.meta.dirname, '../../../helm/itwin-auth-proxy');
const README = path.join(CHART, 'README.md');
const [BEGIN, END] = ['<!-- values: written by tests/deploy/support/chart-readme.js from values.yaml -->', '<!-- end of values -->'];

/** Every value that is explained: its path, its default as JSON, its explanation. */
export function values() {
  const rows = [];
  const collect = (map, prefix, first) => {
    map.items.forEach(({ key, value }, at) => {
      const name = prefix + key.value;
      // The comment of a map's first key belongs to the map.
      const comment = [at === 0 ? first : undefined, key.commentBefore].filter(Boolean).join('\n');
      const text = comment.match(/(?:^|\n) -- ([\s\S]*)$/)?.[1].replace(/\s*\n */g, ' ');
      if (text) rows.push({ name, value: value?.toJSON() ?? null, text });
      else if (isMap(value)) collect(value, `${name}.`, value.commentBefore);
      else rows.push({ name, value: isScalar(value) ? value.value : value?.toJSON(), text: undefined });
    });
  };
  const document = parseDocument(readFileSync(path.join(CHART, 'values.yaml'), 'utf8'));
  collect(document.contents, '', document.commentBefore ?? document.contents.commentBefore);
  return rows;
}

/** The README as it should be. */
export function readme() {
  const now = readFileSync(README, 'utf8');
  const [before, after] = [now.split(BEGIN)[0], now.split(END)[1]];
  const cell = (text) => text.replaceAll('|', '\\|');
  const rows = values().map(({ name, value, text }) => `| \`${name}\` | \`${cell(JSON.stringify(value))}\` | ${cell(text ?? '')} |`);
  return `${before}${BEGIN}\n\n| value | default | meaning |\n| --- | --- | --- |\n${rows.join('\n')}\n\n${END}${after}`;
}

if (process.argv[1] === import.meta.filename) writeFileSync(README, readme());
