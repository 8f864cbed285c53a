'use strict';

/**
 * What this backend reads from the environment. `DATABASE_URL`, `INSTANCE_ID` and `LEASE_TTL_MS` are
 * read by baileys-guard itself.
 */

const path = require('node:path');

const { env } = process;

module.exports = {
  host: env.HOST || '127.0.0.1',
  port: Number(env.PORT || 3000),

  /** Credentials, one folder for each agent. Every instance must see the same files. */
  authDir: path.resolve(env.AUTH_DIR || 'auth_sessions'),

  /** The offline endpoint instead of WhatsApp, for tests and the demo. */
  waWebSocketUrl: env.WA_WEBSOCKET_URL || undefined,

  baileysLogLevel: env.BAILEYS_LOG_LEVEL || 'error',
};
