'use strict';

/** The count of conflicts is what proves that ownership works, so it must be neither blind nor nervous. */

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { spawnEndpoint } = require('../examples/whatsapp-endpoint');
const { ClientProcess, pair } = require('./support/whatsapp-clients');

jest.setTimeout(30_000);

let endpoint;
let folder;
let count = 0;

beforeAll(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'whatsapp-endpoint-'));
  endpoint = await spawnEndpoint();
});

afterEach(() => ClientProcess.stopAll());

afterAll(async () => {
  const errors = await endpoint.events({ type: 'error' });
  await endpoint.close();
  fs.rmSync(folder, { recursive: true });
  expect(errors.map(({ error }) => error)).toEqual([]);
});

/** Two processes that hold the credentials of one device, which is open in the first. */
async function twoProcesses() {
  const first = await ClientProcess.start(endpoint.url);
  const second = await ClientProcess.start(endpoint.url);
  count += 1;
  const options = { folder: path.join(folder, String(count)) };
  const { jid } = await pair(endpoint, first, 'a', options);
  const login = async (client) => {
    const after = client.mark();
    await client.connect('a', options);
    return client.next('a', 'open', { after });
  };
  const seen = async () => {
    const stats = (await endpoint.stats()).devices[jid];
    return { logins: stats.logins, conflicts: stats.conflicts, live: stats.conflictsAnswering };
  };
  return { first, second, jid, login, seen };
}

test('a second login of a device kicks the first with 440: one conflict, of a live client', async () => {
  const { first, second, jid, login, seen } = await twoProcesses();
  await login(second);
  expect(await first.waitFor((e) => e.statusCode === 440)).toMatchObject({
    event: 'close',
    message: 'Stream Errored (conflict)',
  });
  const conflict = await endpoint.waitFor((e) => e.type === 'conflict' && e.jid === jid);
  expect(conflict).toMatchObject({ kickedAnswering: true });
  expect(conflict.answeredAfterMs).toBeLessThan(1000);
  expect(conflict.kicked).toBeLessThan(conflict.conn);
  expect(await seen()).toEqual({ logins: 2, conflicts: 1, live: 1 });
  await endpoint.waitFor((e) => e.type === 'close' && e.conn === conflict.kicked);
  expect((await endpoint.stats()).devices[jid].online).toBe(true);
});

test('two that fight count one conflict for each time one of them is kicked', async () => {
  const { first, second, jid, login, seen } = await twoProcesses();
  for (const client of [second, first, second]) {
    const { lastSeq: since } = await endpoint.stats();
    await login(client);
    expect(await endpoint.waitFor((e) => e.type === 'conflict' && e.jid === jid, { since })).toBeTruthy();
  }
  expect(await seen()).toEqual({ logins: 4, conflicts: 3, live: 3 });
});

test('a login after the first has ended its socket is no conflict', async () => {
  const { first, second, login, seen } = await twoProcesses();
  await first.call('end', { name: 'a' });
  await login(second);
  expect(await seen()).toEqual({ logins: 2, conflicts: 0, live: 0 });
});

test('a login right after the first process was killed is no conflict', async () => {
  const { first, second, login, seen } = await twoProcesses();
  first.kill('SIGKILL');
  await login(second);
  expect(await seen()).toEqual({ logins: 2, conflicts: 0, live: 0 });
});

test('a login while the first is frozen is a conflict, but of a client that did not answer', async () => {
  const { first, second, jid, login, seen } = await twoProcesses();
  first.kill('SIGSTOP');
  await login(second);
  const conflict = await endpoint.waitFor((e) => e.type === 'conflict' && e.jid === jid);
  expect(conflict).toMatchObject({ kickedAnswering: false, answeredAfterMs: null });
  expect(await seen()).toEqual({ logins: 2, conflicts: 1, live: 0 });

  first.kill('SIGCONT');
  expect((await first.waitFor((e) => e.event === 'close' && e.statusCode !== 515)).statusCode).toBe(440);
});

test('a login while the first hears nothing of the endpoint is a conflict all the same', async () => {
  const { first, second, jid, login, seen } = await twoProcesses();
  await endpoint.fail('silence', { when: 'now', jid });
  await login(second);
  expect((await first.waitFor((e) => e.statusCode === 440)).event).toBe('close');
  expect(await endpoint.waitFor((e) => e.type === 'conflict' && e.jid === jid)).toMatchObject({
    kickedAnswering: true,
  });
  expect(await seen()).toEqual({ logins: 2, conflicts: 1, live: 1 });
});
