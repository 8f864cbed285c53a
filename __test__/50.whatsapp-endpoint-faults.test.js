'use strict';

/** What goes wrong on request, and what the real client makes of it: the status codes it documents. */

const { spawnEndpoint } = require('../examples/whatsapp-endpoint');
const { ClientProcess, pair } = require('./support/whatsapp-clients');

let endpoint;
let client;
let linked;

beforeAll(async () => {
  endpoint = await spawnEndpoint();
  client = await ClientProcess.start(endpoint.url);
  linked = await pair(endpoint, client, 'a');
});

afterEach(() => endpoint.heal());

afterAll(async () => {
  const errors = await endpoint.events({ type: 'error' });
  await ClientProcess.stopAll();
  await endpoint.close();
  expect(errors.map(({ error }) => error)).toEqual([]);
});

/** Connects a socket, with what the test is about in place; gives the next event of this kind. */
async function connect(name, event, options) {
  const after = client.mark();
  await client.connect(name, options);
  return client.next(name, event, { after });
}

/** Does something to the endpoint or a socket; gives how socket `name` closed upon it. */
async function closing(name, work) {
  const after = client.mark();
  await work();
  return client.next(name, 'close', { after });
}

const isOpen = () =>
  client.events('a').findLast((e) => /^(open|close)$/.test(e.event)).event === 'open';

const open = async () => isOpen() || connect('a', 'open');

const closed = async () => isOpen() && closing('a', () => client.call('end', { name: 'a' }));

describe('at the login', () => {
  beforeEach(closed);

  test.each([401, 402, 403, 405, 406, 409, 411, 412, 429, 503])('failure %i', async (code) => {
    await endpoint.fail('failure', { code, count: 2 });
    for (let i = 0; i < 2; i++) {
      expect(await connect('a', 'close')).toMatchObject({
        statusCode: code,
        message: 'Connection Failure',
      });
    }
    await connect('a', 'open');
  });

  test('a stream error', async () => {
    await endpoint.fail('stream-error', { when: 'login', code: 500 });
    expect((await connect('a', 'close')).statusCode).toBe(500);
  });

  test('a drop: 428', async () => {
    await endpoint.fail('drop', { when: 'login' });
    expect((await connect('a', 'close')).statusCode).toBe(428);
  });

  test('silence: 408, 5 s after a keep-alive that was not answered', async () => {
    await endpoint.fail('silence', { when: 'login' });
    const config = { keepAliveIntervalMs: 300 };
    expect((await connect('a', 'close', { config })).statusCode).toBe(408);
  });

  test('silence that is healed while the client still waits: it is open', async () => {
    const { id } = await endpoint.fail('silence', { when: 'login' });
    await client.connect('a');
    const after = client.mark();
    expect(await endpoint.waitFor((e) => e.type === 'struck' && e.fault === id)).toBeTruthy();
    await endpoint.heal();
    await client.next('a', 'open', { after });
  });
});

describe('of a socket that is open', () => {
  beforeEach(open);

  test.each([401, 411, 500, 503, 515])('stream error %i', async (code) => {
    const { statusCode } = await closing('a', async () => {
      expect(await endpoint.fail('stream-error', { code })).toMatchObject({ struck: 1 });
    });
    expect(statusCode).toBe(code);
    await connect('a', 'open');
  });

  test('conflict: 440', async () => {
    expect(await closing('a', () => endpoint.fail('conflict'))).toMatchObject({
      statusCode: 440,
      message: 'Stream Errored (conflict)',
    });
    expect((await endpoint.stats()).conflicts).toBe(0); // it was only told so
  });

  test('drop: 428', async () => {
    expect((await closing('a', () => endpoint.fail('drop'))).statusCode).toBe(428);
  });

  test('silence that is healed in time: nothing is lost', async () => {
    const { lastSeq: since } = await endpoint.stats();
    await endpoint.fail('silence', { when: 'now' });
    const to = '491712345678@s.whatsapp.net';
    const sending = client.call('send', { name: 'a', to, text: 'into the silence' });
    const read = (e) => e.type === 'message' && e.text === 'into the silence';
    expect(await endpoint.waitFor(read, { since, timeoutMs: 200 })).toBe(null);
    await endpoint.heal();
    await sending;
    expect(await endpoint.waitFor(read, { since })).toBeTruthy();
  });

  test('silence that goes on: 408', async () => {
    await closed();
    await connect('a', 'open', { config: { keepAliveIntervalMs: 300 } });
    const lost = await closing('a', () => endpoint.fail('silence', { when: 'now' }));
    expect(lost).toMatchObject({ statusCode: 408, message: 'Connection was lost' });
  });
});

