'use strict';

// `npm run mutants`: do the tests see a protocol that is wrong?
//
// Copies the sources to a folder of its own, and there, one after another, makes the edits of
// mutants/list.js, builds, and runs the one test that has to fail. First that test has to pass on
// the sources as they are. Ends with 1 if a mutant survives or no longer applies.
//
//   npm run mutants -- [word …]     only those whose name or file contains one of the words
//   npm run mutants -- --short      one of each wrong protocol, as part of `.ci/run`
//
// TEST_DATABASE_URL names a PostgreSQL server to test on, as for `npm test`; without it one is started.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { cleanUp, defer } = require('../__test__/support/cleanup');
const { provideServer } = require('../__test__/support/test-server');

const ROOT = path.join(__dirname, '..');
const COPIED = ['src', 'lib', 'tests', '__test__', 'migrations'];
const TARGET = path.join(ROOT, 'target', 'mutants');

const binary = fs.readdirSync(ROOT).find((file) => file.endsWith('.node'));
const LIBRARY = { darwin: 'libbaileys_guard.dylib', win32: 'baileys_guard.dll' };
const library = LIBRARY[process.platform] ?? 'libbaileys_guard.so';

/** A copy of the sources, beside which `node_modules` and the build's results are shared. */
function copySources() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-guard-mutants-'));
  defer(() => fs.rmSync(folder, { recursive: true, force: true }));
  const files = fs.readdirSync(ROOT, { withFileTypes: true }).filter((entry) => entry.isFile());
  for (const name of [...COPIED, ...files.map((file) => file.name)]) {
    fs.cpSync(path.join(ROOT, name), path.join(folder, name), { recursive: true });
  }
  fs.symlinkSync(path.join(ROOT, 'node_modules'), path.join(folder, 'node_modules'), 'junction');
  return folder;
}

/** The dependencies as `cargo test` has compiled them; what is ours is another package in each folder. */
function takeOverDependencies() {
  const [from, to] = [path.join(ROOT, 'target', 'debug'), path.join(TARGET, 'debug')];
  if (!fs.existsSync(from) || fs.existsSync(to)) return;
  const library = /\.(rlib|rmeta|so|dylib|dll|d)$/; // and no programs, which are our tests
  for (const name of ['.fingerprint', 'build', 'deps']) {
    fs.cpSync(path.join(from, name), path.join(to, name), {
      recursive: true,
      preserveTimestamps: true,
      filter: (file) =>
        !/baileys.guard/.test(path.relative(from, file)) &&
        (name !== 'deps' || file.endsWith(name) || library.test(file)),
    });
  }
}

/** A build has as long as a slow machine needs; a test that takes that long hangs. */
const BUILD_MS = 3_600_000;
const TEST_MS = 600_000;

let running;
let interrupted = false;

/** Not `spawnSync`: a server that is started here has to be listened to meanwhile. */
function run(cwd, command, args, timeout = TEST_MS) {
  if (interrupted) throw new Error('interrupted');
  const env = { ...process.env, CARGO_TARGET_DIR: TARGET };
  return new Promise((resolve, reject) => {
    running = spawn(command, args, { cwd, env, timeout });
    let output = '';
    for (const stream of [running.stdout, running.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => (output += text));
    }
    running.on('error', reject);
    running.on('close', (code) => resolve({ ok: code === 0, output }));
  });
}

/** The arguments that name the test target: a file of tests/, or the tests inside the library. */
const targetOf = (name) => (name === 'lib' ? ['--lib'] : ['--test', name]);

/**
 * Builds what the test needs. A mutant that does not compile would be caught by nothing. Building a
 * Rust test makes the library for Node too; `cargo build` would compile all dependencies again,
 * with other features.
 */
async function build(folder, { cargo: [target] = ['conformance_sqlite'] }) {
  const args = ['test', '--locked', '--quiet', '--no-run', ...targetOf(target)];
  const { ok, output } = await run(folder, 'cargo', args, BUILD_MS);
  if (!ok) throw new Error(`it does not build:\n${output}`);
  if (target !== 'lib') {
    fs.copyFileSync(path.join(TARGET, 'debug', 'deps', library), path.join(folder, binary));
  }
}

/** Runs the test, which has to be one that runs. */
async function trial(folder, { cargo, jest }) {
  const { ok, output } = await (cargo
    ? run(folder, 'cargo', ['test', '--locked', '--quiet', ...targetOf(cargo[0]), cargo[1]])
    : run(folder, process.execPath, ['node_modules/jest/bin/jest.js', jest[0], '-t', jest[1]]));
  const ran = cargo ? /[1-9]\d* (passed|failed); \d/ : /Tests:.*[1-9]\d* (passed|failed)/;
  if (!ran.test(output)) throw new Error(`the test did not run:\n${output}`);
  return { ok, output };
}

/** Makes the edit, and returns what takes it back. */
function edit(folder, { file, find, replace }) {
  const place = path.join(folder, file);
  const source = fs.readFileSync(place, 'utf8');
  const times = source.split(find).length - 1;
  if (times !== 1) throw new Error(`no longer applies: found ${times} times in ${file}`);
  fs.writeFileSync(
    place,
    source.replace(find, () => replace),
  );
  return () => fs.writeFileSync(place, source);
}

async function judge(folder, mutant) {
  let undo;
  try {
    undo = edit(folder, mutant);
    await build(folder, mutant.test);
    return (await trial(folder, mutant.test)).ok ? 'SURVIVED' : 'caught';
  } catch (error) {
    return `FAILED: ${error.message}`;
  } finally {
    undo?.();
  }
}

async function main(args) {
  const words = args.filter((arg) => arg !== '--short');
  const wanted = ({ name, file }) => words.some((word) => `${name} ${file}`.includes(word));
  const mutants = require('../mutants/list')
    .filter((mutant) => words.length === 0 || wanted(mutant))
    .filter((mutant) => mutant.short || !args.includes('--short'));
  if (mutants.length === 0) throw new Error(`no mutant is called ${words.join(' or ')}`);
  const folder = copySources();
  takeOverDependencies();
  await provideServer();

  const tests = new Map(mutants.map(({ test }) => [JSON.stringify(test), test]));
  for (const test of tests.values()) {
    await build(folder, test);
    const { ok, output } = await trial(folder, test);
    if (!ok) throw new Error(`fails without a mutant:\n${output}`);
  }
  console.log(`${tests.size} tests pass on the sources as they are.\n`);

  let bad = 0;
  for (const mutant of mutants) {
    if (interrupted) return false;
    const started = performance.now();
    const verdict = await judge(folder, mutant);
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    const test = (mutant.test.cargo ?? mutant.test.jest).join(': ');
    console.log(`${verdict.padEnd(8)}  ${mutant.name}  (${test}, ${seconds} s)`);
    if (verdict !== 'caught') bad += 1;
  }
  console.log(`\n${mutants.length - bad} of ${mutants.length} mutants caught.`);
  return bad === 0;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    interrupted = true;
    running?.kill(signal);
  });
}

main(process.argv.slice(2))
  .catch((error) => {
    console.error(error.message);
    return false;
  })
  .then(async (good) => {
    if (!good) process.exitCode = 1;
    await cleanUp();
  });
