'use strict';

/**
 * What this backend reads from the environment. `DATABASE_URL`, `INSTANCE_ID` and `LEASE_TTL_MS` are
 * read by baileys-guard itself.
 */

const { env } = process;

module.exports = {
  host: env.HOST || '127.0.0.1',
  port: Number(env.PORT || 3000),

  /** The offline endpoint instead of WhatsApp, for tests and the demo. */
  waWebSocketUrl: env.WA_WEBSOCKET_URL || undefined,

  baileysLogLevel: env.BAILEYS_LOG_LEVEL || 'error',
};
