'use strict';

/**
 * What this backend reads from the environment. `DATABASE_URL`, `INSTANCE_ID` and `LEASE_TTL_MS` are
 * read by baileys-guard itself.
 */

const { env } = process;
const host = env.HOST || '127.0.0.1';

/** The demo's controls can end this process: nobody but this machine may reach them. */
function demoControlUrl() {
  if (!env.DEMO_CONTROL_URL) return undefined;
  if (host !== '127.0.0.1') throw new Error('DEMO_CONTROL_URL is for HOST=127.0.0.1 only');
  return env.DEMO_CONTROL_URL;
}

function count(name, byDefault, least = 1) {
  const value = env[name] ? Number(env[name]) : byDefault;
  if (!Number.isInteger(value) || value < least) {
    throw new Error(`${name} must be a whole number from ${least} on, not ${env[name]}`);
  }
  return value;
}

module.exports = {
  host,
  port: count('PORT', 3000, 0),

  /** How many reverse proxies stand before it: whose word on a client's address is believed. */
  trustProxy: count('TRUST_PROXY', 0, 0),

  /** Per user, else per address: connects in 15 minutes, messages in a minute. */
  whatsappInitLimit: count('WHATSAPP_INIT_LIMIT', 5),
  messageSendLimit: count('MESSAGE_SEND_LIMIT', 30),

  /** Per agent: messages in a minute, evenly spaced; at once after a rest; waiting. */
  agentSendsPerMinute: count('AGENT_SENDS_PER_MINUTE', 60),
  agentSendBurst: count('AGENT_SEND_BURST', 5),
  agentSendQueue: count('AGENT_SEND_QUEUE', 20),

  /** The offline endpoint instead of WhatsApp, for tests and the demo. */
  waWebSocketUrl: env.WA_WEBSOCKET_URL || undefined,

  /** The control address of the offline endpoint: the page can scan, and kill this server. */
  demoControlUrl: demoControlUrl(),

  baileysLogLevel: env.BAILEYS_LOG_LEVEL || 'error',
};
