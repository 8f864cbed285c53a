'use strict';

// `npm test`: builds what is out of date, starts a PostgreSQL, runs the Rust tests and the jest
// tests against it and SQLite, stops it, and ends with what the runners said.
//
//   npm test -- --rust [arguments of cargo test]
//   npm test -- --js [arguments of jest]
//   npm test -- --no-build [--js …]   on the binary that is there, say of `npm run build:debug`
//
// TEST_DATABASE_URL names another PostgreSQL server to test on; its user has to be a superuser.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { stripVTControlCharacters } = require('node:util');

const { cleanUp, defer } = require('../__test__/support/cleanup');
const { providePooler } = require('../__test__/support/pgbouncer');
const { provideServer } = require('../__test__/support/test-server');

const ROOT = path.join(__dirname, '..');
const FLAGS = ['--rust', '--js', '--no-build'];

const running = new Set();
const skipped = new Set();

/** Runs a program, shows what it writes, and hands every line of it to `listen`. */
function run(command, args, listen = () => {}) {
  // Through a pipe they would write without the colours that a person is used to.
  const colors = process.stdout.isTTY ? { FORCE_COLOR: '1', CARGO_TERM_COLOR: 'always' } : {};
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: ROOT,
      env: { ...process.env, ...colors },
      stdio: ['inherit', 'pipe', 'pipe'],
      shell: process.platform === 'win32', // npm is a .cmd there
    });
    running.add(child);
    for (const name of ['stdout', 'stderr']) {
      let rest = '';
      child[name].setEncoding('utf8').on('data', (text) => {
        process[name].write(text);
        const lines = (rest + text).split('\n');
        rest = lines.pop();
        for (const line of lines.map(stripVTControlCharacters)) {
          if (/^\s*SKIPPED:/.test(line)) skipped.add(line.trim());
          listen(line);
        }
      });
    }
    child.on('error', reject);
    child.on('close', (code, signal) => {
      running.delete(child);
      resolve(signal ? 1 : code);
    });
  });
}

async function build() {
  const code = await run('npm', ['run', '--silent', 'build']);
  if (code !== 0) throw new Error('the native binary could not be built');
}

/** @typedef {{ name: string, passed: number, failed: number, lines: string[] }} Summary */

/** A runner that failed without a failed test (a build, a hook, a crash) counts as one. */
function summary(name, code, { passed, failed }, lines) {
  return { name, passed, failed: code === 0 ? failed : Math.max(failed, 1), lines };
}

/** @returns {Promise<Summary>} */
async function rustTests(args) {
  const without = await providePooler();
  if (without) skipped.add(`SKIPPED: tests/postgres/poolers.rs, because ${without}`);
  const count = { passed: 0, failed: 0 };
  const lines = [];
  const code = await run('cargo', ['test', '--locked', '--no-fail-fast', ...args], (line) => {
    const of = /^\s+(?:Running|Doc-tests) (.+?)(?: \(.*)?$/.exec(line)?.[1];
    if (of) lines.push(of);
    const result = /^test result: .* (\d+) passed; (\d+) failed;/.exec(line);
    if (!result) return;
    lines.push(line);
    count.passed += Number(result[1]);
    count.failed += Number(result[2]);
  });
  return summary('cargo test', code, count, lines);
}

/** @returns {Promise<Summary>} */
async function jestTests(args) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-guard-jest-'));
  defer(() => fs.rmSync(folder, { recursive: true, force: true }));
  const report = path.join(folder, 'report.json');
  const jest = require.resolve('jest/bin/jest');
  const lines = [];
  const code = await run(
    process.execPath,
    [jest, '--json', `--outputFile=${report}`, ...args],
    (line) => {
      if (/^(Test Suites|Tests|Snapshots|Time): /.test(line)) lines.push(line);
    },
  );
  const result = fs.existsSync(report) ? JSON.parse(fs.readFileSync(report)) : {};
  const { numPassedTests: passed = 0, numFailedTests: failed = 0 } = result;
  return summary(
    'jest',
    code,
    { passed, failed: failed + (result.numRuntimeErrorTestSuites ?? 0) },
    lines,
  );
}

async function main(argv) {
  const others = argv.findIndex((arg) => !FLAGS.includes(arg));
  const flags = new Set(others === -1 ? argv : argv.slice(0, others));
  const args = others === -1 ? [] : argv.slice(others);
  const all = !flags.has('--rust') && !flags.has('--js');

  if (!flags.has('--no-build') && (all || flags.has('--js'))) await build();
  await provideServer();
  const summaries = [];
  if (all || flags.has('--rust')) summaries.push(await rustTests(args));
  if (all || flags.has('--js')) summaries.push(await jestTests(args));
  return summaries;
}

function print(summaries) {
  for (const { name, lines } of summaries) console.log(`\n${name}\n  ${lines.join('\n  ')}`);
  if (skipped.size > 0) console.log(`\n${[...skipped].join('\n')}`);
  const total = (what) => summaries.reduce((sum, one) => sum + one[what], 0);
  console.log(`\n${total('passed')} passed, ${total('failed')} failed`);
  return total('failed') === 0;
}

// Ctrl-C reaches the runners by itself; a signal to this process alone is passed on. They end,
// and the rest of this file takes its course: the server is stopped.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    process.exitCode = 1;
    for (const child of running) child.kill(signal);
  });
}

main(process.argv.slice(2))
  .then(print, (error) => {
    console.error(error.message);
    return false;
  })
  .then(async (passed) => {
    if (!passed) process.exitCode = 1;
    await cleanUp();
  });
