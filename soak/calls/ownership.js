'use strict';

// Guards, claims and what keeps them.

const { createGuard } = require('../..');
const { costly, refusal, repeat } = require('./repeat');

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };
const COMMIT = 'every call commits to the database';
const READ = 'every call asks the database';
const GUARD = 'every call makes a guard and shuts it down';
const AGENTS = 200;

/** A claim that is over. */
async function lost(guard) {
  const claim = await guard.claimInstance('lost');
  await claim.release();
  return claim;
}

/** An agent that another guard has. */
const taken = (rival) => rival.claimInstance('taken').then(({ agentId }) => agentId);

const brief = ({ url, key }) =>
  createGuard({ databaseUrl: url, encryptionKey: key, logger: SILENT });

const onGuard = {
  migrate: costly(20, READ, ({ guard }) => repeat(() => guard.migrate(), { together: 20 })),
  claimInstance: costly(5, COMMIT, async ({ guard, rival }) => {
    const agentId = await taken(rival);
    return repeat(async (n) => (await guard.claimInstance(`claimed-${n % AGENTS}`)).release(), {
      together: AGENTS,
      refused: [() => guard.claimInstance(''), () => guard.claimInstance(agentId)],
    });
  }),
  claimInstances: costly(50, COMMIT, ({ guard }) => {
    const agents = Array.from({ length: 20 }, (_, n) => `batch-${n}`);
    return repeat(
      async () => {
        const { claims } = await guard.claimInstances(agents);
        await Promise.all(claims.map((claim) => claim.release()));
      },
      { together: 1, refused: [() => guard.claimInstances([''])] },
    );
  }),
  startHeartbeat: costly(10, 'every call starts a heart, which beats at once', ({ guard }) => {
    let n = 0;
    return async () => {
      for (const end = n + 20; n < end; n++) {
        guard.startHeartbeat().stop();
        guard.startHeartbeat({ intervalMs: 1000 });
        await refusal(() => guard.startHeartbeat({ intervalMs: 2000 }));
        await refusal(() => guard.startHeartbeat({ intervalMs: 1 }));
      }
      return 20;
    };
  }),
  getOwner: costly(2, READ, async ({ guard, rival }) => {
    const agentId = await taken(rival);
    return repeat((n) => guard.getOwner(n % 2 ? agentId : 'nobody'), {
      refused: [() => guard.getOwner('')],
    });
  }),
  listSessions: costly(10, READ, ({ guard }) =>
    repeat(() => guard.listSessions({ active: true }), {
      together: 20,
      refused: [() => guard.listSessions({ mine: 'yes' })],
    }),
  ),
  watchOwnership: costly(1, 'it listens to the database', ({ guard }) =>
    repeat(
      async () => {
        const stop = guard.watchOwnership(() => {});
        await stop.ready;
        stop();
      },
      { refused: [() => guard.watchOwnership()] },
    ),
  ),
};

const others = {
  createGuard: costly(100, GUARD, (tools) =>
    repeat(() => brief(tools).shutdown(), {
      together: 5,
      refused: [
        () => createGuard({ databaseUrl: 'mysql://nobody' }),
        () => createGuard({ encryptionKey: 'short' }),
      ],
    }),
  ),
  'Guard.shutdown': costly(100, GUARD, (tools) =>
    repeat(
      async () => {
        const guard = brief(tools);
        guard.startHeartbeat();
        await guard.claimInstance('brief');
        await guard.shutdown();
        await guard.shutdown(); // nothing is left to do
        await refusal(() => guard.claimInstance('brief'));
      },
      { together: 1 },
    ),
  ),
  'Guard.rollback': costly(
    1000,
    'every call takes the tables away, and they are made anew',
    async ({ fresh, key }) => {
      const guard = brief({ url: await fresh(), key });
      let n = 0;
      return async () => {
        for (const end = n + 5; n < end; n++) {
          await guard.migrate();
          await guard.rollback();
        }
        return 5;
      };
    },
  ),
  'Guard.instanceId': ({ guard }) => repeat(() => guard.instanceId),
  StopWatching: ({ guard }) =>
    repeat(() => {
      const stop = guard.watchOwnership(() => {});
      stop();
      stop();
      return stop.ready;
    }),

  'Claim.update': costly(5, COMMIT, async ({ guard }) => {
    const claim = await guard.claimInstance('updated');
    const over = await lost(guard);
    return repeat((n) => claim.update({ status: 'connected', qrCode: `qr ${n}` }), {
      refused: [() => claim.update({ color: 'red' }), () => over.update({ qrCode: null })],
    });
  }),
  'Claim.release': costly(5, COMMIT, ({ guard }) =>
    repeat(
      async (n) => {
        const claim = await guard.claimInstance(`released-${n % AGENTS}`);
        await claim.release({ deactivate: true });
      },
      { together: AGENTS },
    ),
  ),
  'Claim.signal': async ({ guard }) => {
    const claim = await guard.claimInstance('signalled');
    const over = await lost(guard);
    const ended = new AbortController();
    return repeat(
      () => {
        const stop = () => {};
        claim.signal.addEventListener('abort', stop);
        claim.signal.throwIfAborted();
        claim.signal.removeEventListener('abort', stop);
        return ended.signal.aborted;
      },
      { refused: [() => over.signal.throwIfAborted()] },
    );
  },
  ...Object.fromEntries(
    ['agentId', 'instanceId', 'hostname', 'fencingToken', 'held'].map((name) => [
      `Claim.${name}`,
      async ({ guard }) => {
        const claim = await guard.claimInstance('looked at');
        const over = await lost(guard);
        return repeat(() => [claim[name], over[name]]);
      },
    ]),
  ),
  'Claim.toJSON': async ({ guard }) => {
    const claim = await guard.claimInstance('shown');
    return repeat(() => JSON.stringify(claim));
  },

  'Heartbeat.stop': costly(10, 'every call stops a heart that was just started', ({ guard }) => {
    return async () => {
      for (let n = 0; n < 20; n++) {
        const heartbeat = guard.startHeartbeat();
        heartbeat.stop();
        heartbeat.stop();
      }
      guard.startHeartbeat({ intervalMs: 1000 });
      return 20;
    };
  }),
  'Heartbeat.stats': ({ guard }) => repeat(() => guard.startHeartbeat().stats()),
};

const onModule = {
  // The default guard is configured already: it can be told no more than that.
  configure: ({ url, library }) =>
    repeat(() => refusal(() => library.configure({ databaseUrl: url }))),
};

module.exports = { onGuard, onModule, others };
