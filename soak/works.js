'use strict';

// The work of a soak: each is made once and gives a function that does some of it and tells how
// many operations that were. What it leaves behind is its own fault.

const crypto = require('node:crypto');
const { IncomingMessage, ServerResponse } = require('node:http');
const { Socket } = require('node:net');

const guardLibrary = require('..');

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };
const MANY = 500;
const AGENT = { agentId: 'soak' };
const BAILEYS = {
  initAuthCreds: () => ({ nextPreKeyId: 1 }),
  proto: { Message: { AppStateSyncKeyData: { fromObject: (value) => value } } },
};

const times = async (count, action) => {
  for (let n = 0; n < count; n++) await action(n);
  return count;
};
const many = (count, make) => Promise.all(Array.from({ length: count }, (_, n) => make(n)));

/** Without a database: thousands of operations between two turns of the event loop. */
const local = {
  'seal and open bytes': ({ guard }) => {
    const bytes = crypto.randomBytes(1400);
    const context = { ...AGENT, type: 'session', id: '1.0' };
    return async () => {
      for (let n = 0; n < 5000; n++)
        guard.decryptBytes(guard.encryptBytes(bytes, context), context);
      return 10_000;
    };
  },
  'seal and open credentials': ({ guard }) => {
    const creds = { noiseKey: { private: crypto.randomBytes(32) }, me: { id: '49151@s' } };
    return async () => {
      for (let n = 0; n < 1000; n++) {
        const stored = guard.encryptCredentials(creds, AGENT);
        guard.inspectEnvelope(stored);
        guard.needsReencryption(stored);
        guard.decryptCredentials(stored, AGENT);
      }
      return 4000;
    };
  },
  'seal and open many': ({ guard }) => {
    const values = Array.from({ length: 100 }, (_, n) => ({
      value: crypto.randomBytes(200),
      type: 'session',
      id: String(n),
    }));
    return async () => {
      for (let n = 0; n < 20; n++) {
        const sealed = guard.encryptMany(values, AGENT);
        guard.decryptMany(
          sealed.map((envelope, i) => ({ envelope, type: 'session', id: String(i) })),
          AGENT,
        );
      }
      return 4000;
    };
  },
  'envelopes that do not open': ({ guard }) => {
    const envelope = guard.encryptBytes(crypto.randomBytes(100), AGENT);
    envelope[envelope.length - 1] ^= 1;
    return async () => {
      for (let n = 0; n < 2000; n++) {
        try {
          guard.decryptBytes(envelope, AGENT);
          throw new Error('it opened');
        } catch (error) {
          if (error.code === undefined) throw error;
        }
      }
      return 2000;
    };
  },
  'middleware, ever new keys': () => {
    const limit = guardLibrary.rateLimit({
      windowMs: 200,
      limit: 5,
      keyGenerator: (request) => request.key,
      validate: false,
    });
    const request = new IncomingMessage(new Socket());
    let key = 0;
    return async () => {
      for (let n = 0; n < 5000; n++) {
        request.key = `key-${key++}`;
        await limit(request, new ServerResponse(request), () => {});
      }
      return 5000;
    };
  },
  'limiter, all algorithms': ({ guard }) => {
    const limiters = ['fixed-window', 'sliding-window', 'gcra'].map((algorithm) =>
      guard.createRateLimiter({
        limit: 10,
        windowMs: 100,
        algorithm,
        maxKeys: 10_000,
        logger: SILENT,
      }),
    );
    let key = 0;
    return async () => {
      for (let n = 0; n < 1000; n++) {
        key += 1;
        for (const limiter of limiters) await limiter.consume(`key-${key % 20_000}`);
      }
      return 3000;
    };
  },
  'schedules, begun and cancelled': ({ guard }) => {
    const scheduler = guard.createReconnectScheduler({
      connect: () => new Promise(() => {}),
      connectsPerSecond: 0.001,
    });
    const error = { error: { output: { statusCode: 428 } } };
    return async () => {
      for (let n = 0; n < 500; n++) scheduler.disconnected(`agent-${n}`, error);
      await many(500, (n) => scheduler.cancel(`agent-${n}`));
      return 1000;
    };
  },
  'refused arguments':
    ({ guard }) =>
    async () => {
      await many(MANY, () =>
        guard.claimInstance('').then(
          () => Promise.reject(new Error('it was taken')),
          (error) => error.code,
        ),
      );
      return MANY;
    },
};

/** On a database. */
const stored = {
  'claims and releases': ({ guard }) => {
    let agent = 0;
    return async () => {
      await many(20, async () => {
        const claim = await guard.claimInstance(`claimed-${agent++ % 200}`);
        await claim.release({ deactivate: true });
      });
      return 40;
    };
  },
  'batch claims, lists, owners': ({ guard }) => {
    const agents = Array.from({ length: 100 }, (_, n) => `batch-${n}`);
    return async () => {
      const { claims } = await guard.claimInstances(agents);
      await guard.listSessions({ mine: true });
      await many(20, (n) => guard.getOwner(agents[n]));
      await Promise.all(claims.map((claim) => claim.release()));
      return 221;
    };
  },
  'fenced updates': async ({ guard }) => {
    const claim = await guard.claimInstance('updated');
    return () => times(50, (n) => claim.update({ status: 'connected', qrCode: `qr ${n}` }));
  },
  'auth state': async ({ guard }) => {
    const claim = await guard.claimInstance('stored');
    let set = 0;
    return async () => {
      const { state, saveCreds } = await guard.useGuardedAuthState(claim, { baileys: BAILEYS });
      await times(30, async () => {
        const id = String(set++ % 500);
        await state.keys.set({ session: { [id]: crypto.randomBytes(1000) } });
        await state.keys.get('session', [id, 'none']);
      });
      await saveCreds();
      return 61;
    };
  },
  'limits in the database': ({ guard }) => {
    const limiter = guard.createRateLimiter({
      limit: 5,
      windowMs: 500,
      store: 'database',
      name: 'soak',
    });
    let key = 0;
    return async () => {
      await many(50, () => limiter.consume(`key-${key++}`));
      return 50;
    };
  },
  'watchers come and go':
    ({ guard }) =>
    async () => {
      const stops = Array.from({ length: 100 }, () => guard.watchOwnership(() => {}));
      for (const stop of stops) await stop();
      return 200;
    },
  'guards come and go':
    ({ url, key }) =>
    async () => {
      await times(3, async (n) => {
        const guard = guardLibrary.createGuard({
          databaseUrl: url,
          encryptionKey: key,
          logger: SILENT,
        });
        guard.startHeartbeat();
        await guard.claimInstance(`brief-${n}`);
        await guard.shutdown();
      });
      return 3;
    },
};

module.exports = { local, stored };