test('a connection that opens and drops, again and again', async () => {
  await closed();
  // After the login; until the client says that it is open, it asks for some things more.
  await endpoint.fail('drop', { when: 'open', afterMs: 1500, count: 2 });
  for (let i = 0; i < 2; i++) {
    const dropped = await closing('a', () => connect('a', 'open'));
    expect(dropped.statusCode).toBe(428);
  }
  await connect('a', 'open');
});

describe('before anything was said', () => {
  test('silence: 408 when the client gives up waiting', async () => {
    await endpoint.fail('silence');
    const lost = await connect('b', 'close', { config: { connectTimeoutMs: 300 } });
    expect(lost.statusCode).toBe(408);
  });

  test('drop: 428', async () => {
    await endpoint.fail('drop', { when: 'connect' });
    expect((await connect('b', 'close')).statusCode).toBe(428);
  });

  test.each([401, 403, 429, 503])(
    'HTTP %i on the upgrade: the client tells nothing',
    async (code) => {
      const { refused } = await endpoint.stats();
      await endpoint.fail('http', { code });
      expect((await connect('b', 'refused')).status).toBe(code);
      const told = client.waitFor((e) => e.name === 'b', { after: client.mark(), timeoutMs: 300 });
      await expect(told).rejects.toThrow('no such event');
      expect((await endpoint.stats()).refused).toBe(refused + 1);
    },
  );
});

describe('for one device only', () => {
  beforeEach(open);

  test('the others go on', async () => {
    const other = await pair(endpoint, client, 'other');
    const start = client.mark();
    const failure = await endpoint.fail('failure', { code: 403, jid: other.jid });
    const struck = await closing('other', async () => {
      expect(await endpoint.fail('stream-error', { jid: other.phone })).toMatchObject({
        struck: 1,
      });
    });
    expect(struck.statusCode).toBe(503);
    expect((await connect('other', 'close')).statusCode).toBe(403);
    await endpoint.heal(failure.id);
    await connect('other', 'open');
    const to = `${other.phone}@s.whatsapp.net`;
    await client.call('send', { name: 'a', to, text: 'still here' });
    await client.waitFor((e) => e.name === 'other' && e.text === 'still here', { after: start });
    expect(isOpen()).toBe(true);
  });

  test('an upgrade is refused by the device that the URL names', async () => {
    await endpoint.fail('http', { code: 429, jid: linked.phone });
    const url = `${endpoint.url}/?jid=${linked.phone}`;
    expect(await connect('b', 'refused', { url })).toMatchObject({ status: 429 });
    await connect('c', 'qr');
  });
});

test('a fault is heard of: listed, logged, healed by its id', async () => {
  const { id } = await endpoint.fail('http', { code: 403, count: 3 });
  const { id: second } = await endpoint.fail('failure', { jid: linked.jid });
  expect((await endpoint.stats()).faults).toMatchObject([
    { id, mode: 'http', when: 'upgrade', code: 403, count: 3, struck: 0 },
    { id: second, mode: 'failure', when: 'login', code: 503, count: null, jid: linked.jid },
  ]);
  await endpoint.heal(id);
  expect((await endpoint.stats()).faults).toMatchObject([{ id: second }]);
  expect((await endpoint.events({ type: 'heal' })).at(-1)).toMatchObject({ id });
});

test.each([
  ['nonsense', {}, 'unknown fault nonsense'],
  ['http', { when: 'login' }, 'cannot strike at login'],
  ['drop', { count: 0 }, 'not a positive integer'],
  ['drop', { code: 500 }, 'does not take the code'],
  ['failure', { code: 'x' }, 'does not take the code'],
  ['drop', { afterMs: 5 }, 'afterMs'],
  ['drop', { jid: 'x' }, 'not a phone number or address'],
  ['drop', { times: 1 }, 'unknown option times'],
])('%s %j is refused', async (mode, options, message) => {
  await expect(endpoint.fail(mode, options)).rejects.toThrow(message);
  expect((await endpoint.stats()).faults).toEqual([]);
});
