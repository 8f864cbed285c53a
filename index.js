'use strict';

// The public face: every name one by one, so that bundlers, ESM and readers find it.

const { asyncOnDefaultGuard, configure, limits, onDefaultGuard } = require('./lib/default-guard');
const errors = require('./lib/errors');
const { Guard } = require('./lib/guard');
const { MemoryStore, ipKeyGenerator } = require('./lib/rate-limit');
const { classifyDisconnect } = require('./lib/reconnect/facts');

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

// Credentials
module.exports.encryptCredentials = onDefaultGuard('encryptCredentials');
module.exports.decryptCredentials = onDefaultGuard('decryptCredentials');
module.exports.encryptBytes = onDefaultGuard('encryptBytes');
module.exports.decryptBytes = onDefaultGuard('decryptBytes');
module.exports.encryptMany = onDefaultGuard('encryptMany');
module.exports.decryptMany = onDefaultGuard('decryptMany');
module.exports.inspectEnvelope = onDefaultGuard('inspectEnvelope');
module.exports.needsReencryption = onDefaultGuard('needsReencryption');

// Baileys auth state
module.exports.useGuardedAuthState = asyncOnDefaultGuard('useGuardedAuthState');
module.exports.importAuthState = asyncOnDefaultGuard('importAuthState');
module.exports.exportAuthState = asyncOnDefaultGuard('exportAuthState');
module.exports.rotateCredentials = asyncOnDefaultGuard('rotateCredentials');

// Rate limits
module.exports.rateLimit = function rateLimit(options) {
  limits.checkOpen();
  return limits.rateLimit(options);
};
module.exports.createRateLimiter = function createRateLimiter(options) {
  limits.checkOpen();
  return limits.createRateLimiter(options);
};
module.exports.MemoryStore = MemoryStore;
module.exports.ipKeyGenerator = ipKeyGenerator;

// Reconnecting
module.exports.createReconnectScheduler = onDefaultGuard('createReconnectScheduler');
module.exports.superviseSession = asyncOnDefaultGuard('superviseSession');
module.exports.classifyDisconnect = classifyDisconnect;

// Seeing what happens
module.exports.metrics = onDefaultGuard('metrics');
module.exports.metricsText = onDefaultGuard('metricsText');
module.exports.registerMetrics = onDefaultGuard('registerMetrics');
module.exports.health = asyncOnDefaultGuard('health');
module.exports.healthHandler = onDefaultGuard('healthHandler');
module.exports.on = onDefaultGuard('on');
module.exports.once = onDefaultGuard('once');
module.exports.off = onDefaultGuard('off');
