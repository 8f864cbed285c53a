'use strict';

// Makes sure that there is a native binary: npm runs this after an install, and anybody may by
// hand. With a binary that loads, prebuilt or built before, there is nothing to do. Otherwise it
// is built from the sources in the package, which takes Rust and a few minutes.
//
// A build that is not possible fails the install in a checkout of the sources, whose owner wants
// to know. As somebody's dependency it only explains itself: their install has other packages, and
// the first `require` of this one says again what to do.

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { platformName } = require('../lib/platform');

const ROOT = path.join(__dirname, '..');
const isCheckout = fs.existsSync(path.join(ROOT, '__test__')); // a published package has no tests

function run(command, ...args) {
  const shell = process.platform === 'win32'; // npm is a .cmd there
  execFileSync(command, args, { cwd: ROOT, stdio: 'inherit', shell });
}

/** @returns {string | undefined} why the binary does not load */
function whyNot() {
  try {
    // In a process of its own: one that was loaded here could not be replaced.
    execFileSync(process.execPath, ['-e', `require('./lib/native')`], { cwd: ROOT, stdio: 'pipe' });
  } catch (error) {
    return /^\w*Error(?: \[\w+\])?: (.*)$/m.exec(error.stderr)?.[1] ?? String(error.stderr);
  }
}

/** Without the development dependencies: the loader is in the package, only the binary is not. */
function buildWithCargo() {
  const target = fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-guard-build-'));
  try {
    run('cargo', 'build', '--release', '--lib', '--locked', '--target-dir', target);
    const library = ['libbaileys_guard.so', 'libbaileys_guard.dylib', 'baileys_guard.dll']
      .map((name) => path.join(target, 'release', name))
      .find((file) => fs.existsSync(file));
    const binary = path.join(ROOT, `baileys-guard.${platformName()}.node`);
    fs.copyFileSync(library, `${binary}.new`);
    // Renamed into place, never written over: a process that runs on the old one would crash.
    fs.renameSync(`${binary}.new`, binary);
  } finally {
    fs.rmSync(target, { recursive: true, force: true });
  }
}

function main() {
  const missing = whyNot();
  if (missing === undefined) return;
  console.log(`baileys-guard: ${missing}`);
  console.log('baileys-guard: building it; this takes a few minutes');
  try {
    run('cargo', '--version');
  } catch {
    throw new Error('cargo is not to be found; install Rust from https://rustup.rs');
  }
  if (isCheckout && fs.existsSync(path.join(ROOT, 'node_modules', '.bin', 'napi'))) {
    run('npm', 'run', '--silent', 'build');
  } else {
    buildWithCargo();
  }
  const still = whyNot();
  if (still !== undefined) throw new Error(still);
}

try {
  main();
} catch (error) {
  console.error(
    `baileys-guard: no native binary for ${platformName()} could be built: ${error.message}\n` +
      `baileys-guard: when that is put right, run: node ${path.join(__dirname, 'install.js')}`,
  );
  if (isCheckout) process.exitCode = 1;
}
