'use strict';

// One supervised session: what it does with the events of its socket.

const { KINDS, freshDatabase, guardsOn, recordingLogger } = require('./support/databases');
const { FakeSocket, QUICK, Recorder, until } = require('./support/reconnect');

const ME = { me: { id: '4915112345678:12@s.whatsapp.net' } };

describe.each(KINDS)('a supervised session on %s', (kind) => {
  let database;
  let guardOf;
  let number = 0;

  beforeAll(async () => {
    database = await freshDatabase(kind);
    guardOf = guardsOn(database);
  });

  const agent = () => `agent-${kind}-${++number}`;

  /** A scheduler whose sessions get fake sockets, in the order in which they are made. */
  const fleet = ({ guard = guardOf(), creds = {}, ...options } = {}) => {
    guard.startHeartbeat();
    const events = new Recorder();
    const sockets = new Recorder();
    const saves = [];
    const scheduler = guard.createReconnectScheduler({
      ...QUICK,
      onEvent: events.tell,
      authState: async (claim) => ({
        state: { creds, keys: {} },
        saveCreds: async () => saves.push(claim.agentId),
      }),
      makeSocket: async (given) => {
        const socket = new FakeSocket(given);
        sockets.tell(socket);
        return socket;
      },
      ...options,
    });
    const socket = async () => {
      const next = await sockets.next(() => true);
      await until(() => next.listeners > 0);
      return next;
    };
    return { guard, scheduler, events, socket, saves };
  };

  const row = async (agentId) => {
    const { rows } = await database.query(
      'SELECT status, is_active, qr_code, phone_number, last_connected FROM whatsapp_sessions WHERE agent_id = $1',
      [agentId],
    );
    return { ...rows[0], is_active: Boolean(rows[0]?.is_active) };
  };
  const shows = (agentId, fields) =>
    until(async () => {
      const now = await row(agentId);
      return Object.entries(fields).every(([name, value]) => now[name] === value) && now;
    });

  test('a socket that is closed and says nothing is found and replaced', async () => {
    // Only the interval of the health check stands still; its database does not.
    const real = ['Date', 'hrtime', 'nextTick', 'performance', 'queueMicrotask', 'setImmediate'];
    real.push('clearImmediate', 'setTimeout', 'clearTimeout');
    jest.useFakeTimers({ doNotFake: real });
    try {
      const { scheduler, events, socket } = fleet({ creds: ME });
      await scheduler.superviseSession(agent());
      const first = await socket();
      first.opens();
      await events.next('connected');
      Object.assign(first.ws, { isOpen: false, isClosed: true }); // and nobody was told
      jest.advanceTimersByTime(60_000);
      expect(await events.next('retry')).toMatchObject({
        reason: 'socketDead',
        error: { code: 'ERR_SOCKET_DEAD' },
      });
      expect(await socket()).not.toBe(first);
      await scheduler.stop();
    } finally {
      jest.useRealTimers();
    }
  });

  test('a QR code, the scan, 515 and the login: the row follows, the claim stays', async () => {
    const id = agent();
    const { scheduler, events, socket, guard } = fleet({ creds: ME });
    const session = await scheduler.superviseSession(id, { userId: 'u' });
    expect(session.agentId).toBe(id);
    const first = await socket();
    expect(first).toMatchObject({ agentId: id, attempt: 1, claim: { held: true } });
    expect(first.auth).toEqual({ creds: ME, keys: {} });
    await shows(id, { status: 'connecting' });
    first.update({ qr: '2@abc' });
    expect(await events.next('qr')).toEqual({ type: 'qr', agentId: id, qr: '2@abc' });
    await shows(id, { status: 'qr_pending', qr_code: '2@abc' });
    first.update({ isNewLogin: true, qr: undefined });
    await shows(id, { status: 'connecting', qr_code: null });
    first.closes(515, 'Stream Errored (restart required)');
    expect(await events.next('retry')).toMatchObject({ delayMs: 0, reason: 'restartRequired' });
    const second = await socket();
    expect(second.attempt).toBe(1);
    second.opens();
    await events.next('connected');
    const shown = await shows(id, { status: 'connected', phone_number: '4915112345678' });
    expect(shown).toMatchObject({ is_active: true, qr_code: null });
    expect(Math.abs(new Date(`${shown.last_connected}`) - Date.now())).toBeLessThan(
      24 * 3600 * 1000,
    );
    expect(session.claim).toBe(second.claim);
    expect((await guard.getOwner(id)).instanceId).toBe(guard.instanceId);
  });

  test('an agent of another instance is refused at once', async () => {
    const id = agent();
    await guardOf().claimInstance(id);
    const { scheduler } = fleet();
    await expect(scheduler.superviseSession(id)).rejects.toMatchObject({
      code: 'ERR_AGENT_IN_USE',
      message: expect.stringMatching(/^Agent is already in use by another server instance/),
    });
    expect(scheduler.pending()).toEqual([]);
  });

  test('a dropped connection is made anew; all listeners of the old one are gone', async () => {
    const id = agent();
    const { scheduler, events, socket } = fleet({ creds: ME });
    await scheduler.superviseSession(id);
    const first = await socket();
    expect(first.listeners).toBeGreaterThan(0);
    first.opens();
    await events.next('connected');
    first.closes(428, 'Connection Terminated');
    await shows(id, { status: 'connecting' });
    expect(await events.next('retry')).toMatchObject({ code: 428, delayMs: 20 });
    const second = await socket();
    await until(() => first.listeners === 0);
    expect(first.signal.aborted).toBe(true);
    second.opens();
    await events.next('connected');
  });

  test('credentials are saved in order, also those that come with the end', async () => {
    const id = agent();
    const order = [];
    let slow;
    const { scheduler, socket } = fleet({
      authState: async () => ({
        state: { creds: {}, keys: {} },
        saveCreds: async () => {
          const nth = order.push('begun');
          if (nth === 1) await new Promise((resolve) => (slow = resolve));
          order.push('done');
        },
      }),
    });
    await scheduler.superviseSession(id);
    const first = await socket();
    first.ev.emit('creds.update', {});
    first.ev.emit('creds.update', {});
    await until(() => slow);
    const cancelled = scheduler.cancel(id);
    first.ev.emit('creds.update', {});
    slow();
    await cancelled;
    expect(order).toEqual(['begun', 'done', 'begun', 'done', 'begun', 'done']);
    expect(first.listeners).toBe(0);
  });

  test('a loss of the claim ends the socket with its reason', async () => {
    const id = agent();
    const { scheduler, events, socket } = fleet();
    const { claim } = await scheduler.superviseSession(id);
    const first = await socket();
    first.opens();
    await events.next('connected');
    await claim.release();
    await until(() => first.ended.length);
    expect(first.ended[0]).toMatchObject({ code: 'ERR_CLAIM_LOST', reason: 'released' });
    await until(() => first.listeners === 0);
    expect(scheduler.pending()).toEqual([]);
  });

  test('a socket that cannot be closed politely is cut off', async () => {
    const id = agent();
    const { scheduler, events, socket } = fleet();
    await scheduler.superviseSession(id);
    const first = await socket();
    first.opens();
    await events.next('connected');
    first.end = () => new Promise(() => {}); // a peer that does not answer the closing handshake
    await scheduler.cancel(id);
    expect(first.ws.isClosed).toBe(true);
  });

  test('a refused upgrade, which Baileys does not tell, is tried again without waiting', async () => {
    const id = agent();
    const { scheduler, events, socket } = fleet();
    await scheduler.superviseSession(id);
    const first = await socket();
    first.ws.emit('unexpected-response', {}, { statusCode: 403, resume() {} });
    expect(await events.next('retry')).toMatchObject({
      reason: 'upgradeRefused',
      code: 403,
      attempt: 1,
    });
    await socket();
    expect(first.ended).toMatchObject([{ code: 'ERR_UPGRADE_REFUSED' }]);
  });

  test('401 is final: the row says so, the claim is free, the credentials stay', async () => {
    const id = agent();
    const { scheduler, events, socket, guard } = fleet({ creds: ME });
    await scheduler.superviseSession(id);
    (await socket()).opens();
    await events.next('connected');
    await shows(id, { status: 'connected' });
    await scheduler.cancel(id);
    await scheduler.superviseSession(id);
    (await socket()).closes(401, 'Stream Errored (conflict)');
    expect(await events.next('stop')).toMatchObject({ reason: 'loggedOut', code: 401 });
    await until(async () => !(await guard.getOwner(id)));
    expect(await row(id)).toMatchObject({ status: 'disconnected', is_active: false });
  });

  test('440 shows a conflict and frees the agent', async () => {
    const id = agent();
    const { scheduler, events, socket, guard } = fleet();
    await scheduler.superviseSession(id);
    const first = await socket();
    first.opens();
    await events.next('connected');
    first.closes(440, 'Stream Errored (conflict)');
    expect(await events.next('quarantine')).toMatchObject({ reason: 'connectionReplaced' });
    await until(async () => !(await guard.getOwner(id)));
    expect(await row(id)).toMatchObject({ status: 'conflict' });
  });

  test('a phone number that the host refuses does not hide the state', async () => {
    const [one, two] = [agent(), agent()];
    const logger = recordingLogger();
    const same = { me: { id: '4915100000000@s.whatsapp.net' } };
    const { scheduler, socket } = fleet({ creds: same, guard: guardOf({ logger }) });
    const user = kind === 'postgres' ? '00000000-0000-4000-9000-000000000001' : 'same-user';
    for (const id of [one, two]) {
      await scheduler.superviseSession(id, { userId: user });
      (await socket()).opens();
      await shows(id, { status: 'connected' });
    }
    expect(await row(one)).toMatchObject({ phone_number: '4915100000000' });
    expect(await row(two)).toMatchObject({ phone_number: null, status: 'connected' });
    expect(logger.lines.some(({ text }) => text.includes('phone number'))).toBe(true);
  });

  test('an auth state that cannot be read is a failure to be tried again, not a new login', async () => {
    const id = agent();
    let reads = 0;
    const { scheduler, events, socket } = fleet({
      authState: async () => {
        reads += 1;
        if (reads === 1)
          throw Object.assign(new Error('cannot open'), { code: 'ERR_DECRYPT_FAILED' });
        return { state: { creds: {}, keys: {} }, saveCreds: async () => {} };
      },
    });
    await scheduler.superviseSession(id);
    expect(await events.next('retry')).toMatchObject({ reason: 'connectFailed' });
    expect(await socket()).toMatchObject({ attempt: 2 });
  });

  test('a makeSocket that gives no socket says so', async () => {
    const { scheduler, events } = fleet({ makeSocket: async () => ({}) });
    await scheduler.superviseSession(agent());
    const { error } = await events.next('retry');
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARGUMENT', argument: 'makeSocket' });
  });

  test('a socket that comes after its time is closed', async () => {
    const id = agent();
    let first;
    const { scheduler, events } = fleet({
      connectTimeoutMs: 50,
      makeSocket: (given) => new Promise((resolve) => (first ??= { given, resolve })),
    });
    let late;
    await scheduler.superviseSession(id);
    await events.next('retry');
    await until(() => first?.given.signal.aborted); // it may have timed out before it got so far
    const original = FakeSocket.prototype.end;
    FakeSocket.prototype.end = function (reason) {
      late = { socket: this, reason };
      return original.call(this, reason);
    };
    try {
      first.resolve(new FakeSocket(first.given));
      await until(() => late);
    } finally {
      FakeSocket.prototype.end = original;
    }
    expect(late.reason).toMatchObject({ code: 'ERR_CONNECT_TIMEOUT' });
    expect(late.socket.listeners).toBe(0);
  });

  test('a session with a makeSocket of its own, by the guard alone', async () => {
    const id = agent();
    const guard = guardOf();
    guard.startHeartbeat();
    const sockets = [];
    const session = await guard.superviseSession(id, {
      userId: 'u2',
      authState: { state: { creds: ME, keys: {} }, saveCreds: async () => {} },
      makeSocket: (given) => {
        const socket = new FakeSocket(given);
        sockets.push(socket);
        return socket;
      },
    });
    await until(() => sockets[0]?.listeners > 0);
    sockets[0].opens();
    await shows(id, { status: 'connected' });
    await session.stop({ deactivate: true });
    expect(await row(id)).toMatchObject({ status: 'disconnected', is_active: false });
    expect(sockets[0].ws.isClosed).toBe(true);
  });

  test('shutdown closes sockets, shows them disconnected and to be resumed', async () => {
    const id = agent();
    const { scheduler, events, socket, guard } = fleet();
    await scheduler.superviseSession(id);
    const first = await socket();
    first.opens();
    await events.next('connected');
    await shows(id, { status: 'connected' });
    await guard.shutdown();
    expect(first.ended).toMatchObject([{ code: 'ERR_SESSION_ENDED' }]);
    expect(first.listeners).toBe(0);
    expect(await row(id)).toMatchObject({ status: 'disconnected', is_active: true });
  });
});

