'use strict';

// What a page shows of the reference backend: every session, here and elsewhere, as it changes.

const { spawnEndpoint } = require('../examples/whatsapp-endpoint');
const { startChild } = require('./support/child');
const { defer } = require('./support/cleanup');
const { KINDS, freshDatabase } = require('./support/databases');

describe.each(KINDS)('the list of sessions on %s', (kind) => {
  test('tells of each change here; of others what their rows say', async () => {
    const database = await freshDatabase(kind, { migrated: false });
    const endpoint = await spawnEndpoint();
    defer(() => endpoint.close());
    const start = async (name) => {
      const env = {
        DATABASE_URL: database.url,
        INSTANCE_ID: name,
        WA_WEBSOCKET_URL: endpoint.url,
      };
      const child = await startChild('backend-service.js', { env });
      await child.call('start');
      return child;
    };
    const a = await start('A');
    const b = await start('B');
    /** The list with the first change after which the only session is like that. */
    const changed = async (status, more = () => true) => {
      const is = (list) => list.length === 1 && list[0].status === status && more(list[0]);
      return (await a.event('sessions', { where: is }))[0];
    };

    expect(await a.call('list')).toEqual([]);
    const answer = await a.call('init', 'agent-1', { userId: 'user-1' });
    const owner = {
      instanceId: 'A',
      hostname: expect.any(String),
      pid: a.pid,
      heartbeatAgeMs: expect.any(Number),
    };
    const blank = {
      agentId: 'agent-1',
      userId: 'user-1',
      phoneNumber: null,
      isActive: false,
      mine: true,
      owner,
      qrCode: null,
      attempts: 1,
      nextTryInMs: null,
      reason: null,
      lastConnected: null,
    };
    const { qrCode, ...pending } = await changed('qr_pending');
    expect({ qrCode: null, ...pending }).toEqual({ ...blank, status: 'qr_pending' });
    expect([qrCode, null]).toContain(answer.qrCode); // the answer does not wait for it for long

    const { jid } = await endpoint.scan(qrCode);
    const phoneNumber = jid.split(':')[0];
    const up = { ...blank, status: 'connected', isActive: true, phoneNumber, attempts: 0 };
    const first = await changed('connected');
    expect(first).toEqual({ ...up, lastConnected: expect.any(String) });

    // The other one knows what the row says, and has no attempts and QR codes to tell of.
    const [elsewhere] = await b.call('list');
    expect(elsewhere).toMatchObject({ mine: false, owner, qrCode: null, attempts: null });

    await endpoint.fail('failure', { jid, code: 405 });
    await endpoint.fail('drop', { jid });
    const waiting = await changed('error');
    expect(waiting).toMatchObject({ mine: true, owner, reason: expect.stringMatching(/^405/) });
    expect(waiting.nextTryInMs).toBeGreaterThan(20_000);
    await endpoint.heal();

    await a.call('init', 'agent-1');
    const isAgain = ({ lastConnected }) => lastConnected > first.lastConnected;
    expect(await changed('connected', isAgain)).toMatchObject({ reason: null });
    await endpoint.fail('conflict', { jid });
    const beaten = await changed('conflict', (one) => one.owner === null);
    expect(beaten).toMatchObject({ isActive: true, mine: false, qrCode: null });
    expect(beaten.reason).toMatch(/^440/);
    expect(beaten.nextTryInMs).toBeGreaterThan(20_000);

    // It is taken over there: what has ended here is not shown for what runs there.
    await b.call('init', 'agent-1');
    const [there] = await a.call('list');
    expect(there).toMatchObject({ mine: false, reason: null, owner: { instanceId: 'B' } });
    await b.call('disconnect', 'agent-1', {});
    expect(await b.call('list')).toMatchObject([
      { status: 'disconnected', isActive: false, owner: null, reason: null },
    ]);

    // Who is killed while its QR code is shown leaves a row that says so, and nobody to scan for.
    await b.call('init', 'agent-2', { userId: 'user-1' });
    await b.kill('SIGKILL');
    const second = async () => (await a.call('list')).find((one) => one.agentId === 'agent-2');
    let left = await second();
    while (left.owner) left = await second();
    expect(left).toMatchObject({ status: 'disconnected', isActive: false });
    await a.call('stop');
  });
});
