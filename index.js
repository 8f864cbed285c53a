'use strict';

// The public face: every name one by one, so that bundlers, ESM and readers find it.

const errors = require('./lib/errors');

module.exports.GuardError = errors.GuardError;
module.exports.AgentInUseError = errors.AgentInUseError;
module.exports.ClaimLostError = errors.ClaimLostError;
module.exports.DecryptionError = errors.DecryptionError;
