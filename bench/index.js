'use strict';

// npm run bench -- [name …] [--json FILE]
//
// Each benchmark is a module with `run(ctx)`. It compares with a peer in the same process and
// run, and gives rows `{ what, ours, peer, ratio, unit, note }`; `ratio` is how many times
// better ours is, below 1 a loss. Figures of one run are for comparing, not for the wall.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { cleanUp } = require('../__test__/support/cleanup');
const { version } = require('../package.json');

const NAMES = fs
  .readdirSync(__dirname)
  .filter((file) => file.endsWith('.js') && file !== 'index.js')
  .map((file) => path.basename(file, '.js'));

function format(value) {
  if (typeof value !== 'number') return value ?? '';
  if (value >= 100) return Math.round(value).toLocaleString('en-US');
  return String(Number(value.toPrecision(3)));
}

function print(name, rows) {
  const columns = ['what', 'ours', 'peer', 'unit', 'ratio', 'note'];
  const cells = [columns, ...rows.map((row) => columns.map((column) => format(row[column])))];
  const widths = columns.map((_, i) => Math.max(...cells.map((row) => String(row[i]).length)));
  console.log(`\n## ${name}\n`);
  cells.forEach((row, n) => {
    console.log(`| ${row.map((cell, i) => String(cell).padEnd(widths[i])).join(' | ')} |`);
    if (n === 0) console.log(`| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`);
  });
}

async function main() {
  const args = process.argv.slice(2);
  const json = args.includes('--json') ? args.splice(args.indexOf('--json'), 2)[1] : undefined;
  const unknown = args.find((name) => !NAMES.includes(name));
  if (unknown) throw new Error(`no benchmark ${unknown}; there are: ${NAMES.join(', ')}`);
  const machine = {
    version,
    node: process.version,
    cpu: os.cpus()[0]?.model,
    cores: os.cpus().length,
    date: new Date().toISOString(),
  };
  console.log(`${machine.cores} cores, ${machine.cpu}, Node ${machine.node}`);
  const results = {};
  for (const name of args.length ? args : NAMES) {
    const rows = await require(`./${name}`).run({ log: (text) => console.error(`  ${text}`) });
    results[name] = rows;
    print(name, rows);
  }
  if (json) fs.writeFileSync(json, `${JSON.stringify({ machine, results }, null, 2)}\n`);
}

main()
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  })
  .finally(() => cleanUp());
