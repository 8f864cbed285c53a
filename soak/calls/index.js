'use strict';

// Work for every public function, method and property: each again and again by itself, so that
// what leaks is named by what was called. A test compares this with what is public.

const library = require('../..');
const { publicNames, uncovered } = require('../surface');

const AREAS = [
  require('./credentials'),
  require('./ownership'),
  require('./auth-state'),
  require('./rate-limits'),
  require('./reconnecting'),
  require('./insight'),
];

const all = (part) => Object.assign({}, ...AREAS.map((area) => area[part]));
const onGuard = all('onGuard');

/** A guard's methods, which the module has under the same names for its default guard. */
const onGuards = Object.fromEntries(
  Object.entries(onGuard).map(([name, make]) => [`Guard.${name}`, make]),
);

/** The same with the default guard, which is the module, and what only the module has. */
const onModule = {
  ...Object.fromEntries(Object.entries(onGuard).filter(([name]) => name in library)),
  ...all('onModule'),
};

const others = all('others');

/** What is public and has no work of its own, and why. */
const exempt = {
  GuardError: 'made by whatever is refused',
  AgentInUseError: 'made by the refused calls of claimInstance',
  ClaimLostError: 'made by the refused calls of Claim.update',
  DecryptionError: 'made by the refused calls of decryptBytes',
  shutdown: 'ends the default guard for good; Guard.shutdown is the same on guards of their own',
  rollback: 'takes away what the other calls need; Guard.rollback is the same on a new database',
  'rate-limit.default': 'is rate-limit itself',
  'rate-limit.rateLimit': 'is rate-limit itself',
  'rate-limit.MemoryStore': 'is MemoryStore',
  'rate-limit.ipKeyGenerator': 'is ipKeyGenerator',
  'rate-limit.createRateLimiter': 'is createRateLimiter',
  'Claim.native': 'for the rooms of this library; not in index.d.ts',
  'Claim.beforeRelease': 'for the rooms of this library; not in index.d.ts',
  'Claim.flush': 'for the rooms of this library; not in index.d.ts; called by Claim.release',
  'Claim.end': 'for the rooms of this library; not in index.d.ts; called by Claim.release',
  'Heartbeat.options': 'for the rooms of this library; not in index.d.ts',
};

/**
 * One of each kind of object that a user gets hold of.
 *
 * @param {object} guard whose samples are taken; end it when they are no longer needed
 */
async function samples(guard) {
  const claim = await guard.claimInstance('sample');
  const baileys = { initAuthCreds: () => ({}), proto: {} };
  const { state, ...auth } = await guard.useGuardedAuthState(claim, { baileys });
  const makeSocket = () => ({ ev: { on() {}, off() {} }, end() {} });
  return {
    'rate-limit': require('../../rate-limit'),
    Guard: guard,
    Claim: claim,
    Heartbeat: guard.startHeartbeat(),
    AuthState: auth,
    'AuthState.keys': state.keys,
    StopWatching: guard.watchOwnership(() => {}),
    MemoryStore: new library.MemoryStore(),
    RateLimitRequestHandler: guard.rateLimit(),
    RateLimiter: guard.createRateLimiter(),
    ReconnectScheduler: guard.createReconnectScheduler({ connect() {} }),
    SupervisedSession: await guard.superviseSession('supervised sample', { makeSocket }),
    HealthHandler: guard.healthHandler(),
  };
}

/** What is public without work or excuse, and the other way round: see `uncovered`. */
async function gaps(guard) {
  const works = Object.keys({ ...onGuards, ...onModule, ...others });
  return uncovered(publicNames(library, await samples(guard)), works, exempt);
}

module.exports = { exempt, gaps, onGuards, onModule, others, samples };
