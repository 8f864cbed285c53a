'use strict';

// A PgBouncer in front of the tests' PostgreSQL: that of the system, else the one of its package.
//
//   describeWithPgBouncer('through a pooler', () => {
//     test('…', async () => {
//       const bouncer = await startPgBouncer({ poolSize: 3 });
//       createGuard({ databaseUrl: bouncer.through(database.url) });

const fs = require('node:fs');
const path = require('node:path');
const { Client } = require('pg');

const { defer } = require('./cleanup');
const { findPackage, onPath } = require('./debian-package');
const { ServerProcess, serverFolder, giveAway, onFreePort } = require('./server-process');

/** @returns {{ command: string, missing?: undefined } | { folder: string, missing?: undefined } | { missing: string }} */
function findPgBouncer() {
  const command = onPath('pgbouncer');
  // The libraries that a base system lacks; the others every Debian has.
  return command ? { command } : findPackage('pgbouncer', /\blib(?:event|c-ares)[\w.-]+/g);
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
function startPgBouncer(options) {
  return onFreePort((port) => startOn(port, options));
}

async function startOn(
  port,
  {
    server = process.env.TEST_DATABASE_URL,
    poolSize = 3,
    poolMode = 'transaction',
    settings = {},
  } = {},
) {
  const folder = serverFolder('pgbouncer');
  const remove = defer(() => fs.rmSync(folder, { recursive: true, force: true }));
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

/**
 * For the Rust tests, which find it in the environment.
 *
 * @returns {Promise<string | undefined>} why there is none
 */
async function providePooler() {
  if (process.env.TEST_PGBOUNCER_URL) return undefined;
  const { missing } = findPgBouncer();
  if (missing !== undefined) return missing;
  const bouncer = await startPgBouncer({ poolSize: 3 });
  process.env.TEST_PGBOUNCER_URL = bouncer.through(process.env.TEST_DATABASE_URL);
  return undefined;
}

module.exports = { describeWithPgBouncer, providePooler, startPgBouncer };
