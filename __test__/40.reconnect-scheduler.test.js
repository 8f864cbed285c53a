'use strict';

// The scheduler over real claims: whose turn it is, what its connect gets, and what ends it.

const { once } = require('node:events');

const { KINDS, freshDatabase, guardsOn, recordingLogger } = require('./support/databases');
const { QUICK, Recorder, boom, until } = require('./support/reconnect');

const never = () => new Promise(() => {});

describe.each(KINDS)('reconnect scheduler on %s', (kind) => {
  let database;
  let guardOf;
  let number = 0;

  beforeAll(async () => {
    database = await freshDatabase(kind);
    guardOf = guardsOn(database);
  });

  const agent = () => `agent-${kind}-${++number}`;

  /** A scheduler with what happened to it. */
  const schedulerOf = (options, guard = guardOf()) => {
    guard.startHeartbeat();
    const events = new Recorder();
    const scheduler = guard.createReconnectScheduler({
      ...QUICK,
      onEvent: events.tell,
      ...options,
    });
    return { scheduler, events, guard };
  };

  const row = async (agentId) => {
    const { rows } = await database.query(
      'SELECT status, is_active, instance_id FROM whatsapp_sessions WHERE agent_id = $1',
      [agentId],
    );
    return { ...rows[0], is_active: Boolean(rows[0]?.is_active) };
  };
  const recorded = async (agentId) => {
    const { rows } = await database.query(
      'SELECT failures, quarantines, reason FROM baileys_guard_reconnect WHERE agent_id = $1',
      [agentId],
    );
    return rows[0] && { ...rows[0], failures: Number(rows[0].failures) };
  };

  test('connect gets a held claim, the number of the attempt and a signal', async () => {
    const id = agent();
    const given = [];
    const { scheduler, events, guard } = schedulerOf({
      connect: async (...args) => {
        given.push(args);
        scheduler.connected(id);
      },
    });
    expect(scheduler.schedule(id, { userId: 'u' })).toBe(true);
    const { tookMs } = await events.next('connected');
    expect(tookMs).toBeGreaterThanOrEqual(0);
    const [[agentId, { claim, attempt, signal }]] = given;
    expect([agentId, attempt, signal.aborted]).toEqual([id, 1, false]);
    expect(claim).toMatchObject({ agentId: id, held: true, instanceId: guard.instanceId });
    expect(scheduler.pending()).toEqual([]);
    expect(scheduler.schedule(id)).toBe(false);
  });

  test('a connect that rejects is tried again with growing delays, each time a little later', async () => {
    const id = agent();
    const attempts = [];
    const { scheduler, events } = schedulerOf({
      connect: async (_, { attempt }) => {
        attempts.push([attempt, performance.now()]);
        if (attempt < 5) throw new Error('not yet');
        scheduler.connected(id);
      },
    });
    scheduler.schedule(id);
    await events.next('connected');
    expect(attempts.map(([attempt]) => attempt)).toEqual([1, 2, 3, 4, 5]);
    const retries = events.all.filter(({ type }) => type === 'retry');
    expect(retries.map(({ delayMs }) => delayMs)).toEqual([20, 40, 80, 160]);
    expect(retries[0]).toMatchObject({
      agentId: id,
      reason: 'connectFailed',
      attempt: 1,
      code: null,
    });
    expect(retries[0].error.message).toBe('not yet');
    const gaps = attempts.slice(1).map(([, at], index) => at - attempts[index][1]);
    gaps.forEach((gap, index) => expect(gap).toBeGreaterThanOrEqual(20 * 2 ** index - 2));
    expect(scheduler.stats()).toMatchObject({
      connects: 5,
      connected: 1,
      disconnects: { connectFailed: 4 },
    });
  });

  test('a connect that throws at once is no different', async () => {
    const id = agent();
    const { scheduler, events } = schedulerOf({
      connect: (_, { attempt }) => {
        if (attempt === 1) throw boom(503);
        scheduler.connected(id);
      },
    });
    scheduler.schedule(id);
    expect(await events.next('retry')).toMatchObject({ reason: 'unavailableService', code: 503 });
    await events.next('connected');
  });

  test('a connect that rejects when the connection is up: it goes on, and the error is told', async () => {
    const id = agent();
    const { scheduler, events, guard } = schedulerOf({
      connect: async () => {
        scheduler.connected(id);
        throw new Error('afterwards');
      },
    });
    const told = once(guard, 'trouble');
    scheduler.schedule(id);
    const [{ what, error }] = await told;
    expect([what, error.message]).toEqual([
      `agent ${id} is connected, but its connect failed`,
      'afterwards',
    ]);
    expect(events.types(id)).toEqual(['connecting', 'connected']);
  });

  test('a connect that hangs is aborted and tried again; what it gives later is ended', async () => {
    const id = agent();
    let resolveLate;
    const ended = [];
    const signals = [];
    const { scheduler, events } = schedulerOf({
      connectTimeoutMs: 800,
      connect: (_, { signal }) => {
        if (signals.push(signal) === 1) return new Promise((resolve) => (resolveLate = resolve));
        scheduler.connected(id);
        return undefined;
      },
    });
    scheduler.schedule(id);
    expect(await events.next('retry')).toMatchObject({ reason: 'connectTimeout' });
    expect(signals[0].aborted).toBe(true);
    expect(signals[0].reason).toMatchObject({ code: 'ERR_CONNECT_TIMEOUT', agentId: id });
    await events.next('connected');
    resolveLate({ end: (reason) => ended.push(reason) });
    await until(() => ended.length);
    expect(ended[0]).toBe(signals[0].reason);
    expect(signals[1].aborted).toBe(false);
  });

  test('a connect that returned is still watched until the connection is up', async () => {
    const id = agent();
    const { scheduler, events } = schedulerOf({ connectTimeoutMs: 50, connect: async () => {} });
    scheduler.schedule(id);
    expect(await events.next('retry')).toMatchObject({ reason: 'connectTimeout' });
  });

  test('one that shows a QR code has time for as long as there are new ones', async () => {
    const id = agent();
    const { scheduler, events } = schedulerOf({ connectTimeoutMs: 1500, connect: async () => {} });
    scheduler.schedule(id);
    await events.next('connecting');
    const start = performance.now();
    while (performance.now() - start < 2000) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      scheduler.progress(id);
    }
    expect(events.types(id)).toEqual(['connecting']);
    scheduler.connected(id);
    await events.next('connected');
  });

  test('what it returns has its end called with the attempt', async () => {
    const id = agent();
    const ended = [];
    const { scheduler, events } = schedulerOf({
      connect: async () => {
        scheduler.connected(id);
        return { end: async (reason) => ended.push(reason) };
      },
    });
    scheduler.schedule(id);
    await events.next('connected');
    expect(await scheduler.cancel(id)).toBe(true);
    expect(ended).toMatchObject([{ code: 'ERR_SESSION_ENDED' }]);
    expect(await scheduler.cancel(id)).toBe(false);
  });

  test('failing, hanging and refused agents delay no other', async () => {
    const [good, hangs, fails, taken] = [agent(), agent(), agent(), agent()];
    await guardOf().claimInstance(taken);
    const { scheduler, events } = schedulerOf({
      maxConcurrent: 2,
      connect: async (id) => {
        if (id === hangs) return never();
        if (id === fails) throw new Error('always');
        return scheduler.connected(id);
      },
    });
    for (const id of [hangs, fails, taken, good]) scheduler.schedule(id);
    await events.next(({ type, agentId }) => type === 'connected' && agentId === good);
    expect(await events.next('yield')).toMatchObject({ agentId: taken, reason: 'inUse' });
  });

  /** Twenty connects of so many milliseconds: how long until each began, and the most in flight. */
  const twenty = async (tookMs, options) => {
    let inFlight = 0;
    let most = 0;
    const begun = [];
    const { scheduler } = schedulerOf({
      ...options,
      connect: async (id) => {
        begun.push(performance.now() - start);
        most = Math.max(most, ++inFlight);
        await new Promise((resolve) => setTimeout(resolve, tookMs));
        inFlight -= 1;
        scheduler.connected(id);
      },
    });
    const start = performance.now();
    for (let n = 0; n < 20; n++) scheduler.schedule(agent());
    await until(() => begun.length === 20);
    return { begun, most };
  };

  test('no more connects are in flight than allowed', async () => {
    const { most } = await twenty(100, { maxConcurrent: 3, connectsPerSecond: 50 });
    expect(most).toBe(3);
  });

  test('no more connects begin in a second than allowed', async () => {
    const { begun } = await twenty(0, { maxConcurrent: 20, connectsPerSecond: 20 });
    // Twenty at twenty a second need 950 ms, from when the first may begin; it may be told late.
    expect(begun.at(-1)).toBeGreaterThan(940);
  });

  test('a connection that flaps keeps backing off; one that holds begins anew', async () => {
    const id = agent();
    const { scheduler, events } = schedulerOf({
      stableAfterMs: 600,
      connect: async () => scheduler.connected(id),
    });
    scheduler.schedule(id);
    const delays = [];
    for (let times = 0; times < 3; times++) {
      await events.next('connected');
      delays.push(scheduler.disconnected(id, boom(428)).delayMs);
    }
    expect(delays).toEqual([20, 40, 80]);
    await events.next('stable');
    await until(async () => (await recorded(id)) === undefined);
    expect(scheduler.disconnected(id, boom(428))).toMatchObject({ delayMs: 20, attempt: 1 });
  });

  test('515 is answered at once and counts as no attempt', async () => {
    const id = agent();
    const attempts = [];
    const { scheduler, events } = schedulerOf({
      initialDelayMs: 60_000,
      maxDelayMs: 60_000,
      connect: async (_, { attempt }) => {
        attempts.push(attempt);
        if (attempts.length === 2) scheduler.connected(id);
      },
    });
    scheduler.schedule(id);
    await until(() => attempts.length === 1);
    expect(scheduler.disconnected(id, boom(515))).toMatchObject({
      action: 'retry',
      delayMs: 0,
      attempt: 0,
    });
    await events.next('connected');
    expect(attempts).toEqual([1, 1]);
  });

  test('401 stops for good, tells, and leaves the agent free and inactive', async () => {
    const id = agent();
    const gaveUp = new Recorder();
    const { scheduler, events, guard } = schedulerOf({
      connect: async (_, { claim }) => {
        await claim.update({ status: 'connected' });
        scheduler.connected(id);
      },
      onGiveUp: (agentId, why) => gaveUp.tell({ type: 'gaveUp', agentId, ...why }),
    });
    scheduler.schedule(id);
    await events.next('connected');
    const decision = scheduler.disconnected(id, {
      error: boom(401, 'Logged out'),
      date: new Date(),
    });
    expect(decision).toEqual({
      action: 'stop',
      delayMs: 0,
      attempt: 0,
      reason: 'loggedOut',
      code: 401,
    });
    expect(await gaveUp.next('gaveUp')).toMatchObject({
      agentId: id,
      action: 'stop',
      reason: 'loggedOut',
    });
    await until(async () => !(await guard.getOwner(id)));
    expect(await row(id)).toEqual({ status: 'disconnected', is_active: false, instance_id: null });
    expect(scheduler.pending()).toEqual([]);
  });

  test('440 with the claim still ours: no fight, the claim released, the row in conflict', async () => {
    const id = agent();
    let connects = 0;
    const { scheduler, events, guard } = schedulerOf({
      connect: async (_, { claim }) => {
        connects += 1;
        await claim.update({ status: 'connected' });
        scheduler.connected(id);
      },
    });
    scheduler.schedule(id);
    await events.next('connected');
    const decision = scheduler.disconnected(id, { error: boom(440, 'conflict') });
    expect(decision).toMatchObject({
      action: 'quarantine',
      reason: 'connectionReplaced',
      delayMs: 60_000,
    });
    await until(async () => !(await guard.getOwner(id)));
    expect(await row(id)).toEqual({ status: 'conflict', is_active: true, instance_id: null });
    expect(await recorded(id)).toMatchObject({ failures: 1, reason: 'connectionReplaced' });
    expect(connects).toBe(1);
    expect(scheduler.pending()).toMatchObject([{ agentId: id, reason: 'connectionReplaced' }]);
  });

  test('440 with the claim gone is left alone', async () => {
    const id = agent();
    const { scheduler, events } = schedulerOf({
      connect: async (_, { claim }) => {
        scheduler.connected(id);
        await claim.release();
      },
    });
    scheduler.schedule(id);
    await events.next('connected');
    await events.next('none');
    expect(scheduler.disconnected(id, boom(440))).toMatchObject({ action: 'none' });
    expect(scheduler.pending()).toEqual([]);
  });

  test('gives up after maxAttempts connects, once, and leaves the agent inactive', async () => {
    const id = agent();
    const gaveUp = [];
    let connects = 0;
    const { scheduler, events, guard } = schedulerOf({
      maxAttempts: 3,
      connect: async (_, { claim }) => {
        if (connects++ === 0) await claim.update({ isActive: true });
        throw new Error('never');
      },
      onGiveUp: (...args) => gaveUp.push(args),
    });
    scheduler.schedule(id);
    expect(await events.next('giveUp')).toMatchObject({ agentId: id, attempt: 3 });
    await until(async () => !(await guard.getOwner(id)));
    expect(gaveUp).toMatchObject([[id, { action: 'giveUp', reason: 'connectFailed', attempt: 3 }]]);
    expect(connects).toBe(3);
    expect(await row(id)).toEqual({ status: 'error', is_active: false, instance_id: null });
    expect(await recorded(id)).toBeUndefined();
  });

  test('a session that another instance had goes on where that one was', async () => {
    const id = agent();
    // 1, 25 and 625 ms, and then time enough to look and stop before the next one.
    const slowsDown = { initialDelayMs: 1, multiplier: 25, maxDelayMs: 1_000_000 };
    const first = schedulerOf({
      ...slowsDown,
      connect: async () => {
        throw new Error('no');
      },
    });
    first.scheduler.schedule(id);
    for (let times = 0; times < 4; times++) await first.events.next('retry');
    await until(async () => (await recorded(id))?.failures === 4);
    await first.scheduler.stop();
    expect(await first.guard.getOwner(id)).toBeNull();

    const attempts = [];
    const second = schedulerOf({
      ...slowsDown,
      connect: async (_, { attempt }) => {
        attempts.push(attempt);
        throw new Error('no');
      },
    });
    second.scheduler.schedule(id);
    const { attempt, delayMs } = await second.events.next('waiting');
    expect([attempt, attempts]).toEqual([5, []]);
    expect(delayMs).toBeLessThanOrEqual(15_625);
    second.scheduler.schedule(id); // a person does not want to wait for that
    expect(await second.events.next('retry')).toMatchObject({ attempt: 5, delayMs: 390_625 });
    expect(attempts).toEqual([5]);
    await second.scheduler.cancel(id);
    second.scheduler.schedule(id, { reset: true });
    expect(await second.events.next('retry')).toMatchObject({ attempt: 1, delayMs: 1 });
  });

  test('what is left of a quarantine is waited for after a restart', async () => {
    const id = agent();
    const first = schedulerOf({
      connect: async () => {
        throw boom(429);
      },
    });
    first.scheduler.schedule(id);
    await first.events.next('quarantine');
    await until(async () => (await recorded(id))?.reason === 'rateLimited');
    await first.scheduler.stop();
    const second = schedulerOf({ connect: never });
    second.scheduler.schedule(id);
    const { delayMs, attempt } = await second.events.next('waiting');
    expect(delayMs).toBeGreaterThan(50_000);
    expect(delayMs).toBeLessThanOrEqual(60_000);
    expect(attempt).toBe(2);
    expect(second.scheduler.pending()).toMatchObject([
      { agentId: id, attempt: 2, reason: 'rateLimited' },
    ]);
  });

  test('a claim that is lost aborts the signal and is claimed again when it had run out', async () => {
    const id = agent();
    const signals = [];
    const { scheduler, events, guard } = schedulerOf({
      connect: async (_, { signal }) => {
        signals.push(signal);
        scheduler.connected(id);
      },
    });
    scheduler.schedule(id);
    await events.next('connected');
    await database.query(
      "UPDATE baileys_guard_instance SET dead_at = beat_at, death = 'silent' WHERE instance_id = $1",
      [guard.instanceId],
    );
    // At the next beat, which comes after 12 s at the latest.
    expect(await events.next('retry', { timeoutMs: 30_000 })).toMatchObject({
      reason: 'claimExpired',
    });
    expect(signals[0].aborted).toBe(true);
    expect(signals[0].reason).toMatchObject({ code: 'ERR_CLAIM_LOST', reason: 'buried' });
    await events.next('connected');
    expect(signals[1].aborted).toBe(false);
  });

  test('an end that is reported twice counts once', async () => {
    const id = agent();
    const { scheduler, events } = schedulerOf({
      initialDelayMs: 60_000,
      maxDelayMs: 60_000,
      connect: async () => {
        throw boom(428);
      },
    });
    scheduler.schedule(id);
    await events.next('retry');
    expect(scheduler.disconnected(id, boom(428))).toMatchObject({ action: 'retry', attempt: 1 });
    expect(events.types(id)).toEqual(['connecting', 'retry']);
    expect(scheduler.stats().disconnects).toEqual({ 428: 1 });
  });

  test('cancel ends it for good, whatever its socket reports afterwards', async () => {
    const id = agent();
    const signals = [];
    const { scheduler, events, guard } = schedulerOf({
      connect: async (_, { signal }) => {
        signals.push(signal);
        scheduler.connected(id);
      },
    });
    scheduler.schedule(id);
    await events.next('connected');
    const cancelled = scheduler.cancel(id);
    expect(signals[0].aborted).toBe(true);
    expect(scheduler.disconnected(id, boom(428))).toMatchObject({ action: 'none' });
    expect(await cancelled).toBe(true);
    expect(await guard.getOwner(id)).toBeNull();
    expect(scheduler.pending()).toEqual([]);
    expect(events.types(id).at(-1)).toBe('cancelled');
  });

  test('cancel leaves a claim of the user alone unless asked to deactivate', async () => {
    const id = agent();
    const { scheduler, events, guard } = schedulerOf({
      connect: async () => scheduler.connected(id),
    });
    const claim = await guard.claimInstance(id);
    await claim.update({ isActive: true });
    scheduler.schedule(id);
    await events.next('connected');
    await scheduler.cancel(id);
    expect(claim.held).toBe(true);
    await scheduler.cancel(id, { deactivate: true });
    expect(claim.held).toBe(false);
    expect(await row(id)).toMatchObject({ is_active: false });
  });

  test('a conflict gives up the claim there is, not one that was there before', async () => {
    const id = agent();
    const { scheduler, events, guard } = schedulerOf({
      connect: async () => scheduler.connected(id),
    });
    scheduler.schedule(id);
    await events.next('connected');
    scheduler.disconnected(id, boom(429));
    await (await guard.claimInstance(id)).release(); // while it waits
    const claim = await guard.claimInstance(id);
    scheduler.connected(id); // the user's own socket
    expect(scheduler.disconnected(id, boom(440))).toMatchObject({ action: 'quarantine' });
    await events.next('released');
    expect(claim.held).toBe(false);
    expect(await row(id)).toMatchObject({ status: 'conflict', instance_id: null });
  });

  test('cancel deactivates a session that waits without a claim, unless somebody else has it', async () => {
    const id = agent();
    const { scheduler, events } = schedulerOf({ connect: async () => scheduler.connected(id) });
    const conflict = async () => {
      scheduler.schedule(id, { reset: true });
      await events.next('connected');
      scheduler.disconnected(id, boom(440));
      await events.next('released');
    };
    await conflict();
    expect(await row(id)).toMatchObject({ status: 'conflict', instance_id: null });
    expect(await scheduler.cancel(id, { deactivate: true })).toBe(true);
    expect(await row(id)).toMatchObject({
      status: 'disconnected',
      is_active: false,
      instance_id: null,
    });
    await conflict();
    const other = await guardOf().claimInstance(id);
    await expect(scheduler.cancel(id, { deactivate: true })).rejects.toMatchObject({
      code: 'ERR_AGENT_IN_USE',
    });
    expect(scheduler.pending()).toEqual([]);
    expect(other.held).toBe(true);
    // What nobody has ever heard of is not made for the sake of ending it.
    const unknown = agent();
    expect(await scheduler.cancel(unknown, { deactivate: true })).toBe(false);
    expect((await row(unknown)).status).toBeUndefined();
  });

  test('stop aborts all, gives back what it took, and connects nobody any more', async () => {
    const ids = [agent(), agent(), agent()];
    const signals = [];
    const { scheduler, events, guard } = schedulerOf({
      connect: async (id, { signal }) => {
        signals.push(signal);
        if (id === ids[1]) return never();
        return scheduler.connected(id);
      },
    });
    for (const id of ids) scheduler.schedule(id);
    await until(() => signals.length === 3);
    scheduler.schedule(agent(), { delayMs: 1000 });
    const stopped = scheduler.stop();
    expect(signals.every((signal) => signal.aborted)).toBe(true);
    await stopped;
    await scheduler.stop();
    for (const id of ids) expect(await guard.getOwner(id)).toBeNull();
    expect(scheduler.pending()).toEqual([]);
    expect(scheduler.disconnected(ids[0], boom(428))).toMatchObject({ action: 'none' });
    expect(() => scheduler.schedule(ids[0])).toThrow(
      expect.objectContaining({ code: 'ERR_SHUT_DOWN' }),
    );
    await expect(scheduler.resumeAll()).rejects.toMatchObject({ code: 'ERR_SHUT_DOWN' });
    expect(events.all.filter(({ type }) => type === 'retry')).toEqual([]);
  });

  test('shutdown ends sockets before it awaits beforeRelease, and releases last', async () => {
    const id = agent();
    const order = [];
    const { scheduler, events, guard } = schedulerOf({
      connect: async () => {
        scheduler.connected(id);
        return {
          async end() {
            order.push(`end ${(await guard2.getOwner(id)) !== null}`);
          },
        };
      },
    });
    const guard2 = guardOf();
    scheduler.schedule(id);
    await events.next('connected');
    await guard.shutdown({
      beforeRelease: async ({ agentId }) => {
        order.push(`beforeRelease ${agentId} ${(await guard2.getOwner(id)) !== null}`);
      },
    });
    expect(order).toEqual(['end true', `beforeRelease ${id} true`]);
    expect(await guard2.getOwner(id)).toBeNull();
    expect(() => guard.createReconnectScheduler({ connect: never })).toThrow(
      expect.objectContaining({ code: 'ERR_SHUT_DOWN' }),
    );
  });

  test('what listeners throw stops nothing', async () => {
    const id = agent();
    const logger = recordingLogger();
    const { scheduler } = schedulerOf(
      {
        connect: async () => scheduler.connected(id),
        onEvent: () => {
          throw new Error('a listener of the user');
        },
      },
      guardOf({ logger }),
    );
    scheduler.schedule(id);
    await until(() => scheduler.pending().length === 0 && scheduler.stats().connected === 1);
    expect(logger.lines.some(({ text }) => text.includes('a listener of the user'))).toBe(true);
  });

  test('connecting without a heartbeat is warned of, once', async () => {
    const logger = recordingLogger();
    const guard = guardOf({ logger });
    const scheduler = guard.createReconnectScheduler({
      ...QUICK,
      connect: async (id) => scheduler.connected(id),
    });
    scheduler.schedule(agent());
    scheduler.schedule(agent());
    await until(() => scheduler.stats().connected === 2);
    expect(logger.lines.filter(({ text }) => text.includes('without a heartbeat'))).toHaveLength(1);
  });
});
