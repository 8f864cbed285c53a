'use strict';

// The command line tool: release, of dead, silent and live owners.

const { once } = require('node:events');

const { startChild } = require('./support/child');
const { cli, envOf, start } = require('./support/cli');
const { KINDS, freeze, freshDatabase, guardsOn, lossOf } = require('./support/databases');

describe.each(KINDS)('release on %s', (kind) => {
  let database;
  let guardOf;
  beforeAll(async () => {
    database = await freshDatabase(kind);
    guardOf = guardsOn(database, { leaseTtlMs: 60_000 });
  });

  const ownerOf = async (agentId) => guardOf().getOwner(agentId);

  /** A server instance in a process of its own, with a claim. */
  const instance = async (agentId, options, heartbeat) => {
    const child = await startChild('instance.js');
    await child.call('open', { databaseUrl: database.url, ...options }, heartbeat);
    await child.call('claim', agentId);
    return child;
  };

  test('frees an agent of a dead owner at once', async () => {
    const child = await instance('of-the-dead', {}, {});
    child.kill('SIGKILL');
    await child.exited;
    await database.query(
      "UPDATE whatsapp_sessions SET is_active = true WHERE agent_id = 'of-the-dead'",
    );
    const args = ['release', 'of-the-dead', '--wait', '0', '--deactivate', '--json'];
    const { code, json } = await cli(args, envOf(database));
    expect(code).toBe(0);
    expect(json).toMatchObject({ released: true, deactivated: true, forced: false });
    expect(await ownerOf('of-the-dead')).toBeNull();
    const { json: status } = await cli(['status', '--inactive', '--json'], envOf(database));
    expect(status.agents).toContainEqual(expect.objectContaining({ agentId: 'of-the-dead' }));
  });

  test('waits for a silent one, for its time to live', async () => {
    // Whoever looks at it less often than twice in its time to live begins to wait anew.
    const child = await instance('of-the-frozen', { leaseTtlMs: 4000 }, {});
    await freeze(child, database);
    const { code, stderr } = await cli(['release', 'of-the-frozen'], envOf(database));
    expect(code).toBe(0);
    expect(stderr).toContain('waiting up to');
    expect(await ownerOf('of-the-frozen')).toBeNull();
    child.kill('SIGCONT');
    expect(await child.event('lost')).toMatchObject({ agentId: 'of-the-frozen' });
  });

  test('leaves a live owner alone, and says who it is', async () => {
    const child = await instance('of-the-living', { leaseTtlMs: 8000, instanceId: 'alive' }, {});
    const env = envOf(database);
    const { code, json } = await cli(['release', 'of-the-living', '--json'], env);
    expect(code).toBe(3);
    expect(json.error.owner.instanceId).toBe('alive');
    expect(await child.call('held', 'of-the-living')).toBe(true);
    expect((await cli(['release', 'no-such-agent'], env)).code).toBe(1);
  });

  test('--force ends its claim by the fence, and keeps others out until it has stopped', async () => {
    const guard = guardOf({ leaseTtlMs: 4000 });
    guard.startHeartbeat();
    const [claim, other] = [await guard.claimInstance('forced'), await guard.claimInstance('kept')];
    const lost = lossOf(claim);
    const forced = start(['release', 'forced', '--force', '--json'], envOf(database));
    const successor = guardOf().claimInstance('forced', { waitMs: 20_000 });
    expect(await lost).toMatchObject({ code: 'ERR_CLAIM_LOST' });
    const lostAt = performance.now();
    await expect(claim.update({ status: 'connected' })).rejects.toMatchObject({
      code: 'ERR_CLAIM_LOST',
    });
    const meanwhile = await guard.getOwner('forced');
    expect(meanwhile.instanceId).toMatch(/^cli-/);
    expect(meanwhile.fencingToken).toBeGreaterThan(claim.fencingToken);
    const { code, stdout } = await forced.ended;
    expect([code, JSON.parse(stdout)]).toEqual([
      0,
      expect.objectContaining({ released: true, forced: true }),
    ]);
    // The owner heard of it by a beat, at most a quarter of its 4 s after it was taken.
    await (await successor).release();
    expect(performance.now() - lostAt).toBeGreaterThan(1000);
    expect(other.held).toBe(true);
    await other.release();
  });

  test('interrupted, it gives back what it holds', async () => {
    const guard = guardOf({ leaseTtlMs: 60_000 });
    await guard.claimInstance('interrupted');
    const forced = start(['release', 'interrupted', '--force'], envOf(database));
    while (!forced.output.stderr.includes('held for')) await once(forced.child.stderr, 'data');
    forced.child.kill('SIGINT');
    expect(await forced.ended).toMatchObject({ code: 130 });
    expect(await guard.getOwner('interrupted')).toBeNull();
  });
});
