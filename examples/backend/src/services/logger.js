'use strict';

/** Baileys' logger, and a guard for what libsignal prints past it. */

const { DEFAULT_CONNECTION_CONFIG } = require('baileys');

const { baileysLogLevel } = require('../config');

// libsignal prints whole sessions, private keys included, through these two.
for (const method of ['info', 'warn']) {
  const print = console[method];
  console[method] = (...args) =>
    print(...args.map((arg) => (arg?.constructor?.name === 'SessionEntry' ? '(session)' : arg)));
}

module.exports = DEFAULT_CONNECTION_CONFIG.logger.child({}, { level: baileysLogLevel });
