'use strict';

// The reference backend's limits: four real processes that share a database, on both databases.

const { randomUUID } = require('node:crypto');

const { Server } = require('../examples/demo/server');
const { spawnEndpoint } = require('../examples/whatsapp-endpoint');
const { startChild } = require('./support/child');
const { defer } = require('./support/cleanup');
const { KINDS, freshDatabase } = require('./support/databases');
const { until } = require('./support/reconnect');

const TOO_MANY_ATTEMPTS = 'Too many WhatsApp connection attempts. Please try again later.';
const TOO_MANY_MESSAGES = 'Too many messages. Please try again later.';
const MINUTE_MS = 60_000;

jest.setTimeout(60_000);

/** POST, as the proxy in front of the servers passes it on for a client at `address`. */
async function post(url, body, { address, user, signal } = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(address && { 'x-forwarded-for': address }),
      ...(user && { 'x-user': user }),
    },
    body: JSON.stringify(body),
    signal: signal ?? AbortSignal.timeout(20_000),
  });
  const retryAfter = response.headers.get('retry-after');
  return {
    http: response.status,
    body: await response.json(),
    retryAfter: retryAfter === null ? null : Number(retryAfter),
  };
}

const refused = (answers) => answers.filter(({ http }) => http === 429);
const passed = (answers) => answers.filter(({ http }) => http !== 429);

let clients = 0;
const someAddress = () => `203.0.113.${++clients}`;

function call(server, agentId, route, body, options) {
  return post(`${server.url}/api/agents/${agentId}/${route}`, body, options);
}

/** Servers on a database of their own; `environments` has one for each. */
async function startBackends(kind, environments) {
  const database = await freshDatabase(kind, { migrated: false });
  const endpoint = await spawnEndpoint();
  defer(() => endpoint.close());
  const servers = environments.map((environment, n) => {
    const server = new Server(`server-${n}`, {
      DATABASE_URL: database.url,
      WA_WEBSOCKET_URL: endpoint.url,
      TRUST_PROXY: '1',
      ...environment,
    });
    defer(() => server.end('SIGKILL'));
    return server;
  });
  await Promise.all(servers.map(({ ready }) => ready));
  return { database, endpoint, servers };
}

