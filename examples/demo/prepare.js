'use strict';

/** Makes a fresh clone ready for the demo: installs and builds what is missing, and says so. */

const { spawnSync } = require('node:child_process');
const { createRequire } = require('node:module');
const path = require('node:path');

const ROOT = path.join(__dirname, '..', '..');
const NEEDED = ['baileys', 'express', 'qrcode', 'ws'];

function isInstalled(name) {
  try {
    createRequire(path.join(ROOT, 'index.js')).resolve(name);
    return true;
  } catch {
    return false;
  }
}

/** What loading the native binary says; null when it works. Asked in a process of its own. */
function bindingProblem() {
  const args = ['-e', "require('baileys-guard')"];
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
  return status === 0 ? null : stderr;
}

function npm(...args) {
  console.log(`\n$ npm ${args.join(' ')}`);
  const shell = process.platform === 'win32'; // npm is a script there
  const { status } = spawnSync('npm', args, { cwd: ROOT, stdio: 'inherit', shell });
  if (status !== 0) throw new Error(`npm ${args.join(' ')} failed; its output is above`);
}

function prepare() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new Error(
      `the demo needs Node 20.19 or newer for Baileys; this is ${process.versions.node}`,
    );
  }
  if (!NEEDED.every(isInstalled)) {
    console.log('Dependencies are missing; installing them.');
    npm('install', '--include=dev');
  }
  if (bindingProblem()) {
    console.log('The native binary is missing; building it, which takes a few minutes once.');
    npm('run', 'build');
  }
  const problem = bindingProblem();
  if (problem) throw new Error(`the native binary cannot be loaded:\n${problem}`);
}

module.exports = { prepare };
