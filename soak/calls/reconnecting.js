'use strict';

// Schedulers, and sessions on sockets that only seem to be some.

const { EventEmitter } = require('node:events');

const { costly, refusal, repeat } = require('./repeat');

const COMMIT = 'every call claims, writes the session row and releases';
const READ = 'every call asks the database';
const CLOSED = { error: { output: { statusCode: 428 } } };
const AUTH = { state: { creds: {}, keys: {} }, saveCreds() {}, clear() {} };

/** As much of a socket as a session uses; it is connected a moment after it was made. */
function makeSocket() {
  const ev = new EventEmitter();
  setImmediate(() => ev.emit('connection.update', { connection: 'open' }));
  return { ev, end() {} };
}

const SUPERVISION = { makeSocket, authState: AUTH };
const FAST = { connectsPerSecond: 1e6, maxConcurrent: 1000, initialDelayMs: 0 };

const never = (guard) =>
  guard.createReconnectScheduler({
    connect: () => new Promise(() => {}),
    connectsPerSecond: 0.001,
  });

/**
 * A scheduler keeps something of each agent that it was told to leave alone, or that is connected:
 * agents are as many as there are WhatsApp numbers, not as there are calls.
 */
const agentOf = (n) => `agent-${n % 1000}`;

/** Work on a scheduler that connects nobody within the time that a work takes. */
function waiting(call, refused = () => []) {
  return ({ guard }) => {
    const scheduler = never(guard);
    return repeat((n) => call(scheduler, n), { refused: refused(scheduler) });
  };
}

async function stopped(guard) {
  const scheduler = never(guard);
  await scheduler.stop();
  return scheduler;
}

const onGuard = {
  createReconnectScheduler: ({ guard }) =>
    repeat(() => never(guard).stop(), {
      refused: [() => guard.createReconnectScheduler({ connect() {}, jitter: 2 })],
    }),
  superviseSession: costly(50, COMMIT, ({ guard }) =>
    repeat(
      async (n) => {
        const session = await guard.superviseSession(`supervised-${n % 50}`, SUPERVISION);
        await session.stop({ deactivate: true });
      },
      { together: 20, refused: [() => guard.superviseSession('agent', {})] },
    ),
  ),
  classifyDisconnect: ({ guard }) =>
    repeat(
      (n) => guard.classifyDisconnect({ error: { output: { statusCode: 400 + (n % 120) } } }),
      {
        refused: [() => guard.classifyDisconnect(CLOSED, { jitter: 2 })],
      },
    ),
};

const others = {
  'ReconnectScheduler.schedule': waiting(
    (scheduler, n) => {
      scheduler.schedule(agentOf(n), { delayMs: 60_000, userId: 'user', reset: true });
      return scheduler.cancel(agentOf(n));
    },
    (scheduler) => [() => scheduler.schedule(''), () => scheduler.schedule('a', { delayMs: -1 })],
  ),
  'ReconnectScheduler.schedule, connecting': costly(50, COMMIT, ({ guard }) => {
    const scheduler = guard.createReconnectScheduler({ ...FAST, ...SUPERVISION });
    return repeat(
      async (n) => {
        scheduler.schedule(`connected-${n % 50}`);
        await scheduler.cancel(`connected-${n % 50}`, { deactivate: true });
      },
      { together: 20 },
    );
  }),
  'ReconnectScheduler.connected': waiting((scheduler, n) => scheduler.connected(agentOf(n))),
  'ReconnectScheduler.progress': waiting((scheduler, n) => scheduler.progress(agentOf(n))),
  'ReconnectScheduler.disconnected': waiting(
    (scheduler, n) => {
      scheduler.disconnected(agentOf(n), CLOSED);
      return scheduler.cancel(agentOf(n));
    },
    (scheduler) => [() => scheduler.disconnected('', CLOSED)],
  ),
  'ReconnectScheduler.resumeAll': costly(500, READ, async ({ guard }) => {
    const scheduler = guard.createReconnectScheduler({ ...FAST, ...SUPERVISION });
    const over = await stopped(guard);
    return repeat(() => scheduler.resumeAll({ onProgress() {} }), {
      together: 1,
      refused: [() => over.resumeAll()],
    });
  }),
  'ReconnectScheduler.superviseSession': costly(50, COMMIT, ({ guard }) => {
    const scheduler = guard.createReconnectScheduler({ ...FAST, ...SUPERVISION });
    return repeat(
      async (n) => {
        const session = await scheduler.superviseSession(`watched-${n % 50}`, { reset: true });
        await session.stop({ deactivate: true });
      },
      { together: 20, refused: [() => scheduler.superviseSession('')] },
    );
  }),
  'ReconnectScheduler.cancel': waiting(
    (scheduler, n) => scheduler.cancel(agentOf(n)),
    (scheduler) => [() => scheduler.cancel('a', { logout: 'yes' })],
  ),
  'ReconnectScheduler.stop': ({ guard }) =>
    repeat(async () => {
      const scheduler = await stopped(guard);
      await scheduler.stop();
      await refusal(() => scheduler.schedule('agent'));
    }),
  'ReconnectScheduler.pending': ({ guard }) => {
    const scheduler = never(guard);
    for (let n = 0; n < 5; n++) scheduler.schedule(`agent-${n}`, { delayMs: 3_600_000 });
    return Object.assign(
      repeat(() => scheduler.pending()),
      { end: () => scheduler.stop() },
    );
  },
  'ReconnectScheduler.listInactive': costly(10, READ, ({ guard }) => {
    const scheduler = never(guard);
    return repeat(() => scheduler.listInactive({ olderThanMs: 0 }), {
      together: 20,
      refused: [() => scheduler.listInactive({ olderThanMs: -1 })],
    });
  }),
  'ReconnectScheduler.stats': waiting((scheduler) => scheduler.stats()),

  'SupervisedSession.stop': costly(50, COMMIT, ({ guard }) =>
    repeat(
      async (n) => {
        const session = await guard.superviseSession(`stopped-${n % 50}`, SUPERVISION);
        await session.stop({ logout: true });
        await session.stop();
      },
      { together: 20 },
    ),
  ),
  ...Object.fromEntries(
    ['agentId', 'claim'].map((name) => [
      `SupervisedSession.${name}`,
      async ({ guard }) => {
        const session = await guard.superviseSession('looked at', SUPERVISION);
        return Object.assign(
          repeat(() => session[name]),
          { end: () => session.stop() },
        );
      },
    ]),
  ),
};

module.exports = { onGuard, others };
