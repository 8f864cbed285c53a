'use strict';

/**
 * Many sessions at once, over several client processes, all dropped and back again. Small by default;
 * `ENDPOINT_SESSIONS=200 ENDPOINT_PROCESSES=4 ENDPOINT_ROUNDS=4` makes it 200 sessions and 1,000 logins.
 */

const fs = require('node:fs');
const { spawnEndpoint } = require('../examples/whatsapp-endpoint');
const { until } = require('./support/reconnect');
const { ClientProcess, pair } = require('./support/whatsapp-clients');

const SESSIONS = Number(process.env.ENDPOINT_SESSIONS ?? 12);
const PROCESSES = Number(process.env.ENDPOINT_PROCESSES ?? 2);
const ROUNDS = Number(process.env.ENDPOINT_ROUNDS ?? 2);

/** Pairing at once in one process: few, since each has 812 pre-keys to make. */
const PAIRING_AT_ONCE = 3;

jest.setTimeout(60_000 + SESSIONS * (ROUNDS + 1) * 1000);

let endpoint;

afterEach(async () => {
  await ClientProcess.stopAll();
  await endpoint?.close();
});

/** What the endpoint has used so far, where the system tells. */
function usage(pid) {
  if (process.platform !== 'linux') return 'not measured here';
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  const rss = /VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1];
  const cpu = (Number(fields[11]) + Number(fields[12])) / 100;
  return `${cpu.toFixed(1)} s of CPU, ${Math.round(rss / 1024)} MB`;
}

test(`${SESSIONS} sessions in ${PROCESSES} processes come back ${ROUNDS} times, without a conflict`, async () => {
  endpoint = await spawnEndpoint();
  const clients = await Promise.all(
    Array.from({ length: PROCESSES }, () => ClientProcess.start(endpoint.url)),
  );
  const names = Array.from({ length: SESSIONS }, (_, i) => `session ${i}`);
  const clientOf = new Map(names.map((name, i) => [name, clients[i % PROCESSES]]));
  const jids = new Set();
  const say = (what, start) =>
    process.stderr.write(
      `${what}: ${((performance.now() - start) / 1000).toFixed(1)} s; endpoint ${usage(endpoint.pid)}\n`,
    );

  let start = performance.now();
  const left = names.slice();
  const pairing = async () => {
    for (let name = left.shift(); name; name = left.shift()) {
      jids.add((await pair(endpoint, clientOf.get(name), name)).jid);
    }
  };
  await Promise.all(Array.from({ length: PROCESSES * PAIRING_AT_ONCE }, pairing));
  say(`${SESSIONS} paired`, start);
  expect(jids.size).toBe(SESSIONS);

  for (let round = 1; round <= ROUNDS; round++) {
    start = performance.now();
    const marks = new Map(clients.map((client) => [client, client.mark()]));
    expect((await endpoint.fail('drop')).struck).toBe(SESSIONS);
    const back = names.map(async (name) => {
      const client = clientOf.get(name);
      const options = { after: marks.get(client), timeoutMs: 60_000 };
      expect((await client.next(name, 'close', options)).statusCode).toBe(428);
      await client.connect(name);
      await client.next(name, 'open', options);
      await client.call('send', {
        name,
        to: '491712345678@s.whatsapp.net',
        text: `round ${round}`,
      });
    });
    await Promise.all(back);
    say(`round ${round}`, start);
  }

  // A client that has sent a message does not wait until it is read.
  await until(async () => (await endpoint.stats()).messages >= SESSIONS * ROUNDS);
  const stats = await endpoint.stats();
  expect(stats).toMatchObject({
    pairings: SESSIONS,
    logins: SESSIONS * (ROUNDS + 1),
    upgrades: SESSIONS * (ROUNDS + 2),
    messages: SESSIONS * ROUNDS,
    conflicts: 0,
    conflictsJudging: 0,
    errors: 0,
    online: SESSIONS,
  });
  for (const jid of jids) expect(stats.devices[jid].logins).toBe(ROUNDS + 1);
  const texts = (await endpoint.events({ type: 'message' })).filter(({ text }) => text);
  expect(texts).toHaveLength(SESSIONS * ROUNDS);
});
