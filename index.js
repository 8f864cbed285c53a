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

// Credentials
module.exports.encryptCredentials = onDefaultGuard('encryptCredentials');
module.exports.decryptCredentials = onDefaultGuard('decryptCredentials');
module.exports.encryptBytes = onDefaultGuard('encryptBytes');
module.exports.decryptBytes = onDefaultGuard('decryptBytes');
module.exports.encryptMany = onDefaultGuard('encryptMany');
module.exports.decryptMany = onDefaultGuard('decryptMany');
module.exports.inspectEnvelope = onDefaultGuard('inspectEnvelope');
module.exports.needsReencryption = onDefaultGuard('needsReencryption');

// Ownership
module.exports.claimInstance = asyncOnDefaultGuard('claimInstance');
module.exports.claimInstances = asyncOnDefaultGuard('claimInstances');
module.exports.startHeartbeat = onDefaultGuard('startHeartbeat');
module.exports.getOwner = asyncOnDefaultGuard('getOwner');
module.exports.listSessions = asyncOnDefaultGuard('listSessions');
module.exports.watchOwnership = onDefaultGuard('watchOwnership');
module.exports.shutdown = asyncOnDefaultGuard('shutdown');
