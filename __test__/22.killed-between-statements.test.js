'use strict';

// A process killed between any two messages to the database, in the middle of a login, an import or
// a rotation: whoever comes next finds a state to go on with.

const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

const { startChild } = require('./support/child');
const { freshDatabase, guardsOn, temporaryFolder } = require('./support/databases');
const { Fleet } = require('./support/fleet');
const { startProxy } = require('./support/proxy');
const { until } = require('./support/reconnect');

const KEY = crypto.randomBytes(32).toString('hex');
const OTHER_KEY = crypto.randomBytes(32).toString('hex');
const SYNC = Buffer.from([0x53, 0, 0, 0, 4]); // ends what a statement sends
const SIMPLE_QUERY = 0x51;

// A login takes over thirty messages and every kill a login or two: by default every so many'th.
const LOGIN_STEP = process.env.EVERY_STATEMENT ? 1 : 7;

/** Kills `child` in place of the n'th message to the database from now on; tells whether it has. */
function killInPlaceOf(n, child, proxy) {
  let seen = 0;
  proxy.onClientBytes((bytes) => {
    if (bytes[0] !== SIMPLE_QUERY && !bytes.subarray(-SYNC.length).equals(SYNC)) return undefined;
    seen += 1;
    if (seen < n) return undefined;
    if (seen === n) child.kill('SIGKILL');
    return null; // what it sent before it died arrives nowhere
  });
  return () => seen >= n;
}

/** Runs `work` to its end, or to the kill; `true` when it came to its end. */
async function comesToItsEnd(child, killed, work) {
  try {
    await work();
  } catch (error) {
    if (!killed()) throw error;
  } finally {
    child.kill('SIGKILL');
    await child.exited;
  }
  return !killed();
}

/** `false` while the killed process is not known to be dead. */
const rescue = (fleet, instance, agentId) =>
  fleet.pairOne(instance, agentId).then(
    () => true,
    (error) => {
      if (error.code !== 'ERR_AGENT_IN_USE') throw error;
      return false;
    },
  );

const baileys = {
  initAuthCreds: () => ({}),
  proto: { Message: { AppStateSyncKeyData: { fromObject: (value) => value } } },
};

let database;
let proxy;

beforeEach(async () => {
  database = await freshDatabase('postgres');
  proxy = await startProxy(database.url);
});

test('a login', async () => {
  const fleet = await Fleet.start(database, { guard: { leaseTtlMs: 30_000 } });
  const rescuer = await fleet.instance();
  let kills = 0;
  for (let n = 1, ended = false; !ended; n += LOGIN_STEP) {
    const agentId = `killed-at-${n}`;
    const child = await fleet.instance({ databaseUrl: proxy.url });
    const killed = killInPlaceOf(n, child, proxy);
    ended = await comesToItsEnd(child, killed, async () => {
      await fleet.pairOne(child, agentId);
      await child.call('shutdown');
    });
    proxy.onClientBytes(undefined);
    if (!ended) kills += 1;
    // It resumes what was stored, or shows a QR code where nothing was: it always gets online.
    await until(() => rescue(fleet, rescuer, agentId), { timeoutMs: 30_000 });
  }
  expect(kills).toBeGreaterThan(3);
  const { conflicts } = await fleet.judged();
  expect(conflicts).toBe(0);
}, 300_000);

test('an import', async () => {
  const creds = {
    noiseKey: { public: 'of the pairing' },
    me: { id: '49151@s.whatsapp.net' },
    nextPreKeyId: 31,
  };
  const folder = temporaryFolder();
  fs.writeFileSync(path.join(folder, 'creds.json'), JSON.stringify(creds));
  for (let id = 1; id <= 30; id++) {
    fs.writeFileSync(path.join(folder, `pre-key-${id}.json`), JSON.stringify({ id }));
  }
  const guard = guardsOn(database, { encryptionKey: KEY })();
  let kills = 0;
  for (let n = 1, ended = false; !ended; n++) {
    const agentId = `killed-at-${n}`;
    const child = await startChild('auth-worker.js');
    const killed = killInPlaceOf(n, child, proxy);
    ended = await comesToItsEnd(child, killed, async () => {
      await child.call('open', { databaseUrl: proxy.url, encryptionKey: KEY });
      await child.call('import', agentId, { folder });
    });
    if (!ended) kills += 1;
    const claim = await guard.claimInstance(agentId, { waitMs: 30_000 });
    const { rows } = await database.query(
      'SELECT kind, count(*)::int AS count FROM baileys_guard_auth WHERE agent_id = $1 GROUP BY kind',
      [agentId],
    );
    const stored = Object.fromEntries(rows.map(({ kind, count }) => [kind, count]));
    // Credentials come last: with them, everything is there.
    expect([undefined, 30]).toContain(stored['pre-key']);
    if (stored.creds) expect(stored['pre-key']).toBe(30);
    await guard.importAuthState(claim, { folder });
    const { state } = await guard.useGuardedAuthState(claim, { baileys });
    expect(state.creds).toEqual(creds);
    const ids = Array.from({ length: 30 }, (_, index) => String(index + 1));
    expect(Object.keys(await state.keys.get('pre-key', ids))).toHaveLength(30);
  }
  expect(kills).toBeGreaterThan(3);
}, 120_000);

test('a rotation', async () => {
  const old = guardsOn(database, { encryptionKey: KEY })();
  const claim = await old.claimInstance('rotated');
  const { state } = await old.useGuardedAuthState(claim, { baileys });
  const ids = Array.from({ length: 40 }, (_, index) => String(index));
  const values = Object.fromEntries(ids.map((id) => [id, Buffer.from(`value ${id}`)]));
  const keys = { encryptionKey: OTHER_KEY, previousEncryptionKeys: [KEY] };
  const reader = guardsOn(database, keys)();
  let kills = 0;
  for (let n = 1, ended = false; !ended; n++) {
    await state.keys.set({ session: values }); // under the old key again
    const child = await startChild('auth-worker.js');
    const killed = killInPlaceOf(n, child, proxy);
    ended = await comesToItsEnd(child, killed, async () => {
      await child.call('open', { databaseUrl: proxy.url, ...keys });
      await child.call('rotate', { batchSize: 10 });
    });
    if (!ended) kills += 1;
    const { rows } = await database.query(
      "SELECT id, value FROM baileys_guard_auth WHERE agent_id = 'rotated' AND kind = 'session'",
    );
    const opened = rows.map(({ id, value }) => [
      id,
      reader.decryptBytes(value, { agentId: 'rotated', type: 'session', id }),
    ]);
    expect(Object.fromEntries(opened)).toEqual(values);
    const report = await reader.rotateCredentials();
    expect(report.remaining).toEqual({ plain: 0, legacy: 0, previousKey: 0, unreadable: 0 });
  }
  expect(kills).toBeGreaterThan(5);
}, 120_000);
