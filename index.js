'use strict';

// The public face: every name one by one, so that bundlers, ESM and readers find it.

const { asyncOnDefaultGuard, configure, onDefaultGuard } = require('./lib/default-guard');
const errors = require('./lib/errors');
const { Guard } = require('./lib/guard');

// Errors
module.exports.GuardError = errors.GuardError;
module.exports.AgentInUseError = errors.AgentInUseError;
module.exports.ClaimLostError = errors.ClaimLostError;
module.exports.DecryptionError = errors.DecryptionError;

// Configuration and schema
module.exports.createGuard = (options) => new Guard(options);
module.exports.configure = configure;
module.exports.migrate = asyncOnDefaultGuard('migrate');
module.exports.rollback = asyncOnDefaultGuard('rollback');

// Ownership
module.exports.claimInstance = asyncOnDefaultGuard('claimInstance');
module.exports.claimInstances = asyncOnDefaultGuard('claimInstances');
module.exports.startHeartbeat = onDefaultGuard('startHeartbeat');
module.exports.getOwner = asyncOnDefaultGuard('getOwner');
module.exports.listSessions = asyncOnDefaultGuard('listSessions');
module.exports.watchOwnership = onDefaultGuard('watchOwnership');
module.exports.shutdown = asyncOnDefaultGuard('shutdown');

// Rate limits
const rateLimits = require('./lib/rate-limit');
const { invalidOption } = errors;

// The database's side of `store: 'database'` is set here once a guard has a store to give.
const databaseLimits = rateLimits.createDatabaseLimits(() => {
  throw invalidOption('store', 'no database is configured');
});

module.exports.rateLimit = rateLimits.createRateLimit(databaseLimits);
module.exports.createRateLimiter = rateLimits.createRateLimiterFactory(databaseLimits);
module.exports.MemoryStore = rateLimits.MemoryStore;
module.exports.ipKeyGenerator = rateLimits.ipKeyGenerator;