describe.each(KINDS)('four backends on %s', (kind) => {
  let database;
  let servers;

  beforeAll(async () => {
    ({ database, servers } = await startBackends(kind, [{}, {}, {}, {}]));
  });

  /** Lets time pass for what is counted: all moments become so much older. */
  async function later(ms) {
    const table = 'baileys_guard_rate_limit';
    if (kind === 'postgres') {
      await database.query(
        `UPDATE ${table} SET at = at - $1::bigint, keep_until = keep_until - $1::bigint,
           log = (SELECT array_agg(moment - $1::bigint ORDER BY n)
                  FROM unnest(log) WITH ORDINALITY AS moments (moment, n))`,
        [ms],
      );
      return;
    }
    const { rows } = await database.query(`SELECT number, hex(log) AS log FROM ${table}`);
    for (const { number, log } of rows) {
      const moments = Buffer.from(log, 'hex');
      for (let at = 0; at < moments.length; at += 8) {
        moments.writeBigInt64LE(moments.readBigInt64LE(at) - BigInt(ms), at);
      }
      await database.query(
        `UPDATE ${table} SET at = at - $1, keep_until = keep_until - $1, log = x'${moments.toString('hex')}'
         WHERE number = $2`,
        [ms, number],
      );
    }
  }

  test('six connection attempts at once, over four processes: five pass', async () => {
    const address = someAddress();
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, n) =>
        call(servers[n % 4], randomUUID(), 'init-whatsapp', {}, { address }),
      ),
    );
    expect(passed(answers).map(({ http }) => http)).toEqual([200, 200, 200, 200, 200]);
    const [sixth] = refused(answers);
    expect(sixth.body).toEqual({ error: TOO_MANY_ATTEMPTS });
    expect(sixth.retryAfter).toBeGreaterThan(14 * 60);
    expect(sixth.retryAfter).toBeLessThanOrEqual(15 * 60);
    for (const { agentId } of passed(answers).map(({ body }) => body)) {
      for (const server of servers) await call(server, agentId, 'disconnect', {});
    }
  });

  test('six at once and one after the other in one process; others are not kept out', async () => {
    const [server] = servers;
    const agentId = randomUUID();
    const attempt = (address) => call(server, agentId, 'init-whatsapp', {}, { address });
    for (const atOnce of [true, false]) {
      const address = someAddress();
      const answers = [];
      for (let n = 0; n < 6; n += 1)
        answers.push(atOnce ? attempt(address) : await attempt(address));
      const all = await Promise.all(answers);
      expect(passed(all).map(({ http }) => http)).toEqual([200, 200, 200, 200, 200]);
      expect(refused(all).map(({ body }) => body)).toEqual([{ error: TOO_MANY_ATTEMPTS }]);
      if (!atOnce) expect(all[5].http).toBe(429);
    }
    expect(await attempt(someAddress())).toMatchObject({ http: 200 });
    await call(server, agentId, 'disconnect', {});
  });

  test.each([
    // Half a minute is left of the window, for what the calls themselves take.
    ['evenly', [0, 3, 6, 9, 12, 14.5]],
    ['as a burst of five would regain a place', [0, 0, 0, 0, 0, 14.5]],
    ['over what a clock cuts into quarters of an hour', [0, 7, 8, 9, 10, 14.5]],
    ['one early and the rest late', [0, 14.1, 14.2, 14.3, 14.4, 14.5]],
    // The first of these seven has left the window; the six after it are within 15 minutes.
    ['over the end of a window that opened with the first', [0, 14, 14, 14, 14, 15.1, 28.5]],
  ])('six spread %s, over four processes: the sixth is refused', async (_, minutes) => {
    const address = someAddress();
    const agentId = randomUUID();
    const answers = [];
    for (const [n, minute] of minutes.entries()) {
      await later(Math.round((minute - (minutes[n - 1] ?? 0)) * MINUTE_MS));
      answers.push(await call(servers[n % 4], agentId, 'init-whatsapp', {}, { address }));
    }
    const last = answers.pop();
    expect(refused(answers)).toEqual([]);
    expect(last).toMatchObject({ http: 429, body: { error: TOO_MANY_ATTEMPTS } });
    // The oldest that counts is then 15 minutes old, less what this took.
    expect(last.retryAfter).toBeGreaterThan(0);
    expect(last.retryAfter).toBeLessThanOrEqual(30);
    await later(0.5 * MINUTE_MS);
    const next = await call(servers[minutes.length % 4], agentId, 'init-whatsapp', {}, { address });
    expect(next.http).not.toBe(429);
    await call(servers[0], agentId, 'disconnect', {});
  });

  test('an IPv6 client has a network of addresses, and is one client', async () => {
    const agentId = randomUUID();
    const answers = [];
    for (let n = 0; n < 6; n += 1) {
      const address = `2001:db8:${kind.length}::${n + 1}`;
      answers.push(await call(servers[0], agentId, 'init-whatsapp', {}, { address }));
    }
    expect(refused(answers)).toHaveLength(1);
    await call(servers[0], agentId, 'disconnect', {});
  });

  test('thirty-one messages in a minute, over four processes: thirty pass', async () => {
    const address = someAddress();
    const message = { to: '4917600000001', message: 'to nobody' };
    const send = (n) => call(servers[n % 4], randomUUID(), 'send-message', message, { address });
    const answers = await Promise.all(Array.from({ length: 31 }, (_, n) => send(n)));
    expect(passed(answers).every(({ http }) => http === 409)).toBe(true); // no such agent
    expect(passed(answers)).toHaveLength(30);
    const [last] = refused(answers);
    expect(last.body).toEqual({ error: TOO_MANY_MESSAGES });
    expect(last.retryAfter).toBeGreaterThan(50);
    expect(last.retryAfter).toBeLessThanOrEqual(60);
  });
});

