'use strict';

// PostgreSQL that becomes another one under a guard: read-only, with other columns, deadlocked.

const { guardsOn } = require('./support/databases');
const { createDatabase, withClient } = require('./support/postgres');

/** Runs `action` until it succeeds. */
async function eventually(action, timeoutMs = 10_000) {
  for (const end = Date.now() + timeoutMs; ;) {
    try {
      return await action();
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

test('connections to a server that became read-only are given up for new ones', async () => {
  const database = await createDatabase({ template: 'migrated' });
  const guard = guardsOn(database, { leaseTtlMs: 10_000 })();
  const heartbeat = guard.startHeartbeat();
  const claim = await guard.claimInstance('failed-over');
  await withClient(database.url, async (client) => {
    const set = (value) =>
      client.query(`ALTER DATABASE ${database.name} SET default_transaction_read_only = ${value}`);
    await set('on');
    await client.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = 'baileys-guard'`,
    );
    await eventually(async () => expect(heartbeat.stats().consecutiveFailures).toBeGreaterThan(0));
    await expect(claim.update({ status: 'connected' })).rejects.toMatchObject({
      code: 'ERR_DATABASE_UNAVAILABLE',
    });
    // Connections made from now on may write; those of before still could not.
    await client.query('SET default_transaction_read_only = off');
    await set('off');
  });
  await eventually(() => claim.update({ status: 'connected' }));
  await eventually(async () => expect(heartbeat.stats().consecutiveFailures).toBe(0));
  expect(claim.held).toBe(true);
});

test('a column whose type the host changes is looked up anew', async () => {
  const database = await createDatabase({ template: 'migrated' });
  const guard = guardsOn(database)();
  const claim = await guard.claimInstance('0b6a2b0e-5a5e-4d3c-9d6e-0f4c3f0f7a11');
  await claim.update({ status: 'connecting' });
  await database.query(
    'ALTER TABLE whatsapp_sessions ALTER agent_id TYPE uuid USING agent_id::uuid',
  );
  await eventually(() => claim.update({ status: 'connected' }));
});

test('a write that a deadlock with the host undoes is written again', async () => {
  const database = await createDatabase({ template: 'migrated' });
  const guard = guardsOn(database)();
  const claim = await guard.claimInstance('deadlocked');
  await withClient(database.url, async (client) => {
    await client.query("BEGIN; SET LOCAL deadlock_timeout = '30s'");
    await client.query('SELECT 1 FROM whatsapp_sessions FOR UPDATE');
    const writing = claim.update({ qrCode: 'written' });
    await eventually(async () => {
      const { rows } = await database.query('SELECT 1 FROM pg_locks WHERE NOT granted');
      expect(rows).toHaveLength(1);
    });
    await client.query('SELECT 1 FROM baileys_guard_lease FOR UPDATE'); // until the guard gives in
    await client.query('COMMIT');
    await writing;
  });
  const { rows } = await database.query('SELECT qr_code FROM whatsapp_sessions');
  expect(rows).toEqual([{ qr_code: 'written' }]);
});
