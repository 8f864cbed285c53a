'use strict';

// PostgreSQL for tests. `createDatabase()` gives a database of its own on the server that
// `npm test`, or jest's global set-up, has started (TEST_DATABASE_URL); `startPostgres()` gives a
// whole server to those that want to stop it. Both clean up after themselves.

const { randomBytes } = require('node:crypto');
const { Client, Pool } = require('pg');

const { defer } = require('./cleanup');
const { startPostgres } = require('./postgres-server');

// Databases that are made once in a run and copied, which takes 75 ms.
const TEMPLATES = {
  /** As `migrate()` leaves an empty database. */
  async migrated(url) {
    const { createGuard } = require('../..');
    const logger = { debug() {}, info() {}, warn() {}, error() {} };
    const guard = createGuard({ databaseUrl: url, logger });
    await guard.migrate();
    await guard.shutdown();
  },
};

function serverUrl() {
  const url = process.env.TEST_DATABASE_URL;
  if (!url)
    throw new Error('TEST_DATABASE_URL is not set; run the tests by `npm test` or `npx jest`');
  return url;
}

/** All databases of one run begin with this, so that its end can remove what is left of them. */
function prefix() {
  return `baileys_guard_test_${(process.env.TEST_RUN_ID ??= randomBytes(4).toString('hex'))}_`;
}

function urlOf(database) {
  const url = new URL(serverUrl());
  url.pathname = `/${database}`;
  return url.href;
}

/** Runs `use` with a connection of its own. */
async function withClient(url, use) {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** Makes the template once, however many jest workers ask for it at a time. */
async function templateDatabase(name) {
  const prepare = TEMPLATES[name];
  if (!prepare) throw new Error(`no template ${name}; there are ${Object.keys(TEMPLATES)}`);
  const database = `${prefix()}template_${name}`;
  await withClient(serverUrl(), async (client) => {
    await client.query('SELECT pg_advisory_lock(hashtext($1))', [database]);
    const found = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [database]);
    if (found.rowCount > 0) return;
    await client.query(`CREATE DATABASE ${database}_unfinished`);
    await prepare(urlOf(`${database}_unfinished`));
    await client.query(`ALTER DATABASE ${database}_unfinished RENAME TO ${database}`);
  });
  return database;
}

class Database {
  #pool;

  constructor(name) {
    this.name = name;
    this.url = urlOf(name);
    this.drop = defer(async () => {
      await this.#pool?.end();
      await withClient(serverUrl(), (client) =>
        client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`),
      );
    });
  }

  /** For looking into it past the guard. */
  async query(sql, values) {
    this.#pool ??= new Pool({ connectionString: this.url, max: 2 }).on('error', () => {});
    return this.#pool.query(sql, values);
  }
}

/**
 * A new database, dropped when the test file is through.
 *
 * @param {{ template?: keyof typeof TEMPLATES }} [options] empty without a template
 */
async function createDatabase({ template } = {}) {
  const source = template ? await templateDatabase(template) : 'template0';
  const name = prefix() + randomBytes(6).toString('hex');
  await withClient(serverUrl(), (client) =>
    client.query(`CREATE DATABASE ${name} TEMPLATE ${source}`),
  );
  return new Database(name);
}

/** Removes what a run has left on a server that is not its own. */
async function dropDatabases() {
  await withClient(serverUrl(), async (client) => {
    const { rows } = await client.query(
      'SELECT datname FROM pg_database WHERE starts_with(datname, $1)',
      [prefix()],
    );
    for (const { datname } of rows) await client.query(`DROP DATABASE ${datname} WITH (FORCE)`);
  });
}

module.exports = { createDatabase, dropDatabases, startPostgres, withClient };
