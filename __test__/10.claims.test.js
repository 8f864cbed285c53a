'use strict';

const {
  KINDS,
  claimBriefly,
  freshDatabase,
  guardsOn,
  lossOf,
  recordingLogger,
} = require('./support/databases');
const { AgentInUseError, ClaimLostError, GuardError } = require('..');

describe.each(KINDS)('claims on %s', (kind) => {
  let database;
  let guardOf;

  beforeAll(async () => {
    database = await freshDatabase(kind);
    guardOf = guardsOn(database);
  });

  const sessionRow = async (agentId) => {
    const { rows } = await database.query(
      'SELECT instance_id, instance_hostname, instance_pid, last_heartbeat, status, is_active, phone_number, qr_code FROM whatsapp_sessions WHERE agent_id = $1',
      [agentId],
    );
    return rows[0];
  };

  test('a claim is registered, logged and shown in whatsapp_sessions', async () => {
    const logger = recordingLogger();
    const guard = guardOf({ logger, instanceId: 'one', instanceHostname: 'host-a' });
    const claim = await guard.claimInstance('shown');
    expect(logger.lines).toContainEqual({
      level: 'info',
      text: '[BAILEYS] ✅ Instance claim registered: host-a (one)',
    });
    expect(claim).toMatchObject({
      agentId: 'shown',
      instanceId: 'one',
      hostname: 'host-a',
      held: true,
    });
    expect(typeof claim.fencingToken).toBe('bigint');
    expect(claim.signal.aborted).toBe(false);
    await guard.claimInstances(['shown', 'shown-2', 'shown-3']);
    await guard.claimInstances(['shown-2', 'shown-3']);
    expect(logger.lines).toHaveLength(2); // one a call that brings any
    expect(await sessionRow('shown')).toMatchObject({
      instance_id: 'one',
      instance_hostname: 'host-a',
      instance_pid: process.pid,
    });
  });

  test('a second instance is refused, with the owner and when to ask again', async () => {
    const [owner, other] = [guardOf({ instanceHostname: 'host-a' }), guardOf()];
    const claim = await owner.claimInstance('refused');
    const error = await other.claimInstance('refused').catch((caught) => caught);
    expect(error).toBeInstanceOf(AgentInUseError);
    expect(error).toBeInstanceOf(GuardError);
    expect(error.code).toBe('ERR_AGENT_IN_USE');
    expect(error.message).toMatch(/^Agent is already in use by another server instance/);
    expect(error.owner).toMatchObject({
      instanceId: owner.instanceId,
      hostname: 'host-a',
      pid: process.pid,
    });
    expect(error.owner.lastHeartbeat).toBeInstanceOf(Date);
    expect(Math.abs(Date.now() - error.owner.lastHeartbeat)).toBeLessThan(60_000);
    expect(error.owner.heartbeatAgeMs).toBeGreaterThanOrEqual(0);
    expect(error.retryAfterMs).toBeGreaterThan(0);
    expect(claim.held).toBe(true);
  });

  test('claiming what this guard holds returns the same claim, also at once', async () => {
    const guard = guardOf();
    const [first, second] = await Promise.all([
      guard.claimInstance('same'),
      guard.claimInstance('same'),
    ]);
    expect(second).toBe(first);
    expect(await guard.claimInstance('same')).toBe(first);
    expect((await guard.claimInstances(['same'])).claims).toEqual([first]);
  });

  test('a released agent is free at once and its token grows', async () => {
    const [one, two] = [guardOf(), guardOf()];
    const first = await one.claimInstance('handed-over');
    await first.update({ status: 'connected' });
    await first.release();
    expect(first.held).toBe(false);
    expect(await sessionRow('handed-over')).toMatchObject({ instance_id: null });
    expect(Boolean((await sessionRow('handed-over')).is_active)).toBe(true);
    const second = await two.claimInstance('handed-over');
    expect(second.fencingToken).toBeGreaterThan(first.fencingToken);
    const third = await two.claimInstance('handed-over');
    expect(third).toBe(second);
  });

  test('a released claim refuses everything, and releasing it again is no error', async () => {
    const claim = await guardOf().claimInstance('released');
    await claim.release();
    await claim.release();
    expect(claim.signal.aborted).toBe(true);
    expect(claim.signal.reason).toBeInstanceOf(ClaimLostError);
    await expect(claim.update({ status: 'connected' })).rejects.toMatchObject({
      code: 'ERR_CLAIM_LOST',
      reason: 'released',
    });
  });

  test('the signal is aborted before the database may give the agent to anybody else', async () => {
    const claim = await guardOf().claimInstance('signalled');
    const { native } = claim;
    const release = native.release.bind(native);
    let aborted;
    native.release = (...args) => {
      aborted = claim.signal.aborted;
      return release(...args);
    };
    await claim.release();
    expect(aborted).toBe(true);
    expect(claim.signal.reason).toMatchObject({ code: 'ERR_CLAIM_LOST', reason: 'released' });
  });

  test('a release that fails leaves nobody with a claim that looks held', async () => {
    const claim = await guardOf().claimInstance('unanswered');
    claim.native.release = async () => new GuardError('ERR_DATABASE_UNAVAILABLE', 'it is away');
    await expect(claim.release()).rejects.toMatchObject({ code: 'ERR_DATABASE_UNAVAILABLE' });
    expect(claim.signal.aborted).toBe(true);
  });

  test('release with deactivate says that the user asked to disconnect', async () => {
    const claim = await guardOf().claimInstance('deactivated');
    await claim.update({ status: 'connected' });
    await claim.release({ deactivate: true });
    const row = await sessionRow('deactivated');
    expect(row.status).toBe('disconnected');
    expect(Boolean(row.is_active)).toBe(false);
  });

  test('update writes the fields given, leaves the others and clears with null', async () => {
    const claim = await guardOf().claimInstance('updated');
    await claim.update({ status: 'qr_pending', qrCode: '2@abc', phoneNumber: '4915100000001' });
    await claim.update({ status: 'connected', qrCode: null, lastConnected: new Date() });
    const row = await sessionRow('updated');
    expect(row).toMatchObject({
      status: 'connected',
      qr_code: null,
      phone_number: '4915100000001',
    });
    expect(Boolean(row.is_active)).toBe(true);
  });

  test('a batch grants what is free and names the owners of the rest', async () => {
    const [one, two] = [guardOf(), guardOf()];
    await one.claimInstances(['batch-1', 'batch-2']);
    const answer = await two.claimInstances([
      'batch-1',
      'batch-2',
      'batch-3',
      'batch-4',
      'batch-3',
    ]);
    expect(answer.claims.map(({ agentId }) => agentId).sort()).toEqual(['batch-3', 'batch-4']);
    expect(answer.inUse.map(({ agentId }) => agentId).sort()).toEqual(['batch-1', 'batch-2']);
    expect(answer.inUse[0].owner.instanceId).toBe(one.instanceId);
    expect(await two.claimInstances([])).toEqual({ claims: [], inUse: [] });
  });

  test('getOwner and listSessions tell who owns what', async () => {
    const [one, two] = [guardOf(), guardOf()];
    const claim = await one.claimInstance('listed');
    await claim.update({ status: 'connected', phoneNumber: '4915100000002' });
    const owner = await two.getOwner('listed');
    expect(owner).toMatchObject({
      instanceId: one.instanceId,
      fencingToken: claim.fencingToken,
    });
    expect(JSON.parse(JSON.stringify(owner))).toMatchObject({ instanceId: one.instanceId });
    expect(await two.getOwner('nobody-has-this')).toBeNull();
    const find = (sessions) => sessions.find(({ agentId }) => agentId === 'listed');
    expect(find(await one.listSessions({ active: true, mine: true }))).toMatchObject({
      status: 'connected',
      phoneNumber: '4915100000002',
      isActive: true,
      mine: true,
      owner: { instanceId: one.instanceId },
    });
    expect(find(await two.listSessions({ mine: true }))).toBeUndefined();
    expect(find(await two.listSessions())).toMatchObject({ mine: false });
    expect(find(await two.listSessions({ active: false }))).toBeUndefined();
  });

  test('waitMs waits for the owner to go', async () => {
    const [one, two] = [guardOf(), guardOf()];
    const claim = await one.claimInstance('awaited');
    const waiting = two.claimInstance('awaited', { waitMs: 20_000 });
    await two.watchOwnership(() => {}).ready;
    await claim.release();
    expect((await waiting).held).toBe(true);
    await expect(one.claimInstance('awaited', { waitMs: 200 })).rejects.toMatchObject({
      code: 'ERR_AGENT_IN_USE',
    });
  });

  test('an agent that is claimed while it is being given back is held by a new claim', async () => {
    const guard = guardOf();
    const first = await guard.claimInstance('given-and-taken');
    const ways = [
      () => guard.claimInstance('given-and-taken'),
      async () => (await guard.claimInstances(['other', 'given-and-taken'])).claims,
    ];
    for (let round = 0, claim = first; round < 10; round++) {
      const release = claim.release();
      const answer = [await ways[round % 2]()].flat();
      const next = answer.find(({ agentId }) => agentId === 'given-and-taken');
      await release;
      expect([claim.held, next.held]).toEqual([false, true]);
      expect(next.fencingToken).toBeGreaterThan(claim.fencingToken);
      await next.update({ status: 'connecting' });
      claim = next;
    }
    expect(await guard.getOwner('given-and-taken')).toMatchObject({ instanceId: guard.instanceId });
  });

  test('watchOwnership tells what was released, and stops when told', async () => {
    const [one, two] = [guardOf(), guardOf()];
    const claims = (await one.claimInstances(['watched-1', 'watched-2'])).claims;
    let told;
    const heard = new Promise((resolve) => (told = resolve));
    const unheard = jest.fn();
    const stopped = two.watchOwnership(unheard);
    const stop = two.watchOwnership((freed) => {
      if (freed.agentIds.includes('watched-1')) told(freed);
    });
    stopped();
    await stop.ready;
    await claims.find(({ agentId }) => agentId === 'watched-1').release();
    expect(await heard).toEqual({
      agentIds: ['watched-1'],
      reason: 'released',
      instanceId: one.instanceId,
    });
    expect(unheard).not.toHaveBeenCalled();
    stop();
  });

  test('without a heartbeat a claim is lost when its time to live is over', async () => {
    const guard = guardOf({ leaseTtlMs: 1000 });
    const claim = await claimBriefly(guard, 'unattended');
    expect(await lossOf(claim)).toMatchObject({ code: 'ERR_CLAIM_LOST', reason: 'expired' });
    expect(claim.held).toBe(false);
    await expect(claim.update({ status: 'error' })).rejects.toBeInstanceOf(ClaimLostError);
  });

  test('a heartbeat keeps claims far beyond their time to live', async () => {
    const guard = guardOf({ leaseTtlMs: 6000 }); // a beat may take a third of it
    const lost = jest.fn();
    const heartbeat = guard.startHeartbeat({ intervalMs: 200, onLost: lost });
    const claim = await guard.claimInstance('attended');
    await new Promise((resolve) => setTimeout(resolve, 8000));
    expect(claim.held).toBe(true);
    expect(lost).not.toHaveBeenCalled();
    expect(heartbeat.stats()).toMatchObject({ running: true, failures: 0 });
    expect(heartbeat.stats().beats).toBeGreaterThan(4);
  });

  test('a heartbeat that was stopped keeps no claim any longer', async () => {
    const guard = guardOf({ leaseTtlMs: 1000 });
    const heartbeat = guard.startHeartbeat({ maxEventLoopStallMs: 60_000 });
    const claim = await claimBriefly(guard, 'no longer attended');
    heartbeat.stop();
    expect(heartbeat.stats().running).toBe(false);
    expect(await lossOf(claim)).toMatchObject({ reason: 'expired' });
  });

  test('a heartbeat keeps last_heartbeat of the session rows fresh', async () => {
    const guard = guardOf();
    guard.startHeartbeat({ intervalMs: 100 });
    await guard.claimInstance('beating');
    const first = String((await sessionRow('beating')).last_heartbeat);
    for (let tries = 0; String((await sessionRow('beating')).last_heartbeat) === first; tries++) {
      if (tries > 200) throw new Error('last_heartbeat stood still');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  test('a second startHeartbeat returns the running one, other options are refused', () => {
    const guard = guardOf();
    const heartbeat = guard.startHeartbeat({ intervalMs: 1000 });
    expect(guard.startHeartbeat()).toBe(heartbeat);
    expect(guard.startHeartbeat({ intervalMs: 1000 })).toBe(heartbeat);
    expect(() => guard.startHeartbeat({ intervalMs: 2000 })).toThrow(
      expect.objectContaining({ code: 'ERR_ALREADY_CONFIGURED' }),
    );
    heartbeat.stop();
    expect(guard.startHeartbeat({ intervalMs: 2000 })).not.toBe(heartbeat);
  });

  test('a deleted lease row ends the claim within a beat, and is not revived', async () => {
    const guard = guardOf({ leaseTtlMs: 5000 }); // it beats every second
    guard.startHeartbeat();
    const claim = await guard.claimInstance('deleted-lease');
    await database.query('DELETE FROM baileys_guard_lease WHERE agent_id = $1', ['deleted-lease']);
    expect(await lossOf(claim)).toMatchObject({ reason: 'row-gone' });
    const { rows } = await database.query('SELECT 1 FROM baileys_guard_lease WHERE agent_id = $1', [
      'deleted-lease',
    ]);
    expect(rows).toEqual([]);
    const again = await guard.claimInstance('deleted-lease');
    expect(again.fencingToken).toBeGreaterThan(claim.fencingToken);
  });

  test('a deleted session row ends the claim at the next refresh', async () => {
    const guard = guardOf();
    guard.startHeartbeat({ intervalMs: 100 });
    const claim = await guard.claimInstance('deleted-session');
    await database.query('DELETE FROM whatsapp_sessions WHERE agent_id = $1', ['deleted-session']);
    expect(await lossOf(claim)).toMatchObject({ reason: 'row-gone' });
  });

  test('shutdown closes first, releases all, and can be called twice', async () => {
    const [one, two] = [guardOf(), guardOf()];
    one.startHeartbeat();
    const { claims } = await one.claimInstances(['down-1', 'down-2']);
    const closed = [];
    const ended = one.shutdown({
      beforeRelease: async (claim) => {
        expect(claim.held).toBe(true);
        await claim.update({ status: 'disconnected' });
        closed.push(claim.agentId);
      },
    });
    await expect(one.claimInstance('late')).rejects.toMatchObject({ code: 'ERR_SHUT_DOWN' });
    await Promise.all([ended, one.shutdown()]);
    expect(closed.sort()).toEqual(['down-1', 'down-2']);
    expect(claims.every(({ held }) => !held)).toBe(true);
    expect((await two.claimInstances(['down-1', 'down-2'])).claims).toHaveLength(2);
  });
});
