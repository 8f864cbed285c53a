'use strict';

// The public face: every name one by one, so that bundlers, ESM and readers find it.

const { asyncOnDefaultGuard, configure, onDefaultGuard } = require('./lib/default-guard');
const errors = require('./lib/errors');
const { Guard } = require('./lib/guard');
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

// Reconnecting
module.exports.createReconnectScheduler = onDefaultGuard('createReconnectScheduler');
module.exports.superviseSession = asyncOnDefaultGuard('superviseSession');
module.exports.classifyDisconnect = classifyDisconnect;
