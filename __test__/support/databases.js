'use strict';

// Both databases for the same tests: `describe.each(KINDS)`, `await freshDatabase(kind)`.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { startChild } = require('./child');
const { defer } = require('./cleanup');
const { createDatabase } = require('./postgres');

const KINDS = ['sqlite', 'postgres'];

/** An empty folder, removed when the test file is through. */
function temporaryFolder() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-guard-test-'));
  defer(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** An SQLite file with the same face as the PostgreSQL database of `postgres.js`. */
class SqliteDatabase {
  #shell;

  constructor(file) {
    this.file = file;
    this.url = `sqlite:${file}`;
  }

  /** For looking into it past the guard; `$1` parameters as PostgreSQL has them. */
  async query(sql, values = []) {
    this.#shell ??= startChild('sqlite.js', { args: [this.file] });
    return (await this.#shell).call('query', sql, values);
  }
}

/** A database of its own; migrated unless told otherwise. */
async function freshDatabase(kind, { migrated = true } = {}) {
  if (kind === 'postgres') return createDatabase(migrated ? { template: 'migrated' } : {});
  const database = new SqliteDatabase(path.join(temporaryFolder(), 'guard.db'));
  if (migrated) {
    const { createGuard } = require('../..');
    const guard = createGuard({ databaseUrl: database.url, logger: SILENT });
    await guard.migrate();
    await guard.shutdown();
  }
  return database;
}

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

/** A logger that keeps what it was told. */
function recordingLogger() {
  const lines = [];
  const keep =
    (level) =>
    (...args) =>
      lines.push({ level, text: args.join(' ') });
  return {
    lines,
    debug: keep('debug'),
    info: keep('info'),
    warn: keep('warn'),
    error: keep('error'),
  };
}

/** Guards that end with the test file. */
function guardsOn(database, defaults = {}) {
  const { createGuard } = require('../..');
  return (options) => {
    const guard = createGuard({
      databaseUrl: database.url,
      logger: SILENT,
      ...defaults,
      ...options,
    });
    defer(() => guard.shutdown({ timeoutMs: 2000 }));
    return guard;
  };
}

/** Resolves with the reason when a claim's signal aborts; fails after a while. */
function lossOf(claim, timeoutMs = 10_000) {
  return new Promise((resolve, reject) => {
    if (claim.signal.aborted) return resolve(claim.signal.reason);
    const timer = setTimeout(() => reject(new Error(`no loss within ${timeoutMs} ms`)), timeoutMs);
    claim.signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve(claim.signal.reason);
    });
  });
}

/**
 * Claims for a time so short that it may be over before the answer is there, on a busy machine; then
 * the claim is asked for once more.
 */
async function claimBriefly(guard, agentId) {
  for (;;) {
    try {
      return await guard.claimInstance(agentId);
    } catch (error) {
      if (error.reason !== 'expired') throw error;
    }
  }
}

/**
 * Freezes a process, but not in the middle of a write: on SQLite it would keep the file locked
 * until it thaws, and nobody could take over.
 */
async function freeze(child, database) {
  for (;;) {
    child.kill('SIGSTOP');
    try {
      await database.query("UPDATE baileys_guard_lease SET held = held WHERE agent_id = ''");
      return;
    } catch (error) {
      if (!/locked|busy/i.test(error.message)) throw error;
      child.kill('SIGCONT');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

module.exports = {
  KINDS,
  claimBriefly,
  freeze,
  SILENT,
  freshDatabase,
  guardsOn,
  lossOf,
  recordingLogger,
  temporaryFolder,
};
