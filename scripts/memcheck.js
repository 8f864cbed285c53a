'use strict';

// `npm run soak:memcheck`: the native part under tools that see every access to memory.
//
//   rust      Rust tests, compiled with AddressSanitizer, leaks at the end included
//   addon     `npm run soak -- --calls`, the addon compiled with AddressSanitizer, in Node
//   valgrind  Rust tests under valgrind, which sees into SQLite, too: C that rustc does not compile
//
//   npm run soak:memcheck -- [rust] [addon] [valgrind]    only these
//
// What the machine has no tool for is named and left out, unless it was asked for. Ends with 1 when
// something was found, and when nothing could be run.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { errorIn, leakedByCalls } = require('../soak/leaks');

const ROOT = path.join(__dirname, '..');
/** Apart from other builds: with the flag everything is compiled anew. */
const TARGET = path.join(ROOT, 'target', 'asan');
const CALLS = 200;
/** Of where something was allocated; the rest is Node's own. */
const FRAMES = 12;

/** What to test: all that needs no server. */
const RUST = [
  '--lib',
  '--test',
  'conformance_sqlite',
  '--test',
  'store_sqlite',
  '--test',
  'fuzzed',
];
/** It reads all memory of its process; with AddressSanitizer that is terabytes of shadow. */
const NOT_WITH_ASAN = ['--skip', 'a_dropped_ring_leaves_no_key_on_the_heap'];

function output(command, args) {
  const { status, stdout } = spawnSync(command, args, { cwd: ROOT, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

/** Runs a program that shows what it does; true when it ends well. */
function run(command, args, env) {
  console.log(`\n$ ${command} ${args.join(' ')}`);
  const options = { cwd: ROOT, stdio: 'inherit', env: { ...process.env, ...env } };
  const { status, error } = spawnSync(command, args, options);
  if (error) throw error;
  return status === 0;
}

const host = () => /^host: (.*)$/m.exec(output('rustc', ['-vV']) ?? '')?.[1];

/** AddressSanitizer's part for the linker, which comes with a toolchain or not. */
function withoutSanitizer() {
  if (process.platform !== 'linux') return 'leaks are only found on Linux';
  const libraries = output('rustc', ['--print', 'target-libdir']);
  if (libraries === undefined) return 'there is no rustc';
  const found = fs.readdirSync(libraries).some((name) => /^librustc-.*_rt\.asan\.a$/.test(name));
  return found ? undefined : `rustc has no AddressSanitizer for ${host()}`;
}

/** GCC's, to be there before Node is: an addon cannot bring its own. */
function preload() {
  const file = output('gcc', ['-print-file-name=libasan.so']);
  return file && path.isAbsolute(file) ? file : undefined;
}

/** A stable compiler has the sanitizers, too; it asks to be told that one knows. */
const cargo = (args) =>
  run('cargo', ['test', '--locked', '--target', host(), ...args], {
    RUSTC_BOOTSTRAP: '1',
    RUSTFLAGS: '-Zsanitizer=address',
    CARGO_TARGET_DIR: TARGET,
    ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1',
  });

function rust() {
  return cargo([...RUST, '--', ...NOT_WITH_ASAN]) ? [] : ['the Rust tests fail, see above'];
}

function addon() {
  // A test of the library's makes the library for Node, too.
  if (!cargo(['--no-run', '--test', 'conformance_sqlite'])) return ['it does not build'];
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-guard-memcheck-'));
  const file = path.join(folder, 'sanitized.node');
  const built = path.join(TARGET, host(), 'debug', 'deps', 'libbaileys_guard.so');
  fs.copyFileSync(built, file);
  try {
    return ['sqlite', 'module'].flatMap((place) => soaked(file, place));
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** What the calls of one place do wrong. */
function soaked(file, place) {
  const log = path.join(path.dirname(file), place);
  const args = ['--expose-gc', 'soak/index.js', '--calls', String(CALLS), '--on', place];
  const ended = run(process.execPath, args, {
    NAPI_RS_NATIVE_LIBRARY_PATH: file,
    LD_PRELOAD: preload(),
    // What Node itself leaks is for us to tell apart, so leaks change no exit code.
    ASAN_OPTIONS: `detect_leaks=1:log_path=${log}:handle_segv=0`,
    LSAN_OPTIONS: 'exitcode=0',
  });
  const reports = fs
    .readdirSync(path.dirname(file))
    .filter((name) => name.startsWith(`${place}.`))
    .map((name) => fs.readFileSync(path.join(path.dirname(file), name), 'utf8'));
  for (const report of reports) console.log(/^SUMMARY: .*$/m.exec(report)?.[0] ?? report);
  const problems = reports.flatMap((report) => [
    ...[errorIn(report)].filter(Boolean),
    ...leakedByCalls(report, { addon: path.basename(file), calls: CALLS / 2 }).map(
      ({ bytes, objects, frames }) =>
        [`${bytes} bytes in ${objects} objects, from`, ...frames.slice(0, FRAMES)].join('\n    '),
    ),
  ]);
  return ended ? problems : [...problems, `the calls on ${place} do not end well, see above`];
}

const VALGRIND = [
  'valgrind',
  '--quiet',
  '--leak-check=full',
  '--show-leak-kinds=definite,indirect',
  // "Possible" ones are the threads of a runtime that lives until the process ends.
  '--errors-for-leak-kinds=definite,indirect',
  '--error-exitcode=99',
];

/** Its writers wait for each other; thirty times as slow, some wait longer than they may. */
const NOT_WITH_VALGRIND = ['--skip', 'calls_with_many_keys_in_any_order_never_stop_each_other'];

function valgrind() {
  const runner = `CARGO_TARGET_${host().toUpperCase().replaceAll('-', '_')}_RUNNER`;
  const tests = ['--test', 'conformance_sqlite', '--', '--test-threads', '1'];
  const args = ['test', '--locked', ...tests, ...NOT_WITH_VALGRIND];
  return run('cargo', args, { [runner]: VALGRIND.join(' ') }) ? [] : ['errors, see above'];
}

const CHECKS = {
  rust: { check: rust, lacks: withoutSanitizer },
  addon: {
    check: addon,
    lacks: () => withoutSanitizer() ?? (preload() ? undefined : 'gcc with libasan is not there'),
  },
  valgrind: {
    check: valgrind,
    lacks: () => (output('valgrind', ['--version']) ? undefined : 'valgrind is not there'),
  },
};

function main(wanted) {
  const stranger = wanted.find((name) => !(name in CHECKS));
  if (stranger) throw new Error(`${stranger} is none of ${Object.keys(CHECKS).join(', ')}`);
  const results = [];
  for (const name of wanted.length > 0 ? wanted : Object.keys(CHECKS)) {
    const { check, lacks } = CHECKS[name];
    const without = lacks();
    results.push({ name, without, problems: without ? [] : check() });
  }
  console.log();
  for (const { name, without, problems } of results) {
    const found = problems.length > 0 ? problems.join('\n  ') : 'nothing found';
    console.log(without ? `SKIPPED: ${name}, because ${without}` : `${name}: ${found}`);
  }
  const ran = results.filter(({ without }) => !without);
  const missed = wanted.length > 0 && ran.length < results.length;
  const bad = missed || ran.length === 0 || ran.some(({ problems }) => problems.length > 0);
  process.exitCode = bad ? 1 : 0;
}

main(process.argv.slice(2));
