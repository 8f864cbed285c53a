'use strict';

// docs/adopt.md, followed on a host's database with a session in it: the session comes up without a
// new QR code, and the checks of the guide hold.

const { randomBytes, randomUUID } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

const { Server } = require('../examples/demo/server');
const { defer } = require('./support/cleanup');
const { cli } = require('./support/cli');
const { SILENT, freshDatabase, temporaryFolder } = require('./support/databases');
const { Fleet } = require('./support/fleet');
const { createDatabase } = require('./support/postgres');
const { createGuard } = require('..');

const USER = '00000000-0000-4000-9000-000000000001';

/** As a host has it before any migration of ours, with one that it made itself. */
const HOST_TABLES = `
  CREATE TABLE users (id UUID PRIMARY KEY);
  INSERT INTO users VALUES ('${USER}');
  CREATE TABLE whatsapp_sessions (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id UUID NOT NULL REFERENCES users (id),
    agent_id UUID,
    phone_number VARCHAR(15),
    session_state JSONB,
    is_active BOOLEAN DEFAULT false,
    qr_code TEXT,
    last_connected TIMESTAMP,
    created_at TIMESTAMP DEFAULT now(),
    updated_at TIMESTAMP DEFAULT now(),
    UNIQUE (user_id, phone_number));
  ALTER TABLE whatsapp_sessions
    ADD COLUMN instance_id VARCHAR(255), ADD COLUMN instance_hostname VARCHAR(255),
    ADD COLUMN instance_pid INTEGER, ADD COLUMN instance_started_at TIMESTAMP,
    ADD COLUMN last_heartbeat TIMESTAMP,
    ADD COLUMN status VARCHAR(50) DEFAULT 'disconnected' CHECK (status IN (
      'disconnected', 'connecting', 'qr_pending', 'connected', 'conflict', 'error', 'initializing')),
    ADD COLUMN qr_generated_at TIMESTAMP, ADD COLUMN session_data JSONB`;

/** Pairs a device as a backend of before does; gives the folder `auth_sessions` it leaves. */
async function pairedBefore(agentId) {
  const database = await freshDatabase('sqlite');
  const encryptionKey = randomBytes(32).toString('hex');
  const fleet = await Fleet.start(database, { guard: { encryptionKey } });
  const instance = await fleet.instance();
  await fleet.pairOne(instance, agentId);
  await instance.call('shutdown');
  const guard = createGuard({ databaseUrl: database.url, encryptionKey, logger: SILENT });
  const folders = path.join(temporaryFolder(), 'auth_sessions');
  await guard.exportAuthState(await guard.claimInstance(agentId), path.join(folders, agentId));
  await guard.shutdown();
  return { endpoint: fleet.endpoint, folders };
}

test('an existing session moves in and comes up, and moves on', async () => {
  const agentId = randomUUID();
  const { endpoint, folders } = await pairedBefore(agentId);
  const creds = JSON.parse(fs.readFileSync(path.join(folders, agentId, 'creds.json'), 'utf8'));
  const { pairings } = await endpoint.stats();

  const database = await createDatabase();
  await database.query(HOST_TABLES);
  await database.query(
    `INSERT INTO whatsapp_sessions (user_id, agent_id, phone_number, is_active, status, session_data,
       instance_id, created_at)
     VALUES ($1, $2, NULL, false, 'disconnected', NULL, NULL, now() - interval '1 year'),
            ($1, $2, '4915100000001', true, 'connected', $3, 'a server of before', now())`,
    [USER, agentId, JSON.stringify({ creds })],
  );

  // 1. The database. 4. The sessions that are there.
  const env = {
    DATABASE_URL: database.url,
    CREDENTIALS_ENCRYPTION_KEY: (await cli(['keygen'])).stdout.trim(),
  };
  const migrated = await cli(['migrate', '--json'], env);
  expect(migrated).toMatchObject({ code: 0, json: { duplicates: [{ agentId, rows: 2 }] } });
  const first = await cli(['doctor', '--json'], env);
  expect(first.stdout).toMatch(/plain/);
  const imported = await cli(['import', '--folders', folders, '--json'], env);
  expect(imported).toMatchObject({
    code: 0,
    json: { agents: [{ agentId, paired: true, resumable: true }] },
  });
  expect(await cli(['rotate', '--json'], env)).toMatchObject({
    code: 0,
    json: { remaining: { plain: 0, legacy: 0, previousKey: 0, unreadable: 0 } },
  });
  const { rows: stored } = await database.query(
    'SELECT session_data::text AS data FROM whatsapp_sessions WHERE is_active',
  );
  expect(stored[0].data).not.toContain(creds.noiseKey.private.data);

  // 2, 3 and 5 are the reference backend. 6. See that it holds.
  const start = async (name) => {
    const server = new Server(name, { ...env, WA_WEBSOCKET_URL: endpoint.url });
    defer(() => server.end('SIGKILL'));
    await server.ready;
    return server;
  };
  const a = await start('server-A');
  await a.connected(agentId);
  const b = await start('server-B');
  const guide = `SELECT agent_id, instance_id, instance_hostname, last_heartbeat,
      extract(epoch FROM (now() AT TIME ZONE 'utc') - last_heartbeat) AS age
    FROM whatsapp_sessions WHERE is_active = true`;
  const { rows } = await database.query(guide);
  expect(rows).toEqual([expect.objectContaining({ agent_id: agentId, instance_id: 'server-A' })]);
  expect(Number(rows[0].age)).toBeLessThan(60);
  const refused = await b.call(agentId, 'init-whatsapp', {});
  expect(refused).toMatchObject({
    http: 409,
    error: 'Agent is already in use by another server instance',
  });
  expect(await a.end('SIGTERM')).toBe(0);
  await b.connected(agentId);

  const seen = await endpoint.stats();
  expect(seen).toMatchObject({ pairings, conflicts: 0 }); // nobody scanned again

  // Back.
  await b.end('SIGTERM');
  const out = path.join(temporaryFolder(), 'out');
  expect((await cli(['export', agentId, out], env)).code).toBe(0);
  expect(JSON.parse(fs.readFileSync(path.join(out, 'creds.json'), 'utf8')).noiseKey).toEqual(
    creds.noiseKey,
  );
  expect((await cli(['rollback', '--yes'], env)).code).toBe(0);
  const { rows: left } = await database.query(
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
  );
  expect(left.map((row) => row.table_name)).toEqual(['users', 'whatsapp_sessions']);
}, 120_000);
