'use strict';

// docs/benchmarks.md, which has a table for each benchmark, with words about it before and after.

const fs = require('node:fs');
const path = require('node:path');

const PAGE = path.join(__dirname, '..', 'docs', 'benchmarks.md');

/** Every module here but these. */
const NAMES = fs
  .readdirSync(__dirname)
  .filter((file) => file.endsWith('.js') && !['index.js', 'page.js'].includes(file))
  .map((file) => path.basename(file, '.js'));

/** The page with this table in the place of the first one after the words that tell how to run it. */
function withTable(page, name, table) {
  const start = page.indexOf(`\`npm run bench -- ${name}\`.`);
  const old = start === -1 ? null : /(?:^\|.*\n)+/m.exec(page.slice(start));
  if (!old) throw new Error(`docs/benchmarks.md has no table of ${name}`);
  const at = start + old.index;
  return page.slice(0, at) + table + page.slice(at + old[0].length);
}

module.exports = { NAMES, PAGE, withTable };
