'use strict';

// Wall clocks that jump by an hour, forth and back: of the PostgreSQL server, of one process. Nobody
// decides by them, so nobody may lose or win an agent by a jump.

const { startChild } = require('./support/child');
const { SILENT, guardsOn } = require('./support/databases');
const { describeWithFaketime, fakeClock } = require('./support/faketime');
const { createDatabase, startPostgres, withClient } = require('./support/postgres');
const { createGuard } = require('..');

const TTL = 3000;
const HOUR = 3600;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** How far the server's clock is ahead of ours, in seconds. */
const lead = (url) =>
  withClient(url, async (client) => {
    const { rows } = await client.query('SELECT extract(epoch FROM clock_timestamp()) AS now');
    return Number(rows[0].now) - Date.now() / 1000;
  });

/** An owner in a process of its own, told of nothing but its death. */
async function startOwner(databaseUrl, env = {}) {
  const owner = await startChild('instance.js', { env });
  await owner.call('open', { databaseUrl, leaseTtlMs: TTL }, { intervalMs: 500 });
  await owner.call('claim', 'agent');
  return owner;
}

/** The agent stays with a live owner; once killed, it is another's within the usual time. */
async function expectNothingUnusual(owner, challenger, jump) {
  for (const seconds of [HOUR, -HOUR, 0]) {
    await jump(seconds);
    await expect(challenger.claimInstance('agent', { waitMs: 0.75 * TTL })).rejects.toMatchObject({
      code: 'ERR_AGENT_IN_USE',
    });
    expect(await owner.call('held', 'agent')).toBe(true);
    await owner.call('update', 'agent', { status: 'connected' });
  }
  const freed = new Promise((resolve) => challenger.watchOwnership(resolve));
  await jump(HOUR);
  owner.kill('SIGKILL');
  expect((await freed).agentIds).toContain('agent');
  const claim = await challenger.claimInstance('agent');
  await jump(-HOUR);
  await pause(1.1 * TTL);
  expect(claim.held).toBe(true);
  await claim.update({ status: 'connected' });
}

describeWithFaketime('a wall clock that jumps by an hour', () => {
  test('of the database server', async () => {
    const clock = fakeClock();
    const server = await startPostgres({ env: clock.env });
    const challenger = guardsOn({ url: server.url() }, { leaseTtlMs: TTL })();
    await challenger.migrate();
    challenger.startHeartbeat({ intervalMs: 500 });
    const owner = await startOwner(server.url());
    await expectNothingUnusual(owner, challenger, async (seconds) => {
      clock.jump(seconds);
      expect(Math.abs((await lead(server.url())) - seconds)).toBeLessThan(60);
    });
    // What the rows show is the server's time: a person compares it with other rows.
    const [session] = await challenger.listSessions({ mine: true });
    expect(session.owner.heartbeatAgeMs).toBeLessThan(60_000); // and by no hour older
    await server.remove();
  });

  test('of one server process', async () => {
    const clock = fakeClock();
    const database = await createDatabase({ template: 'migrated' });
    const challenger = guardsOn(database, { leaseTtlMs: TTL })();
    challenger.startHeartbeat({ intervalMs: 500 });
    const owner = await startOwner(database.url, clock.env);
    clock.jump(HOUR);
    expect((await owner.call('wallClock')) - Date.now()).toBeGreaterThan(1000 * (HOUR - 60));
    await expectNothingUnusual(owner, challenger, clock.jump);
  });

  test('limits of the database follow its clock and end when it says', async () => {
    const clock = fakeClock();
    const server = await startPostgres({ env: clock.env });
    const guard = createGuard({ databaseUrl: server.url(), logger: SILENT });
    await guard.migrate();
    const limiter = guard.createRateLimiter({
      limit: 1,
      windowMs: 1000,
      algorithm: 'sliding-window',
      store: 'database',
      name: 'jumping',
    });
    expect(await limiter.consume('key')).toMatchObject({ allowed: true });
    clock.jump(-HOUR);
    const refused = await limiter.consume('key');
    expect(refused.allowed).toBe(false);
    // A clock that went back keeps nobody waiting for the hour it went back by.
    expect(refused.retryAfterMs).toBeLessThanOrEqual(1000);
    await guard.shutdown();
    await server.remove();
  });
});
