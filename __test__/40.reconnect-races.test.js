'use strict';

// What is asked for while something of the same agent is under way: never two sockets, never a claim
// that nobody uses, and the last wish counts.

const { KINDS, freshDatabase, guardsOn } = require('./support/databases');
const { FakeSocket, QUICK, Recorder, boom, until } = require('./support/reconnect');
const native = require('../lib/native');

describe.each(KINDS)('races of one agent on %s', (kind) => {
  let database;
  let guardOf;
  let number = 0;

  beforeAll(async () => {
    database = await freshDatabase(kind);
    guardOf = guardsOn(database);
  });

  afterEach(() => jest.restoreAllMocks());

  const agent = () => `agent-${kind}-${++number}`;

  /** A scheduler over sockets that take `closeMs` to end, and count. */
  const schedulerOf = ({ closeMs = 0, ...options } = {}) => {
    const guard = guardOf();
    guard.startHeartbeat();
    const events = new Recorder();
    const sockets = { open: 0, most: 0, made: 0 };
    const connect = async (id) => {
      sockets.made += 1;
      sockets.most = Math.max(sockets.most, ++sockets.open);
      scheduler.connected(id);
      return {
        async end() {
          await new Promise((resolve) => setTimeout(resolve, closeMs));
          sockets.open -= 1;
        },
      };
    };
    const scheduler = guard.createReconnectScheduler({
      ...QUICK,
      connect,
      onEvent: events.tell,
      ...options,
    });
    return { guard, scheduler, events, sockets };
  };

  /** Lets the next answers of a native method be held back; resolves them by `release()`. */
  const held = (prototype, method) => {
    const original = prototype[method];
    let release;
    const gate = new Promise((resolve) => (release = resolve));
    const called = new Promise((resolve) => {
      jest.spyOn(prototype, method).mockImplementation(function (...args) {
        const answer = original.apply(this, args);
        resolve();
        return gate.then(() => answer);
      });
    });
    return { called, release };
  };

  test('restarted twice while the old socket closes: one socket, and none after the end', async () => {
    const id = agent();
    const { scheduler, events, sockets } = schedulerOf({ closeMs: 200 });
    scheduler.schedule(id, { userId: 'u' });
    await events.next('connected');
    for (let n = 0; n < 3; n++) {
      scheduler.cancel(id);
      scheduler.schedule(id);
      await new Promise((resolve) => setTimeout(resolve, 50)); // its turn comes, and waits
    }
    await until(() => sockets.made > 1 && sockets.open === 1);
    await scheduler.stop();
    expect(sockets).toMatchObject({ most: 1, open: 0 });
  });

  test('cancelled and entered again while its claim is under way: one socket', async () => {
    const id = agent();
    const { scheduler, events, sockets } = schedulerOf();
    const claims = held(native.NativeGuard.prototype, 'claim');
    scheduler.schedule(id, { userId: 'u' });
    await claims.called;
    await scheduler.cancel(id);
    scheduler.schedule(id);
    await new Promise((resolve) => setTimeout(resolve, 50)); // the second turn asks for it, too
    claims.release();
    await events.next('connected');
    await scheduler.stop();
    expect(sockets).toMatchObject({ made: 1, open: 0 });
  });

  test('cancelled when it was just admitted: no socket', async () => {
    const id = agent();
    const { guard, scheduler, sockets } = schedulerOf();
    const claim = await guard.claimInstance(id, { userId: 'u' });
    const admissions = held(native.NativeScheduler.prototype, 'admit');
    scheduler.schedule(id);
    await admissions.called;
    expect(await scheduler.cancel(id)).toBe(true);
    admissions.release();
    await scheduler.stop();
    expect(sockets.made).toBe(0);
    expect(claim.held).toBe(true); // it is the user's
  });

  test.each([
    ['comes up', 1000, (scheduler, id) => scheduler.connected(id)],
    // Longer, since that time begins anew then.
    ['shows life', 2000, (scheduler, id) => scheduler.progress(id)],
  ])('it %s in the moment in which it times out: it goes on', async (_, timeoutMs, happens) => {
    const id = agent();
    const { scheduler, events } = schedulerOf({
      connectTimeoutMs: timeoutMs,
      connect: (_id, { signal: given }) => (signal = given),
    });
    let signal;
    scheduler.schedule(id, { userId: 'u' });
    await events.next('connecting');
    // The event loop stands still while the timer runs out, and then hears of both.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, timeoutMs + 200);
    happens(scheduler, id);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(signal.aborted).toBe(false);
    scheduler.connected(id);
    expect(scheduler.pending()).toEqual([]);
    expect(scheduler.disconnected(id, 428)).toMatchObject({ action: 'retry', attempt: 1 });
    await scheduler.stop();
  });

  test.each([
    ['onGiveUp', 401],
    ['onEvent', 401],
    ['onEvent', 440],
  ])('entered again from %s after %i: connected under a new claim', async (from, code) => {
    const id = agent();
    const again = () => setImmediate(() => scheduler.schedule(id));
    let begun = false;
    const { guard, scheduler, events, sockets } = schedulerOf({
      [from]: (event) => {
        if (from === 'onEvent') events.tell(event);
        const over = from === 'onGiveUp' || ['stop', 'quarantine'].includes(event.type);
        if (over && !begun) again();
        begun ||= over;
      },
    });
    const first = await guard.claimInstance(id, { userId: 'u' });
    scheduler.schedule(id);
    await events.next('connected');
    scheduler.disconnected(id, boom(code));
    await until(() => sockets.made === 2 && scheduler.pending().length === 0);
    expect(first.held).toBe(false);
    expect(await guard.getOwner(id)).toMatchObject({ instanceId: guard.instanceId });
    await scheduler.stop();
  });

  test('a 401 answered by superviseSession with pairAnew shows a new QR code', async () => {
    const id = agent();
    const sockets = new Recorder();
    const makeSocket = (given) => {
      const socket = new FakeSocket(given);
      sockets.tell(socket);
      return socket;
    };
    const authState = () => ({ state: { creds: {}, keys: {} }, saveCreds() {}, clear() {} });
    const { guard, scheduler, events } = schedulerOf({
      connect: undefined,
      authState,
      makeSocket,
      onGiveUp: (agentId) =>
        scheduler.superviseSession(agentId, { makeSocket, authState, pairAnew: true }),
    });
    await scheduler.superviseSession(id, { userId: 'u' });
    const first = await sockets.next(() => true);
    await until(() => first.listeners > 0);
    first.opens();
    await events.next('connected');
    first.closes(401);
    const second = await sockets.next(() => true);
    await until(() => second.listeners > 0);
    second.update({ qr: 'a new one' });
    await events.next('qr');
    const session = async () => (await guard.listSessions()).find(({ agentId }) => agentId === id);
    await until(async () => (await session()).status === 'qr_pending');
    expect((await session()).owner).toMatchObject({ instanceId: guard.instanceId });
    await scheduler.stop();
  });

  test('a beforeRelease that hangs does not keep sessions connecting after a shutdown', async () => {
    const peer = schedulerOf();
    await peer.scheduler.resumeAll(); // somebody to hand over to
    const { guard, scheduler, events } = schedulerOf({
      connect: async (id) => {
        if (id.startsWith('bad')) throw new Error('not now');
        scheduler.connected(id);
      },
    });
    await scheduler.resumeAll();
    const good = agent();
    scheduler.schedule(good, { userId: 'u' });
    scheduler.schedule(`bad-${good}`, { userId: 'u' });
    await events.next('connected');
    const asked = [];
    await guard.shutdown({
      timeoutMs: 500,
      beforeRelease: ({ agentId }) => {
        asked.push(agentId);
        return new Promise(() => {});
      },
    });
    expect(asked).toContain(good);
    expect(scheduler.pending()).toEqual([]);
    const told = events.all.length;
    await new Promise((resolve) => setTimeout(resolve, 500)); // it would try again every 200 ms
    expect(events.all.slice(told)).toEqual([]);
  });

  test('superviseSession over a stop leaves no claim behind', async () => {
    const id = agent();
    const { guard, scheduler } = schedulerOf({ makeSocket: () => {}, connect: undefined });
    const claims = held(native.NativeGuard.prototype, 'claim');
    const supervised = scheduler.superviseSession(id, { userId: 'u' });
    supervised.catch(() => {}); // expected below
    await claims.called;
    await scheduler.stop();
    claims.release();
    await expect(supervised).rejects.toMatchObject({ code: 'ERR_SHUT_DOWN' });
    expect(await guard.getOwner(id)).toBeNull();
  });
});
