'use strict';

/** The count of conflicts is what proves that ownership works, so it must be neither blind nor nervous. */

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { spawnEndpoint } = require('../examples/whatsapp-endpoint');
const { ClientProcess, pair } = require('./support/whatsapp-clients');

/**
 * Longer than the default: the machine that tests may be busy. Shorter than the 5 s after which the
 * endpoint cuts off a kicked client that does not close.
 */
const ANSWER_WITHIN_MS = 4000;

let endpoint;
let folder;
let first;
let second;
let count = 0;

beforeAll(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'whatsapp-endpoint-'));
  endpoint = await spawnEndpoint({ answerWithinMs: ANSWER_WITHIN_MS });
  [first, second] = await Promise.all([1, 2].map(() => ClientProcess.start(endpoint.url)));
});

afterAll(async () => {
  const errors = await endpoint.events({ type: 'error' });
  await ClientProcess.stopAll();
  await endpoint.close();
  fs.rmSync(folder, { recursive: true });
  expect(errors.map(({ error }) => error)).toEqual([]);
});

/** A device of its own for each test: both processes hold its credentials, it is open in the first. */
async function newDevice() {
  count += 1;
  const name = `device ${count}`;
  const options = { file: path.join(folder, name) };
  const { jid } = await pair(endpoint, first, name, options);
  return {
    name,
    jid,
    async login(client) {
      const after = client.mark();
      await client.connect(name, options);
      return client.next(name, 'open', { after });
    },
    /** The device's counters, once what is known of each kicked socket is final. */
    async seen() {
      for (;;) {
        const { conflictsJudging, lastSeq: since, devices } = await endpoint.stats();
        if (conflictsJudging === 0) {
          const { logins, conflicts, conflictsAnswering: live } = devices[jid];
          return { logins, conflicts, live };
        }
        await endpoint.waitFor((e) => /^(conflict|kicked-dead)$/.test(e.type), { since });
      }
    },
  };
}

afterEach(() => first.kill('SIGCONT')); // a test that failed may have left it frozen

/** How the device's socket in the first process ended, after the 515 of its pairing. */
const kicked = ({ name }) =>
  first.waitFor((e) => e.name === name && e.event === 'close' && e.statusCode !== 515);

const conflictOf = ({ jid }) => endpoint.waitFor((e) => e.type === 'conflict' && e.jid === jid);

test('a second login of a device kicks the first with 440: one conflict, of a live client', async () => {
  const device = await newDevice();
  await device.login(second);
  const { statusCode, message } = await kicked(device);
  expect([statusCode, message]).toEqual([440, 'Stream Errored (conflict)']);
  const conflict = await conflictOf(device);
  expect(conflict.kickedAnswering).toBe(true);
  expect(conflict.answeredAfterMs).toBeLessThan(ANSWER_WITHIN_MS);
  expect(conflict.kicked).toBeLessThan(conflict.conn);
  expect(await device.seen()).toEqual({ logins: 2, conflicts: 1, live: 1 });
  await endpoint.waitFor((e) => e.type === 'close' && e.conn === conflict.kicked);
  expect((await endpoint.stats()).devices[device.jid].online).toBe(true);
});

test('two that fight count one conflict for each time one of them is kicked', async () => {
  const device = await newDevice();
  for (const client of [second, first, second]) {
    const { lastSeq: since } = await endpoint.stats();
    await device.login(client);
    const again = (e) => e.type === 'conflict' && e.jid === device.jid;
    expect(await endpoint.waitFor(again, { since })).toBeTruthy();
  }
  expect(await device.seen()).toEqual({ logins: 4, conflicts: 3, live: 3 });
});

test('a login after the first has ended its socket is no conflict', async () => {
  const device = await newDevice();
  await first.call('end', { name: device.name });
  await device.login(second);
  expect(await device.seen()).toEqual({ logins: 2, conflicts: 0, live: 0 });
});

test('a login while the first is frozen is a conflict, but of a client that did not answer', async () => {
  const device = await newDevice();
  first.kill('SIGSTOP');
  await device.login(second);
  expect(await conflictOf(device)).toMatchObject({ kickedAnswering: false, answeredAfterMs: null });
  expect(await device.seen()).toEqual({ logins: 2, conflicts: 1, live: 0 });

  first.kill('SIGCONT');
  expect((await kicked(device)).statusCode).toBe(440);
});

test('a login while the first hears nothing of the endpoint is a conflict all the same', async () => {
  const device = await newDevice();
  await endpoint.fail('silence', { when: 'now', jid: device.jid });
  await device.login(second);
  expect((await kicked(device)).statusCode).toBe(440);
  expect(await conflictOf(device)).toMatchObject({ kickedAnswering: true });
  expect(await device.seen()).toEqual({ logins: 2, conflicts: 1, live: 1 });
});

test('a login right after the first process was killed is no conflict', async () => {
  const device = await newDevice();
  first.kill('SIGKILL');
  await device.login(second);
  expect(await device.seen()).toEqual({ logins: 2, conflicts: 0, live: 0 });
  await first.stop();
  first = await ClientProcess.start(endpoint.url);
});

test('nor is one while the system still clears a killed process away', async () => {
  const device = await newDevice();
  first.kill('SIGSTOP'); // says nothing any more, but its sockets stand
  await device.login(second);
  first.kill('SIGKILL');
  const dead = await endpoint.waitFor((e) => e.type === 'kicked-dead' && e.jid === device.jid);
  expect(dead.kicked).toBeLessThan(dead.conn);
  expect(await device.seen()).toEqual({ logins: 2, conflicts: 0, live: 0 });
});
