'use strict';

/**
 * How often people may ask, and how fast an agent may send. The first two are counted in the
 * database, so they hold over all instances; to the letter, in any stretch of time.
 *
 * This module knows neither routes nor services, so that both can use it.
 */

const { createRateLimiter, ipKeyGenerator, rateLimit } = require('baileys-guard');

const config = require('./config');
const { HttpError } = require('./errors');

const MINUTE_MS = 60_000;

/** Who asks: the user that your authentication has put on the request, else the address. */
function userOrAddress(request) {
  const userId = request.user?.id;
  return userId === undefined ? `ip:${ipKeyGenerator(request.ip)}` : `user:${userId}`;
}

const shared = {
  algorithm: 'sliding-window',
  store: 'database',
  keyGenerator: userOrAddress,
  standardHeaders: true,
  legacyHeaders: false,
};

/** Nobody gets past it while the database is away: connecting needs the database anyway. */
const whatsappInitLimiter = rateLimit({
  ...shared,
  name: 'whatsapp-init',
  windowMs: 15 * MINUTE_MS,
  limit: config.whatsappInitLimit,
  message: { error: 'Too many WhatsApp connection attempts. Please try again later.' },
});

/** A moment without the database may delay a message, but is no reason to refuse it. */
const messageSendLimiter = rateLimit({
  ...shared,
  name: 'message-send',
  windowMs: MINUTE_MS,
  limit: config.messageSendLimit,
  insurance: 'memory',
  message: { error: 'Too many messages. Please try again later.' },
});

/** In memory: an agent sends from one instance only. */
const pace = createRateLimiter({
  algorithm: 'gcra',
  windowMs: MINUTE_MS,
  limit: config.agentSendsPerMinute,
  burst: config.agentSendBurst,
  maxQueue: config.agentSendQueue,
});

/** Waits until an agent may send its next message: in order, and not in too long a line. */
async function turnToSend(agentId, { signal } = {}) {
  try {
    await pace.acquire(agentId, { signal });
  } catch (error) {
    if (error.code !== 'ERR_QUEUE_FULL') throw error;
    throw new HttpError(
      429,
      'Too many messages of this agent are waiting. Please try again later.',
      {
        code: error.code,
        retryAfterMs: pace.pending(agentId).nextInMs,
      },
    );
  }
}

/** Sends away all that wait: this server is stopping. */
function stopSending() {
  pace.close();
}

module.exports = { whatsappInitLimiter, messageSendLimiter, turnToSend, stopSending };
