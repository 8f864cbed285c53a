'use strict';

// The public face: every name one by one, so that bundlers, ESM and readers find it.

const errors = require('./lib/errors');

module.exports.GuardError = errors.GuardError;
module.exports.AgentInUseError = errors.AgentInUseError;
module.exports.ClaimLostError = errors.ClaimLostError;
module.exports.DecryptionError = errors.DecryptionError;

const { createRateLimit, MemoryStore, ipKeyGenerator } = require('./lib/rate-limit');

module.exports.rateLimit = createRateLimit(() => {
  throw new Error('not wired yet');
});
module.exports.MemoryStore = MemoryStore;
module.exports.ipKeyGenerator = ipKeyGenerator;
