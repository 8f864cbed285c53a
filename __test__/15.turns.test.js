'use strict';

// Processes that write to one SQLite file take turns.

const { startChild } = require('./support/child');
const { freshDatabase, guardsOn } = require('./support/databases');

test('a process that writes without a pause does not starve another one', async () => {
  const database = await freshDatabase('sqlite');
  const writer = await startChild('instance.js');
  await writer.call('open', { databaseUrl: database.url }, {});
  const agents = Array.from({ length: 8 }, (_, n) => `tireless-${n}`);
  for (const agentId of agents) await writer.call('claim', agentId);
  const writing = Promise.all(agents.map((agentId) => writer.call('writeUntilRefused', agentId)));
  writing.catch(() => {}); // it is looked at below

  const guard = guardsOn(database, { leaseTtlMs: 1500 })();
  const heartbeat = guard.startHeartbeat();
  const claim = await guard.claimInstance('patient');
  const waits = [];
  for (let n = 0; n < 100; n++) {
    const start = performance.now();
    await claim.update({ phoneNumber: String(n) });
    waits.push(performance.now() - start);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  waits.sort((a, b) => a - b);
  expect(waits[50]).toBeLessThan(100); // milliseconds, on a busy machine
  expect(waits[95]).toBeLessThan(400); // not all: one commit may meet a disk that is busy
  expect(heartbeat.stats()).toMatchObject({ failures: 0 });
  // It is not that the other one has stopped.
  await Promise.all(agents.map((agentId) => writer.call('release', agentId)));
  const writes = (await writing).map((answer) => answer.writes);
  expect(Math.min(...writes)).toBeGreaterThan(20);
}, 60_000);
