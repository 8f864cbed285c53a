'use strict';

// Rows of whatsapp_sessions as a host could have left them, seen from JavaScript. What the stores
// make of them is in fuzz/src/sessions.rs and tests/postgres/leftovers.rs.

const { KINDS, freshDatabase, guardsOn } = require('./support/databases');
const { QUICK, until } = require('./support/reconnect');

describe.each(KINDS)('rows of a host on %s', (kind) => {
  let database;
  let guard;

  beforeEach(async () => {
    database = await freshDatabase(kind);
    guard = guardsOn(database)();
  });

  const leave = (agentId, { lastConnected = null, sql = '$1' } = {}) =>
    database.query(
      `INSERT INTO whatsapp_sessions (agent_id, is_active, status, last_connected, updated_at)
       VALUES (${sql}, true, 'connected', $2, $2)`,
      [agentId, lastConnected],
    );

  test('a moment that no Date holds is none, and hides no other row', async () => {
    const never = kind === 'postgres' ? 'infinity' : '9e999';
    await leave('never', { lastConnected: never });
    await leave('late', { lastConnected: kind === 'postgres' ? '294276-01-01' : 2 ** 60 });
    await leave('sound', { lastConnected: '2024-01-25T08:00:00.000Z' });
    const at = Object.fromEntries(
      (await guard.listSessions()).map(({ agentId, lastConnected }) => [agentId, lastConnected]),
    );
    expect(at).toEqual({ never: null, late: null, sound: new Date('2024-01-25T08:00:00.000Z') });
    const scheduler = guard.createReconnectScheduler({ connect() {} });
    const inactive = await scheduler.listInactive({ olderThanMs: 1 });
    expect(inactive.map(({ agentId }) => agentId).sort()).toEqual(['late', 'never', 'sound']);
  });

  test('agents that nobody can claim are named, and keep no other from being resumed', async () => {
    const odd = ['', 'x'.repeat(300)];
    for (const agentId of odd) await leave(agentId);
    if (kind === 'sqlite') {
      await leave('61ff', { sql: "CAST(X'61ff' AS TEXT) || substr($1, 1, 0)" });
      odd.push('a\ufffd');
    }
    await leave('sound');
    const named = [];
    guard.on('trouble', ({ what, error }) => named.push({ what, code: error.code }));
    guard.startHeartbeat();
    const connected = [];
    const scheduler = guard.createReconnectScheduler({
      ...QUICK,
      connect(agentId) {
        connected.push(agentId);
        scheduler.connected(agentId);
      },
    });
    const { taken, left } = await scheduler.resumeAll();
    expect({ connected, taken, left }).toEqual({ connected: ['sound'], taken: 1, left: 0 });
    await until(() => named.length >= odd.length);
    expect(named.sort((a, b) => (a.what < b.what ? -1 : 1))).toEqual(
      odd
        .map((id) => ({ what: `cannot resume agent ${id}`, code: 'ERR_INVALID_ARGUMENT' }))
        .sort((a, b) => (a.what < b.what ? -1 : 1)),
    );
  });

  test('session_data that holds no credentials is told, and imports nothing', async () => {
    const claim = await guard.claimInstance('agent');
    const hold = (json) => database.query('UPDATE whatsapp_sessions SET session_data = $1', [json]);
    for (const json of ['7', '"text"', '[]', '{"creds": 7}', '{"creds": [1]}']) {
      await hold(json);
      await expect(guard.importAuthState(claim)).rejects.toMatchObject({
        code: 'ERR_NOTHING_TO_IMPORT',
      });
    }
    if (kind === 'sqlite') {
      await hold('{"half');
      await expect(guard.importAuthState(claim)).rejects.toMatchObject({
        code: 'ERR_MALFORMED_ENVELOPE',
        agentId: 'agent',
        message: expect.stringContaining('session_data is not JSON'),
      });
    }
  });
});
