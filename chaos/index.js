'use strict';

// npm run chaos -- --help

const fs = require('node:fs');
const { parseArgs } = require('node:util');

const { cleanUp } = require('../__test__/support/cleanup');
const { check } = require('./checker');
const { run } = require('./run');

const HELP = `npm run chaos [-- options]

  --minutes N      how long faults strike in each run       10
  --seed N         the first seed; a run can be repeated    1
  --seeds N        how many seeds, one after the other      1
  --agents N       WhatsApp sessions                        40
  --processes N    server processes                         4
  --ttl MS         time to live of claims                   3000
  --beat MS        between two heartbeats                   1000
  --gap MS         between two faults, on average           9000
  --database KIND  sqlite, postgres or both                 both
  --uptime N       per cent that each run has to reach      97
  --naive          also let what an audit recommends (select, then upsert, setInterval) run under
                   the same schedule on PostgreSQL, for comparison
  --quiet          do not tell each fault
  --check FILE     judge the history that a failed run has kept once more, and run nothing

Real processes with real Baileys sockets and an offline WhatsApp are killed, stopped, frozen and
stalled; their database is restarted, cut off and silenced. Ends with a table, one line of JSON, and
exit code 1 if anything happened that must not, or too little of the time somebody was connected.
`;

const OPTIONS = {
  minutes: { type: 'string', default: '10' },
  seed: { type: 'string', default: '1' },
  seeds: { type: 'string', default: '1' },
  agents: { type: 'string', default: '40' },
  processes: { type: 'string', default: '4' },
  ttl: { type: 'string', default: '3000' },
  beat: { type: 'string', default: '1000' },
  gap: { type: 'string', default: '9000' },
  database: { type: 'string', default: 'both' },
  uptime: { type: 'string', default: '97' },
  naive: { type: 'boolean', default: false },
  quiet: { type: 'boolean', default: false },
  check: { type: 'string' },
  help: { type: 'boolean', default: false },
};

function number(values, name, least = Number.MIN_VALUE) {
  const value = Number(values[name]);
  if (!(value >= least)) {
    throw new Error(`--${name} has to be a number ${least === 0 ? 'from 0 on' : 'above 0'}`);
  }
  return value;
}

/** Told one by one up to here; a worker that knows no better has hundreds. */
const TOLD = 20;

function report(results) {
  const columns = ['worker', 'database', 'seed', 'faults', 'claims', 'writes', 'refused'];
  columns.push('uptime', 'all faults counted', 'back after', 'what must not be');
  console.log(`\n| ${columns.join(' | ')} |\n|${' --- |'.repeat(columns.length)}`);
  for (const result of results) {
    const kinds = {};
    for (const { kind } of result.violations) kinds[kind] = (kinds[kind] ?? 0) + 1;
    const cells = [
      result.worker,
      result.database,
      result.seed,
      Object.values(result.faults).reduce((sum, count) => sum + count, 0),
      result.claims,
      result.writes,
      result.refused,
      `${(result.uptime * 100).toFixed(1)} %`,
      `${(result.wholeUptime * 100).toFixed(1)} %`,
      result.backMs === null ? 'never' : `${(result.backMs / 1000).toFixed(1)} s`,
      Object.entries(kinds)
        .map(([kind, count]) => `${kind}: ${count}`)
        .join(', ') || 'nothing',
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
  for (const { worker, database, seed, violations, kept } of results) {
    for (const { kind, agent, what } of violations.slice(0, TOLD)) {
      console.log(`${worker}, ${database}, seed ${seed}: ${kind} ${agent}: ${what}`);
    }
    if (kept) console.log(`${worker}, ${database}, seed ${seed}: its history is in ${kept}`);
  }
  const short = results.map((result) => ({ ...result, violations: result.violations.length }));
  console.log(JSON.stringify(short));
}

async function main() {
  const { values } = parseArgs({ options: OPTIONS });
  if (values.help) return console.log(HELP);
  if (values.check) return judgeAgain(values.check);
  const kinds = values.database === 'both' ? ['sqlite', 'postgres'] : [values.database];
  if (!kinds.every((kind) => ['sqlite', 'postgres'].includes(kind))) {
    throw new Error('--database has to be sqlite, postgres or both');
  }
  const first = number(values, 'seed');
  const uptime = number(values, 'uptime', 0) / 100;
  const results = [];
  for (let seed = first; seed < first + number(values, 'seeds'); seed++) {
    const runs = kinds.map((database) => ({ database, naive: false }));
    if (values.naive) runs.push({ database: 'postgres', naive: true });
    for (const { database, naive } of runs) {
      const how = {
        database,
        naive,
        seed,
        seconds: number(values, 'minutes') * 60,
        agents: number(values, 'agents'),
        processes: number(values, 'processes'),
        ttlMs: number(values, 'ttl'),
        beatMs: number(values, 'beat'),
        gapMs: number(values, 'gap'),
        log: values.quiet ? undefined : (line) => console.error(line),
      };
      results.push(await run(how));
      await cleanUp();
    }
  }
  report(results);
  const ours = results.filter(({ worker }) => worker === 'guard');
  if (ours.some((run) => run.violations.length > 0 || run.uptime < uptime)) process.exitCode = 1;
}

function judgeAgain(file) {
  const { violations, figures } = check(JSON.parse(fs.readFileSync(file, 'utf8')));
  for (const { kind, agent, what } of violations) console.log(`${kind} ${agent}: ${what}`);
  console.log(JSON.stringify(figures));
  if (violations.length > 0) process.exitCode = 1;
}

// Whoever ends it early leaves no process, server or folder behind either.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => cleanUp().finally(() => process.exit(1)));
}

main()
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  })
  .finally(() => cleanUp());
