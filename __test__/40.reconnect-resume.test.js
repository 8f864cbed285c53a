'use strict';

// Who takes what of the sessions that should run and that nobody has.

const { KINDS, freshDatabase, guardsOn } = require('./support/databases');
const { QUICK, Recorder, boom, until } = require('./support/reconnect');
const native = require('../lib/native');

describe.each(KINDS)('resuming on %s', (kind) => {
  let database;
  let guardOf;

  beforeEach(async () => {
    database = await freshDatabase(kind);
    guardOf = guardsOn(database);
  });

  afterEach(() => jest.restoreAllMocks());

  /** Sessions as a host leaves them behind. */
  const sessions = async (count, fields = {}) => {
    const row = { is_active: true, status: 'connected', last_connected: null, ...fields };
    const ids = Array.from({ length: count }, (_, n) => `${fields.status ?? 'agent'}-${n}`);
    for (const id of ids) {
      await database.query(
        `INSERT INTO whatsapp_sessions (agent_id, user_id, is_active, status, last_connected)
         VALUES ($1, NULL, ${row.is_active}, $2, ${row.last_connected ?? 'NULL'})`,
        [id, row.status],
      );
    }
    return ids;
  };

  const resumerOf = (options = {}, guard = guardOf()) => {
    guard.startHeartbeat();
    const events = new Recorder();
    const connected = new Set();
    const begun = [];
    const scheduler = guard.createReconnectScheduler({
      ...QUICK,
      onEvent: events.tell,
      connect: async (id, { signal }) => {
        begun.push(performance.now());
        connected.add(id);
        signal.addEventListener('abort', () => connected.delete(id));
        scheduler.connected(id);
      },
      ...options,
    });
    return { guard, scheduler, events, connected, begun };
  };
  const count = (...all) => all.reduce((sum, { connected }) => sum + connected.size, 0);

  test('everything active and not in conflict is claimed and connected, with progress', async () => {
    const ids = await sessions(30);
    await sessions(2, { status: 'conflict' });
    await sessions(2, { status: 'disconnected', is_active: false });
    await sessions(2, { status: 'error' });
    const { scheduler, connected } = resumerOf();
    const progress = [];
    const result = await scheduler.resumeAll({ onProgress: (now) => progress.push(now) });
    expect(result).toEqual({ total: 32, taken: 32, tried: 32, left: 0 });
    expect([...connected].sort()).toEqual([...ids, 'error-0', 'error-1'].sort());
    expect(progress.at(-1)).toEqual(result);
    progress
      .slice(1)
      .forEach((now, index) => expect(now.tried).toBeGreaterThanOrEqual(progress[index].tried));
    expect(progress.length).toBeGreaterThan(5);
  });

  test('with nothing to do it is done', async () => {
    const { scheduler } = resumerOf();
    expect(await scheduler.resumeAll()).toEqual({ total: 0, taken: 0, tried: 0, left: 0 });
    expect(await scheduler.resumeAll()).toEqual({ total: 0, taken: 0, tried: 0, left: 0 });
  });

  test('no more is taken than can be connected soon', async () => {
    await sessions(40);
    const first = resumerOf({ connectsPerSecond: 10, maxConcurrent: 2 });
    first.scheduler.resumeAll();
    await until(() => first.connected.size >= 5);
    const mine = await first.guard.listSessions({ mine: true });
    expect(mine.length).toBeLessThanOrEqual(first.connected.size + 21);
  });

  test('two that start together share; all are up, none twice', async () => {
    const ids = await sessions(40);
    const [a, b] = [resumerOf({ connectsPerSecond: 40 }), resumerOf({ connectsPerSecond: 40 })];
    // Together also on a busy machine: neither goes on before both take part.
    const { look } = native.NativeScheduler.prototype;
    let there = 0;
    let goOn;
    const bothThere = new Promise((resolve) => (goOn = resolve));
    jest.spyOn(native.NativeScheduler.prototype, 'look').mockImplementation(async function (room) {
      const seen = await look.call(this, room);
      if (++there === 2) goOn();
      await bothThere;
      return seen;
    });
    await Promise.all([a.scheduler.resumeAll(), b.scheduler.resumeAll()]);
    expect([...a.connected, ...b.connected].sort()).toEqual([...ids].sort());
    for (const { connected } of [a, b]) expect(connected.size).toBeGreaterThanOrEqual(10);
  });

  test('what another instance gives back is taken at once', async () => {
    await sessions(10);
    const first = resumerOf();
    await first.scheduler.resumeAll();
    const second = resumerOf();
    await second.scheduler.resumeAll();
    expect([first.connected.size, second.connected.size]).toEqual([10, 0]);
    const start = performance.now();
    await first.guard.shutdown();
    await until(() => second.connected.size === 10);
    expect(performance.now() - start).toBeLessThan(10_000); // by itself it looks every 15 s
  });

  test('a shutdown hands sessions over one by one, at the pace of those who take them', async () => {
    await sessions(10);
    // One in 400 ms: half of them have not gone before a busy machine has taken the first.
    const pace = { connectsPerSecond: 2.5, burst: 10 };
    const first = resumerOf(pace);
    await first.scheduler.resumeAll();
    const second = resumerOf(pace);
    await second.scheduler.resumeAll();
    let fewest = Infinity;
    const looking = setInterval(() => (fewest = Math.min(fewest, count(first, second))), 5);
    await first.guard.shutdown({ timeoutMs: 20_000 });
    await until(() => second.connected.size === 10);
    clearInterval(looking);
    expect(first.scheduler.stats().handedOver).toBeGreaterThanOrEqual(8);
    expect(fewest).toBeGreaterThanOrEqual(5);
  });

  test('an agent that became active later is found', async () => {
    const { scheduler, connected, guard } = resumerOf();
    await scheduler.resumeAll();
    await sessions(1);
    // Somebody claims it and gives it back: that is told.
    const other = guardOf();
    await (await other.claimInstance('agent-0')).release();
    await until(() => connected.has('agent-0'));
    expect((await guard.getOwner('agent-0')).instanceId).toBe(guard.instanceId);
  });

  test('what was cancelled here is not taken again here', async () => {
    await sessions(3);
    const { scheduler, connected, guard } = resumerOf();
    await scheduler.resumeAll();
    await scheduler.cancel('agent-1');
    const { left } = await scheduler.resumeAll();
    expect(left).toBe(0);
    expect([...connected].sort()).toEqual(['agent-0', 'agent-2']);
    expect(await guard.getOwner('agent-1')).toBeNull();
    scheduler.schedule('agent-1');
    await until(() => connected.has('agent-1'));
  });

  test('nor is it when its claim has been made anew here', async () => {
    await sessions(2);
    const { guard, scheduler, connected } = resumerOf();
    await scheduler.resumeAll();
    await scheduler.cancel('agent-1');
    await (await guard.claimInstance('agent-1')).release();
    expect(await scheduler.resumeAll()).toMatchObject({ total: 0, left: 0 });
    expect([...connected]).toEqual(['agent-0']);
  });

  test.each([
    ['while it ran', async ({ scheduler }, cancel) => (await scheduler.resumeAll(), cancel())],
    [
      'before it was resumed',
      async ({ scheduler }, cancel) => (await cancel(), scheduler.resumeAll()),
    ],
    ['before anybody looked', (_, cancel) => cancel()],
  ])(
    'what was cancelled here %s and has run elsewhere since is resumed here when that one is gone',
    async (_, cancels) => {
      await sessions(1);
      const first = resumerOf();
      await cancels(first, () => first.scheduler.cancel('agent-0'));
      const second = resumerOf();
      second.scheduler.schedule('agent-0'); // a person connects it there
      await until(() => second.connected.has('agent-0'));
      expect(await first.scheduler.resumeAll()).toMatchObject({ total: 0, left: 0 });
      await second.guard.shutdown();
      await until(() => first.connected.has('agent-0'));
    },
  );

  test('nobody resumes what was deactivated, until a person connects it', async () => {
    await sessions(1);
    const first = resumerOf();
    await first.scheduler.resumeAll();
    await first.scheduler.cancel('agent-0', { deactivate: true });
    const second = resumerOf();
    await second.scheduler.resumeAll();
    expect(second.connected.size).toBe(0);
    const claim = await second.guard.claimInstance('agent-0');
    await claim.update({ status: 'connected' });
    second.scheduler.schedule('agent-0');
    await until(() => second.connected.has('agent-0'));
    await second.guard.shutdown();
    await until(() => first.connected.has('agent-0'));
  });

  test('those that were cancelled do not make it stop before the others are up', async () => {
    await sessions(40);
    const { scheduler, connected } = resumerOf({ connectsPerSecond: 20 });
    for (let n = 0; n < 30; n++) await scheduler.cancel(`agent-${n % 2 ? n : `other-${n}`}`);
    expect(await scheduler.resumeAll()).toEqual({ total: 25, taken: 25, tried: 25, left: 0 });
    expect(connected.size).toBe(25);
  });

  test.each([
    ['claimed', native.NativeGuard, 'claimMany'],
    ['asked about', native.NativeScheduler, 'resume'],
  ])('one that is cancelled while it is %s is not connected', async (_, { prototype }, method) => {
    const [id, other] = await sessions(2, { status: 'error' });
    const { guard, scheduler, connected, events } = resumerOf();
    const original = prototype[method];
    let cancelled;
    jest.spyOn(prototype, method).mockImplementation(function (agentIds, ...more) {
      if (agentIds.includes(id)) cancelled ??= scheduler.cancel(id, { deactivate: true });
      return original.call(this, agentIds, ...more);
    });
    await scheduler.resumeAll();
    expect(await cancelled).toBe(true);
    await until(() => connected.has(other));
    await scheduler.resumeAll();
    expect([...connected]).toEqual([other]);
    expect(events.types(id)).not.toContain('connecting');
    await until(async () => (await guard.getOwner(id)) === null); // given back behind the scenes
    const active = await guard.listSessions({ active: true });
    expect(active.map(({ agentId }) => agentId)).toEqual([other]);
  });

  test('one that is cancelled when it is told that it will be resumed is not connected', async () => {
    const [id, other] = await sessions(2);
    const cancelled = [];
    const { guard, scheduler, connected } = resumerOf({
      onEvent: ({ type, agentIds }) => {
        if (type === 'resuming' && agentIds.includes(id)) cancelled.push(scheduler.cancel(id));
      },
    });
    await scheduler.resumeAll();
    expect(await Promise.all(cancelled)).toEqual([true]);
    expect(scheduler.pending()).toEqual([]);
    expect([...connected]).toEqual([other]);
    expect(await guard.getOwner(id)).toBeNull();
    expect(await scheduler.resumeAll()).toMatchObject({ total: 0, left: 0 });
  });

  test('nobody takes anything before he has met the others, however often he is asked', async () => {
    await sessions(40);
    const { scheduler } = resumerOf();
    const claims = jest.spyOn(native.NativeGuard.prototype, 'claimMany');
    const other = guardOf();
    const asked = performance.now();
    const both = [scheduler.resumeAll(), scheduler.resumeAll()];
    await (await other.claimInstance('agent-0')).release(); // which is told to those who watch
    await until(() => claims.mock.calls.length > 0);
    expect(performance.now() - asked).toBeGreaterThanOrEqual(290);
    await Promise.all(both);
  });

  test('a session that fails does not hold the others up, and counts as tried', async () => {
    await sessions(8);
    const { scheduler } = resumerOf({
      maxConcurrent: 2,
      connect: async (id) => {
        if (id === 'agent-3') throw boom(503);
        if (id === 'agent-5') throw boom(401);
        scheduler.connected(id);
      },
    });
    expect(await scheduler.resumeAll()).toMatchObject({ taken: 8, tried: 8, left: 0 });
    await scheduler.stop();
    const active = await guardOf().listSessions({ active: true });
    expect(active.map(({ agentId }) => agentId)).not.toContain('agent-5');
  });

  test('a session in quarantine is taken over and waits', async () => {
    await sessions(2);
    const first = resumerOf({
      connect: async (id) => {
        if (id === 'agent-0') throw boom(429);
        first.scheduler.connected(id);
      },
    });
    await first.scheduler.resumeAll();
    await until(async () => {
      const { rows } = await database.query('SELECT * FROM baileys_guard_reconnect', []);
      return rows.length === 1;
    });
    await first.scheduler.stop();
    const second = resumerOf();
    await second.scheduler.resumeAll();
    expect([...second.connected]).toEqual(['agent-1']);
    const [waiting] = second.scheduler.pending();
    expect(waiting).toMatchObject({ agentId: 'agent-0', attempt: 2, reason: 'rateLimited' });
    expect(waiting.dueInMs).toBeGreaterThan(50_000);
  });

  test('one that a database refuses does not keep the others from being taken', async () => {
    if (kind !== 'postgres') return; // SQLite's triggers are covered by the store's own suite
    await sessions(4);
    await database.query(
      `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = 'check_violation'; END $$`,
    );
    await database.query(
      `CREATE TRIGGER refuse BEFORE UPDATE ON whatsapp_sessions FOR EACH ROW
         WHEN (NEW.agent_id = 'agent-2') EXECUTE FUNCTION refuse()`,
    );
    const { scheduler, connected } = resumerOf();
    expect(await scheduler.resumeAll()).toMatchObject({ tried: 3, left: 0 });
    expect([...connected].sort()).toEqual(['agent-0', 'agent-1', 'agent-3']);
  });

  test('what was claimed is connected even if its past cannot be read at first', async () => {
    await sessions(3);
    const rename = (from, to) => database.query(`ALTER TABLE ${from} RENAME TO ${to}`, []);
    await rename('baileys_guard_reconnect', 'put_aside');
    const { scheduler, connected, events } = resumerOf();
    await scheduler.resumeAll();
    await events.next('retry');
    expect(connected.size).toBe(0);
    await rename('put_aside', 'baileys_guard_reconnect');
    await until(() => connected.size === 3);
  });

  test('balance, when asked for, moves sessions to an instance that came later', async () => {
    await sessions(8);
    const taken = new Set(); // by the second
    let fewest = Infinity; // that somebody had when the first let one go
    const first = resumerOf({
      balance: true,
      connect: async (id, { signal }) => {
        first.connected.add(id);
        signal.addEventListener('abort', () => {
          first.connected.delete(id);
          fewest = Math.min(fewest, first.connected.size + taken.size);
        });
        first.scheduler.connected(id);
      },
    });
    await first.scheduler.resumeAll();
    const second = resumerOf({
      onEvent: ({ type, agentIds }) => {
        if (type === 'resuming') for (const id of agentIds) taken.add(id);
      },
    });
    await second.scheduler.resumeAll();
    expect(second.connected.size).toBe(0);
    await until(
      () => {
        first.scheduler.resumeAll(); // looks, as the sweep would
        return first.connected.size === 5 && count(first, second) === 8;
      },
      { timeoutMs: 30_000 },
    );
    expect(fewest).toBe(7);
    await until(() => first.scheduler.stats().handedOver >= 3); // counted when it is given back
    expect(first.scheduler.stats().handedOver).toBe(3);
  });

  test('sessions that nobody has connected for a week are listed', async () => {
    const days = (n) => {
      const time = new Date(Date.now() - n * 86_400_000).toISOString();
      return `'${time}'`;
    };
    await sessions(1, { status: 'disconnected', is_active: false, last_connected: days(8) });
    await sessions(1, { status: 'error', last_connected: days(6) });
    await sessions(1, { status: 'connected', last_connected: days(30) });
    const { scheduler, guard } = resumerOf();
    await guard.claimInstance('connected-0');
    const inactive = await scheduler.listInactive();
    expect(inactive.map(({ agentId }) => agentId)).toEqual(['disconnected-0']);
    expect(inactive[0]).toMatchObject({ isActive: false, status: 'disconnected' });
    expect(await scheduler.listInactive({ olderThanMs: 86_400_000 })).toHaveLength(2);
  });

  test('stop ends it: nothing is taken any more, and a call under way is answered', async () => {
    await sessions(20);
    const { scheduler, guard } = resumerOf({ connectsPerSecond: 5 });
    const running = scheduler.resumeAll();
    await until(() => scheduler.stats().connects > 0);
    await scheduler.stop();
    expect((await running).taken).toBeGreaterThan(0);
    expect(await guard.listSessions({ mine: true })).toEqual([]);
    const { rows } = await database.query('SELECT * FROM baileys_guard_resumer', []);
    expect(rows).toEqual([]);
  });

  test('before migration it says what to do', async () => {
    const empty = await freshDatabase(kind, { migrated: false });
    const { scheduler } = resumerOf({}, guardsOn(empty)());
    await expect(scheduler.resumeAll()).rejects.toMatchObject({ code: 'ERR_MIGRATION_REQUIRED' });
  });
});
