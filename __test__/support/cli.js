'use strict';

// The command line tool as its users run it: a process of its own. Every run is looked through for
// what it may never show.

const { execFile, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { PassThrough } = require('node:stream');
const { promisify } = require('node:util');

const { defer } = require('./cleanup');
const { KEY_A, KEY_B } = require('./credentials');
const { temporaryFolder } = require('./databases');

const ROOT = path.join(__dirname, '..', '..');
const BIN = path.join(ROOT, 'bin', 'baileys-guard.js');
const PASSWORD = 'a-pass%2Fword-that-nobody-may-see';
const SECRETS = [KEY_A, KEY_B, PASSWORD, decodeURIComponent(PASSWORD)];
const CONFIGURATION = /^(DATABASE_|CREDENTIALS_|INSTANCE_ID|LEASE_TTL)/;

function start(args, env = {}, cwd = ROOT) {
  const own = Object.entries(process.env).filter(([name]) => !CONFIGURATION.test(name));
  const child = spawn(process.execPath, [BIN, ...args], {
    cwd,
    env: { ...Object.fromEntries(own), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  defer(() => child.kill('SIGKILL'));
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr']) {
    child[name].setEncoding('utf8').on('data', (text) => (output[name] += text));
  }
  const ended = once(child, 'close').then(([code]) => {
    for (const secret of SECRETS) expect(output.stdout + output.stderr).not.toContain(secret);
    expect(output.stderr).not.toMatch(/^\s+at /m); // no stacks
    return { code, ...output };
  });
  return { child, output, ended };
}

/** Runs it to its end. With `--json` the answer has the document, too. */
async function cli(args, env, cwd) {
  const result = await start(args, env, cwd).ended;
  return args.includes('--json') ? { ...result, json: JSON.parse(result.stdout) } : result;
}

/** The same with a password in the URL, for which nobody asks. */
function withPassword(url) {
  if (url.startsWith('sqlite:')) return url;
  const changed = new URL(url);
  changed.password = decodeURIComponent(PASSWORD);
  return changed.href;
}

const envOf = (database, key) => ({
  DATABASE_URL: withPassword(database.url),
  ...(key && { CREDENTIALS_ENCRYPTION_KEY: key }),
});

/** A folder of Baileys' own making, with 30 pre-keys. */
async function sampleFolder() {
  const folder = path.join(temporaryFolder(), 'sample');
  const script = path.join(ROOT, '__test__', 'fixtures', 'auth-folder.mjs');
  await promisify(execFile)(process.execPath, [script, folder, '30']);
  return folder;
}

/** What a folder holds, file by file. */
function contents(folder) {
  const read = (name) => [name, JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8'))];
  return Object.fromEntries(fs.readdirSync(folder).sort().map(read));
}

/** Streams of a person at a terminal. */
function terminal() {
  const streams = {};
  const texts = {};
  for (const name of ['stdin', 'stdout', 'stderr']) {
    streams[name] = Object.assign(new PassThrough(), { isTTY: true, columns: 120 });
    texts[name] = '';
    if (name !== 'stdin') {
      streams[name].setEncoding('utf8').on('data', (text) => (texts[name] += text));
    }
  }
  return { ...streams, text: (name) => texts[name] };
}

module.exports = {
  BIN,
  PASSWORD,
  ROOT,
  cli,
  contents,
  envOf,
  sampleFolder,
  start,
  terminal,
};
