'use strict';

// What only a person can ask of a supervised session: to log out, and to pair anew.

const { once } = require('node:events');

const { KEY_A, KEY_B } = require('./support/credentials');
const { KINDS, freshDatabase, guardsOn, recordingLogger } = require('./support/databases');
const { FakeSocket, QUICK, Recorder, boom, until } = require('./support/reconnect');

describe.each(KINDS)('logging out and pairing anew on %s', (kind) => {
  let database;
  let guardOf;
  let number = 0;

  beforeAll(async () => {
    database = await freshDatabase(kind);
    guardOf = guardsOn(database);
  });

  const agent = () => `agent-${kind}-${++number}`;

  /** A scheduler with fake sockets; `done` is what happened to sockets and credentials, in order. */
  const fleet = ({ logger = recordingLogger(), logout, clear } = {}) => {
    const guard = guardOf({ logger });
    guard.startHeartbeat();
    const events = new Recorder();
    const sockets = new Recorder();
    const done = [];
    const scheduler = guard.createReconnectScheduler({
      ...QUICK,
      onEvent: events.tell,
      authState: (claim) => ({
        state: { creds: {}, keys: {} },
        saveCreds: async () => done.push('save'),
        clear: async () => {
          await clear?.();
          done.push(`clear${claim.held ? '' : ' without a claim'}`);
        },
      }),
      makeSocket: (given) => {
        const socket = new FakeSocket(given);
        socket.logout = async () => {
          done.push('logout');
          if (logout) await logout(socket);
          socket.ev.emit('creds.update');
          await socket.end(boom(401, 'Intentional Logout'));
        };
        sockets.tell(socket);
        return socket;
      },
    });
    const socket = async () => {
      const next = await sockets.next(() => true);
      await until(() => next.listeners > 0);
      return next;
    };
    const open = async (id) => {
      await scheduler.superviseSession(id);
      const first = await socket();
      first.opens();
      await events.next('connected');
      return first;
    };
    return { guard, scheduler, events, socket, open, done };
  };

  const row = async (agentId) => {
    const { rows } = await database.query(
      'SELECT status, is_active, instance_id FROM whatsapp_sessions WHERE agent_id = $1',
      [agentId],
    );
    return { ...rows[0], is_active: Boolean(rows[0]?.is_active) };
  };
  const ENDED = { status: 'disconnected', is_active: false, instance_id: null };

  test('a logout unlinks the device, then deletes the credentials, then gives the agent back', async () => {
    const id = agent();
    const { scheduler, events, open, done } = fleet();
    const socket = await open(id);
    expect(await scheduler.cancel(id, { logout: true })).toBe(true);
    expect(done).toEqual(['logout', 'save', 'clear']);
    expect(socket.listeners).toBe(0);
    expect(await row(id)).toEqual(ENDED);
    expect(events.types(id)).toEqual(['connecting', 'connected', 'cancelled']);
  });

  test('a logout that is on its way is not cut off', async () => {
    const id = agent();
    const { scheduler, open } = fleet();
    const socket = await open(id);
    const { ws } = socket;
    const cut = jest.spyOn(ws.socket, 'terminate');
    // As Baileys does: it closes by itself, without waiting, and then ends no second time.
    socket.logout = async () => Object.assign(ws, { isOpen: false, isClosing: true });
    socket.end = async () => {};
    const cancelled = scheduler.cancel(id, { logout: true });
    await until(() => cut.mock.calls.length > 0 || ws.listenerCount('close') > 0);
    expect(cut).not.toHaveBeenCalled();
    Object.assign(ws, { isClosing: false, isClosed: true });
    ws.emit('close');
    await cancelled;
    expect(cut).not.toHaveBeenCalled();
    expect(socket.listeners).toBe(0);
  });

  test('a phone that cannot be told is no reason to keep the credentials', async () => {
    const id = agent();
    const logger = recordingLogger();
    const { scheduler, open, done } = fleet({
      logger,
      logout: () => Promise.reject(new Error('Connection Closed')),
    });
    await open(id);
    await scheduler.cancel(id, { logout: true });
    expect(done).toEqual(['logout', 'clear']);
    expect(await row(id)).toEqual(ENDED);
    expect(JSON.stringify(logger.lines)).toMatch(/has to be removed from the phone by hand/);
  });

  test('one that is not connected is forgotten without a socket', async () => {
    const id = agent();
    const { scheduler, guard, done } = fleet();
    await guard.claimInstance(id);
    await scheduler.cancel(id, { logout: true });
    expect(done).toEqual(['clear']);
    expect(await row(id)).toEqual(ENDED);
  });

  test('credentials whose key is lost are told of, and forgotten without being opened', async () => {
    const id = agent();
    const before = guardOf({ encryptionKey: KEY_A });
    const claim = await before.claimInstance(id);
    const baileys = { initAuthCreds: () => ({ nextPreKeyId: 1 }), proto: {} };
    await (await before.useGuardedAuthState(claim, { baileys })).saveCreds();
    await before.shutdown();
    const stored = async () =>
      (await database.query('SELECT id FROM baileys_guard_auth WHERE agent_id = $1', [id])).rows;
    expect(await stored()).toHaveLength(1);

    const logger = recordingLogger();
    const guard = guardOf({ encryptionKey: KEY_B, logger });
    guard.startHeartbeat();
    const events = new Recorder();
    const scheduler = guard.createReconnectScheduler({
      ...QUICK,
      onEvent: events.tell,
      authState: undefined,
      makeSocket: () => {
        throw new Error('there is nothing to make a socket of');
      },
    });
    const trouble = once(guard, 'trouble');
    await scheduler.superviseSession(id);
    const [{ what, error }] = await trouble;
    expect(what).toBe(`agent ${id} could not be connected`);
    expect(await events.next('retry')).toMatchObject({ reason: 'connectFailed', error });
    expect(logger.lines.map(({ text }) => text)).toContain(`[BAILEYS] ${what}: ${error.message}`);
    await scheduler.cancel(id, { logout: true });
    expect(await stored()).toEqual([]);
    expect(await row(id)).toEqual(ENDED);
  });

  test('what is not cancelled by a logout keeps its credentials', async () => {
    const id = agent();
    const { scheduler, open, done } = fleet();
    await open(id);
    await scheduler.cancel(id, { deactivate: true });
    expect(done).toEqual([]);
  });

  test('a 401 where a person wants to pair anew: no credentials, and at once another try', async () => {
    const id = agent();
    const { scheduler, events, socket, done } = fleet();
    await scheduler.superviseSession(id, { pairAnew: true });
    (await socket()).closes(401);
    expect(await events.next('retry')).toMatchObject({
      code: 401,
      reason: 'restartRequired',
      delayMs: 0,
    });
    const second = await socket();
    expect(done).toEqual(['clear']);
    second.opens();
    await events.next('connected');
    second.closes(401);
    // The phone has removed the new device: nobody has asked to replace that one.
    expect(await events.next('stop')).toMatchObject({ reason: 'loggedOut' });
    expect(await events.next('released')).toEqual({ type: 'released', agentId: id });
    expect(await row(id)).toEqual(ENDED);
    expect(done).toEqual(['clear']);
  });

  test('a proxy that answers 401 says nothing about the device', async () => {
    const id = agent();
    const { scheduler, events, socket, done } = fleet();
    await scheduler.superviseSession(id, { pairAnew: true });
    (await socket()).ws.emit('unexpected-response', {}, { statusCode: 401, resume: () => {} });
    expect(await events.next('retry')).toMatchObject({ reason: 'upgradeRefused', code: 401 });
    await socket();
    expect(done).toEqual([]);
  });

  test('credentials that cannot be deleted are no hot loop', async () => {
    const id = agent();
    const logger = recordingLogger();
    const { scheduler, events, socket } = fleet({
      logger,
      clear: () => Promise.reject(new Error('disk full')),
    });
    await scheduler.superviseSession(id, { pairAnew: true });
    const delays = [];
    for (let attempt = 0; attempt < 5; attempt += 1) {
      (await socket()).closes(401);
      delays.push((await events.next('retry')).delayMs);
    }
    expect(delays).toEqual([0, 0, 0, 20, 40]);
    expect(JSON.stringify(logger.lines)).toMatch(/disk full/);
  });
});