describe('the health check', () => {
  const { HealthCheck } = require('../lib/reconnect/health');

  beforeEach(() => jest.useFakeTimers({ now: 0 }));
  afterEach(() => jest.useRealTimers());

  const session = (isOpen, problems) => {
    const reported = [];
    return {
      reported,
      looks: 0,
      isOpen: () => isOpen,
      problem() {
        this.looks += 1;
        return problems?.();
      },
      report: (problem) => reported.push(problem),
    };
  };

  test('looks at those that connect every 30 s and at the connected every 60 s', () => {
    const health = new HealthCheck();
    const [connecting, connected] = [session(false), session(true)];
    const stop = [health.add(connecting), health.add(connected)];
    jest.advanceTimersByTime(10 * 60_000);
    expect([connecting.looks, connected.looks]).toEqual([20, 10]);
    stop.forEach((remove) => remove());
    expect(jest.getTimerCount()).toBe(0);
  });

  test('reports what is wrong', () => {
    const health = new HealthCheck();
    const dead = session(true, () => 'its socket is not open');
    health.add(dead);
    jest.advanceTimersByTime(60_000);
    expect(dead.reported).toEqual(['its socket is not open']);
  });

  test('an event loop that stood still is given a round to hear what came in meanwhile', () => {
    const health = new HealthCheck();
    const silent = session(false, () => 'silent');
    health.add(silent);
    jest.spyOn(performance, 'now').mockReturnValueOnce(120_000);
    jest.advanceTimersByTime(30_000);
    expect(silent.looks).toBe(0);
    jest.restoreAllMocks();
  });
});