describe('the pace of an agent', () => {
  const LINE = { AGENT_SEND_BURST: '3', AGENT_SEND_QUEUE: '5' };
  let endpoint;
  let quick;
  let slow;
  let still;

  beforeAll(async () => {
    const environments = [
      { ...LINE, AGENT_SENDS_PER_MINUTE: '120' }, // one in 500 ms
      { ...LINE, AGENT_SENDS_PER_MINUTE: '15' }, // one in 4 s
      { ...LINE, AGENT_SENDS_PER_MINUTE: '1' },
    ];
    const backends = await startBackends('sqlite', environments);
    ({ endpoint } = backends);
    [quick, slow, still] = backends.servers;
  });

  /** An agent that is connected at a server, of a client whom nobody else shares an address with. */
  async function connect(server) {
    const agentId = randomUUID();
    const options = { address: someAddress() };
    expect(await call(server, agentId, 'init-whatsapp', {}, options)).toMatchObject({ http: 200 });
    const { qrCode } = await server.statusWhere(agentId, (status) => status.qrCode, 'QR code');
    await endpoint.scan(qrCode);
    await server.connected(agentId);
    return agentId;
  }

  /** So many messages of an agent at once, of a client of their own. */
  function sendMany(server, agentId, count, signal) {
    const options = { address: someAddress(), signal };
    return Array.from({ length: count }, (_, n) =>
      call(server, agentId, 'send-message', { to: '4917600000001', message: `m${n}` }, options),
    );
  }

  test('an agent sends at a pace', async () => {
    const agentId = await connect(quick);
    const began = performance.now();
    const answers = await Promise.all(sendMany(quick, agentId, 8)); // 3 at once, 5 wait
    expect(answers.map(({ http }) => http)).toEqual(Array(8).fill(200));
    expect(performance.now() - began).toBeGreaterThan(4 * 500);
    await call(quick, agentId, 'disconnect', {});
  });

  test('who finds the line of an agent full is told to come again', async () => {
    const agentId = await connect(still);
    const gone = new AbortController();
    const answers = [];
    let left = 0;
    const sent = sendMany(still, agentId, 10, gone.signal).map((answer) =>
      answer.then(
        (one) => answers.push(one),
        ({ name }) => name === 'AbortError' && left++,
      ),
    );
    await until(() => answers.length === 5);
    expect(passed(answers).map(({ http }) => http)).toEqual([200, 200, 200]);
    for (const answer of refused(answers)) {
      expect(answer).toEqual({
        http: 429,
        body: {
          error: 'Too many messages of this agent are waiting. Please try again later.',
          code: 'ERR_QUEUE_FULL',
          retryAfterMs: expect.any(Number),
        },
        retryAfter: Math.ceil(answer.body.retryAfterMs / 1000),
      });
      expect(answer.retryAfter).toBeLessThanOrEqual(60);
    }
    gone.abort();
    await Promise.all(sent);
    expect([answers.length, left]).toEqual([5, 5]); // three had gone at once, and five waited
    await call(still, agentId, 'disconnect', {});
  });

  test('who has gone away does not wait; who waits when the server stops is told', async () => {
    const server = slow;
    const agentId = await connect(server);
    const address = someAddress();
    const send = (message, signal) =>
      call(server, agentId, 'send-message', { to: '4917600000001', message }, { address, signal });
    const ahead = await Promise.all(Array.from({ length: 3 }, (_, n) => send(`ahead ${n}`)));
    expect(ahead.every(({ http }) => http === 200)).toBe(true); // at once; the next has to wait
    const gone = new AbortController();
    const left = send('gone', gone.signal).catch((error) => error.name);
    await server.call(agentId, 'whatsapp-status'); // comes after it
    gone.abort();
    expect(await left).toBe('AbortError');
    expect((await send('after')).http).toBe(200);
    await endpoint.waitFor(({ text }) => text === 'after');
    const texts = (await endpoint.events()).map(({ text }) => text);
    expect(texts).not.toContain('gone');

    const waiting = Promise.all(Array.from({ length: 4 }, (_, n) => send(`late ${n}`)));
    await endpoint.waitFor(({ text }) => text?.startsWith('late'));
    expect(await server.end('SIGTERM')).toBe(0);
    const ends = (await waiting).map(({ http, body }) => (http === 200 ? 'sent' : body.code));
    expect(new Set(ends)).toEqual(new Set(['sent', 'ERR_SHUT_DOWN']));
    // What was answered with success has arrived.
    const arrived = (await endpoint.events()).filter(({ text }) => text?.startsWith('late'));
    expect(arrived).toHaveLength(ends.filter((end) => end === 'sent').length);
  });
});

describe('behind an authentication', () => {
  test.each([
    ['init', 5],
    ['send', 30],
  ])('%s is counted for each user, wherever they are', async (route, limit) => {
    const database = await freshDatabase('sqlite', { migrated: false });
    const child = await startChild('limited-app.js', { env: { DATABASE_URL: database.url } });
    const url = await child.call('listen');
    const ask = (user, address) => post(`${url}/${route}`, {}, { user, address });

    for (let n = 0; n < limit; n += 1) {
      expect((await ask('ann', `203.0.113.${n}`)).http).toBe(200);
    }
    expect((await ask('ann', '203.0.113.250')).http).toBe(429);
    expect((await ask('bob', '203.0.113.0')).http).toBe(200); // at ann's address
    expect((await ask(undefined, '203.0.113.0')).http).toBe(200); // nobody, there
    expect((await ask('203.0.113.0', '203.0.113.1')).http).toBe(200); // a user called that
  });
});
