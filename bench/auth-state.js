'use strict';

// The auth state in PostgreSQL, encrypted and fenced, against two that are neither: Baileys' own
// folder of files, and the plain table of one row a key, one query a key, that many have written.

const crypto = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { Pool } = require('pg');

const { createGuard } = require('..');
const { startPostgres } = require('../__test__/support/postgres');

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };
const MESSAGES = 100;
const LOADED = 1000;
const NOTES = {
  table: 'peer: a row and a query a key, plain',
  files: 'peer: files, plain, never synced to the disk',
};

async function table(pool, BufferJSON) {
  await pool.query(
    'CREATE TABLE plain_auth (agent text, key text, value jsonb, PRIMARY KEY (agent, key))',
  );
  const name = (type, id) => `${type}-${id}`;
  return {
    keys: {
      get: async (type, ids) => {
        const found = await Promise.all(
          ids.map(async (id) => {
            const { rows } = await pool.query(
              'SELECT value::text FROM plain_auth WHERE agent = $1 AND key = $2',
              ['agent', name(type, id)],
            );
            return [id, rows[0] && JSON.parse(rows[0].value, BufferJSON.reviver)];
          }),
        );
        return Object.fromEntries(found);
      },
      set: async (data) => {
        const writes = Object.entries(data).flatMap(([type, values]) =>
          Object.entries(values).map(([id, value]) =>
            pool.query(
              `INSERT INTO plain_auth VALUES ($1, $2, $3)
               ON CONFLICT (agent, key) DO UPDATE SET value = EXCLUDED.value`,
              ['agent', name(type, id), JSON.stringify(value, BufferJSON.replacer)],
            ),
          ),
        );
        await Promise.all(writes);
      },
    },
  };
}

/** Milliseconds of one run; the best of a few, since each waits for the disk. */
async function best(runs, action) {
  let least = Infinity;
  for (let run = 0; run < runs; run++) {
    const start = performance.now();
    await action();
    least = Math.min(least, performance.now() - start);
  }
  return least;
}

const folderBytes = (folder) =>
  fs.readdirSync(folder).reduce((sum, file) => sum + fs.statSync(path.join(folder, file)).size, 0);

exports.run = async ({ log }) => {
  const { BufferJSON, Curve, useMultiFileAuthState } = await import('baileys');
  const server = await startPostgres({ settings: { fsync: 'on' } });
  const pool = new Pool({ connectionString: server.url(), max: 5 });
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-guard-bench-'));
  const key = crypto.randomBytes(32).toString('hex');
  const guard = createGuard({ databaseUrl: server.url(), encryptionKey: key, logger: SILENT });
  try {
    await guard.migrate();
    const claim = await guard.claimInstance('agent');
    const plain = await table(pool, BufferJSON);
    const open = {
      ours: async () => (await guard.useGuardedAuthState(claim)).state,
      table: async () => plain,
      files: async () => (await useMultiFileAuthState(folder)).state,
    };
    const pair = Curve.generateKeyPair();
    const preKeys = Object.fromEntries(Array.from({ length: 812 }, (_, id) => [id, pair]));
    const ids = Array.from({ length: LOADED }, (_, id) => `4915100${id}.0`);
    const sessions = Object.fromEntries(ids.map((id) => [id, crypto.randomBytes(1400)]));

    const work = {
      'first login: 812 pre-keys': async (state) =>
        best(5, () => state().then(({ keys }) => keys.set({ 'pre-key': preKeys }))),
      [`a message: get and set one session, of ${MESSAGES}`]: async (state) => {
        const { keys } = await state();
        await keys.set({ session: sessions });
        const time = await best(3, async () => {
          for (const id of ids.slice(0, MESSAGES)) {
            await keys.get('session', [id]);
            await keys.set({ session: { [id]: crypto.randomBytes(1400) } });
          }
        });
        return time / MESSAGES;
      },
      [`loading ${LOADED} keys`]: async (state) =>
        best(5, async () => {
          const { keys } = await state();
          const found = await keys.get('session', ids);
          if (Object.keys(found).length !== LOADED) throw new Error('not all were stored');
        }),
    };

    const rows = [];
    for (const [what, run] of Object.entries(work)) {
      log(what);
      const times = {};
      for (const [side, state] of Object.entries(open)) times[side] = await run(state);
      for (const peer of ['table', 'files']) {
        rows.push({
          what,
          ours: times.ours,
          peer: times[peer],
          ratio: times[peer] / times.ours,
          unit: 'ms',
          note: NOTES[peer],
        });
      }
    }

    const stored = await pool.query(
      `SELECT (SELECT sum(octet_length(value)) FROM baileys_guard_auth) AS ours,
              (SELECT sum(octet_length(value::text)) FROM plain_auth) AS "table"`,
    );
    const ours = Number(stored.rows[0].ours);
    for (const [note, peer] of [
      [NOTES.table, Number(stored.rows[0].table)],
      [NOTES.files, folderBytes(folder)],
    ]) {
      rows.push({ what: 'values stored', ours, peer, ratio: peer / ours, unit: 'bytes', note });
    }
    return rows;
  } finally {
    await guard.shutdown();
    await pool.end();
    fs.rmSync(folder, { recursive: true, force: true });
  }
};
