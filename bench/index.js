'use strict';

// npm run bench -- --help
//
// Each benchmark is a module with `run(ctx)`. It compares with a peer in the same process and
// run, and gives rows `{ what, ours, peer, ratio, unit, note }`; `ratio` is how many times
// better ours is, below 1 a loss. Figures of one run are for comparing, not for the wall.

const fs = require('node:fs');
const os = require('node:os');
const { parseArgs } = require('node:util');

const { cleanUp } = require('../__test__/support/cleanup');
const { version } = require('../package.json');
const { NAMES, PAGE, withTable } = require('./page');

const HELP = `npm run bench [-- [name …] [options]]

  --json FILE   also write machine and rows there
  --docs        also put the tables into docs/benchmarks.md, in the place of those that are there; what
                is said about them has to be read again
  --help

There are: ${NAMES.join(', ')}; without a name all of them run.
`;

const OPTIONS = {
  json: { type: 'string' },
  docs: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
};

function format(value) {
  if (typeof value !== 'number') return value ?? '';
  if (value >= 100) return Math.round(value).toLocaleString('en-US');
  return String(Number(value.toPrecision(3)));
}

function table(rows) {
  const columns = ['what', 'ours', 'peer', 'unit', 'ratio', 'note'];
  const cells = [columns, ...rows.map((row) => columns.map((column) => format(row[column])))];
  const widths = columns.map((_, i) => Math.max(...cells.map((row) => String(row[i]).length)));
  const lines = cells.map(
    (row) => `| ${row.map((cell, i) => String(cell).padEnd(widths[i])).join(' | ')} |`,
  );
  lines.splice(1, 0, `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`);
  return `${lines.join('\n')}\n`;
}

async function main() {
  const { values, positionals: names } = parseArgs({ options: OPTIONS, allowPositionals: true });
  if (values.help) return console.log(HELP);
  const unknown = names.find((name) => !NAMES.includes(name));
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
  for (const name of names.length ? names : NAMES) {
    const rows = await require(`./${name}`).run({ log: (text) => console.error(`  ${text}`) });
    results[name] = rows;
    console.log(`\n## ${name}\n\n${table(rows)}`);
    // At once: the next one may take minutes, or fail.
    if (values.docs) {
      fs.writeFileSync(PAGE, withTable(fs.readFileSync(PAGE, 'utf8'), name, table(rows)));
    }
  }
  if (values.json) {
    fs.writeFileSync(values.json, `${JSON.stringify({ machine, results }, null, 2)}\n`);
  }
}

main()
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  })
  .finally(() => cleanUp());
