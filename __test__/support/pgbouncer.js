'use strict';

// A PgBouncer in front of the tests' PostgreSQL: that of the system, else the one of Debian's or
// Ubuntu's package, unpacked under node_modules/.cache without installing anything.
//
//   describeWithPgBouncer('through a pooler', () => {
//     test('…', async () => {
//       const bouncer = await startPgBouncer({ poolSize: 3 });
//       createGuard({ databaseUrl: bouncer.through(database.url) });

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { Client } = require('pg');

const { defer } = require('./cleanup');
const { ServerProcess, serverFolder, giveAway, freePort } = require('./server-process');

const CACHE = path.join(__dirname, '..', '..', 'node_modules', '.cache', 'baileys-guard');
const UNPACKED = path.join(CACHE, 'pgbouncer');

const quietly = (command, args, options) =>
  execFileSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', ...options });

function onPath(name) {
  const folders = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/sbin', '/sbin'];
  return folders.map((folder) => path.join(folder, name)).find((file) => fs.existsSync(file));
}

/** Unpacks the package, unless an earlier run did. */
function unpack() {
  if (fs.existsSync(UNPACKED)) return;
  fs.mkdirSync(CACHE, { recursive: true });
  const draft = fs.mkdtempSync(path.join(CACHE, 'pgbouncer-'));
  try {
    try {
      download(draft, []);
    } catch {
      download(draft, ownPackageLists(draft)); // this machine's lists are old, or were never made
    }
    for (const file of fs.readdirSync(draft).filter((name) => name.endsWith('.deb'))) {
      quietly('dpkg', ['-x', path.join(draft, file), path.join(draft, 'root')]);
    }
    fs.renameSync(path.join(draft, 'root'), UNPACKED);
  } catch (error) {
    if (!fs.existsSync(UNPACKED)) throw error; // else another process was first
  } finally {
    fs.rmSync(draft, { recursive: true, force: true });
  }
}

function download(folder, options) {
  const about = quietly('apt-cache', [...options, 'show', '--no-all-versions', 'pgbouncer']);
  // The libraries that a base system lacks; the others every Debian has.
  const libraries = about.match(/\blib(?:event|c-ares)[\w.-]+/g) ?? [];
  const names = ['pgbouncer', ...new Set(libraries)];
  quietly('apt-get', [...options, 'download', ...names], { cwd: folder });
}

/** Package lists in a folder of our own, which nobody has to be root for. */
function ownPackageLists(folder) {
  const state = path.join(folder, 'apt');
  fs.mkdirSync(path.join(state, 'lists', 'partial'), { recursive: true });
  const options = [`Dir::State::Lists=${state}/lists`, `Dir::Cache=${state}`].flatMap((option) => [
    '-o',
    option,
  ]);
  quietly('apt-get', [...options, 'update']);
  return options;
}

/** @returns {{ command: string, folder?: string, missing?: undefined } | { missing: string }} */
function findPgBouncer() {
  const command = onPath('pgbouncer');
  if (command) return { command };
  if (!fs.existsSync(UNPACKED) && !(onPath('apt-get') && onPath('dpkg'))) {
    return { missing: 'there is no pgbouncer on this system and no apt-get to fetch it with' };
  }
  try {
    unpack();
    return { folder: UNPACKED };
  } catch (error) {
    // Where it can be had it has to be: a CI that skips these tests proves nothing.
    if (process.env.CI) throw error;
    return { missing: `apt-get could not fetch pgbouncer: ${error.stderr || error.message}` };
  }
}

/** `describe`, or a line that says why these tests are left out. */
function describeWithPgBouncer(title, tests) {
  const { missing } = findPgBouncer();
  if (missing === undefined) return describe(title, tests);
  console.warn(`SKIPPED: ${title}, because ${missing}`);
  return describe.skip(title, tests);
}

/** The program where the server's user can run it, and what it needs to run. */
function program(home) {
  const { command, folder, missing } = findPgBouncer();
  if (missing !== undefined) throw new Error(missing);
  if (command) return { command };
  const root = path.join(home, 'root');
  fs.cpSync(folder, root, { recursive: true, verbatimSymlinks: true });
  const libraries = fs
    .readdirSync(path.join(root, 'usr', 'lib'))
    .map((name) => path.join(root, 'usr', 'lib', name));
  return {
    command: path.join(root, 'usr', 'sbin', 'pgbouncer'),
    env: { LD_LIBRARY_PATH: libraries.join(':') },
  };
}

class PgBouncer {
  constructor(port, process) {
    this.port = port;
    this.process = process;
  }

  /** The same database by way of the pooler. */
  through(databaseUrl) {
    const url = new URL(databaseUrl);
    url.port = this.port;
    return url.href;
  }

  /** A table of its admin console, such as `pools`, `servers` or `stats`. */
  async show(what) {
    const client = new Client({
      connectionString: `postgres://postgres@127.0.0.1:${this.port}/pgbouncer`,
    });
    await client.connect();
    try {
      return (await client.query(`SHOW ${what}`)).rows;
    } finally {
      await client.end();
    }
  }

  get log() {
    return this.process.log;
  }

  async stop() {
    this.process.signal('SIGKILL');
    await this.process.exited;
  }
}

/**
 * Starts one in front of a server; it is stopped when the test file is through.
 *
 * @param {object} [options]
 * @param {string} [options.server] URL of the PostgreSQL behind it; that of the run by default
 * @param {number} [options.poolSize] connections to the server for each database and user
 * @param {'transaction' | 'session'} [options.poolMode]
 * @param {Record<string, string | number>} [options.settings] of pgbouncer.ini
 */
async function startPgBouncer({
  server = process.env.TEST_DATABASE_URL,
  poolSize = 3,
  poolMode = 'transaction',
  settings = {},
} = {}) {
  const folder = serverFolder('pgbouncer');
  const remove = defer(() => fs.rmSync(folder, { recursive: true, force: true }));
  const port = await freePort();
  const { hostname, port: serverPort, username, password } = new URL(server);
  const all = {
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: '',
    auth_type: 'trust',
    auth_file: path.join(folder, 'users.txt'),
    admin_users: 'postgres',
    pool_mode: poolMode,
    default_pool_size: poolSize,
    max_client_conn: 1000,
    ignore_startup_parameters: 'extra_float_digits', // as its documentation has it for many clients
    ...settings,
  };
  const files = {
    'users.txt': `"${decodeURIComponent(username)}" "${decodeURIComponent(password)}"\n`,
    'pgbouncer.ini': [
      '[databases]',
      `* = host=${hostname} port=${serverPort || 5432}`,
      '[pgbouncer]',
      ...Object.entries(all).map(([name, value]) => `${name} = ${value}`),
      '',
    ].join('\n'),
  };
  for (const [name, text] of Object.entries(files)) {
    fs.writeFileSync(path.join(folder, name), text, { mode: 0o600 });
    giveAway(path.join(folder, name));
  }
  const args = [path.join(folder, 'pgbouncer.ini')];
  const bouncer = new PgBouncer(port, new ServerProcess({ ...program(folder), args, folder }));
  bouncer.remove = defer(async () => {
    await bouncer.stop();
    await remove();
  });
  await bouncer.process.said(/process up/);
  return bouncer;
}

module.exports = { describeWithPgBouncer, startPgBouncer };
