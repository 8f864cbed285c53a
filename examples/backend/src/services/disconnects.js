'use strict';

/** What to do when a connection has closed. No code wipes credentials: none proves them useless. */

const { DisconnectReason } = require('baileys');

const FIRST_DELAY_MS = 1_000;
const MAX_DELAY_MS = 30_000;
const REFUSED_DELAY_MS = 5 * 60_000;

/** Codes after which only a person can help. */
const FINAL = {
  401: 'logged out: the device was removed on the phone',
  402: 'WhatsApp refused the account',
  403: 'WhatsApp banned the account',
  406: 'WhatsApp locked the account',
  411: 'the phone has no multi-device support',
};

/** Codes that mean: not now. Asking again soon makes it worse. */
const NOT_NOW = new Set([405, 409, 412, 429]);

/**
 * @param {Error | undefined} error `lastDisconnect.error`
 * @param {number} attempts that failed in a row
 * @returns `{ action: 'reconnect', delayMs }`, or `{ action: 'stop', status, isActive, loggedOut }` with
 *   what the session row is to show; `reason` is for people
 */
function afterDisconnect(error, attempts) {
  const code = error?.output?.statusCode;
  const reason = [code, error?.message].filter(Boolean).join(' ') || 'closed';

  if (code === DisconnectReason.restartRequired) return { action: 'reconnect', delayMs: 0, reason };
  if (code === DisconnectReason.connectionReplaced) {
    // Another socket has this device. Fighting for it would disconnect both, over and over.
    return { action: 'stop', status: 'conflict', reason };
  }
  if (code in FINAL) {
    const loggedOut = code === DisconnectReason.loggedOut;
    const status = loggedOut ? 'disconnected' : 'error';
    return { action: 'stop', status, isActive: false, loggedOut, reason: `${code} ${FINAL[code]}` };
  }
  if (error?.message === 'QR refs attempts ended') {
    return {
      action: 'stop',
      status: 'disconnected',
      isActive: false,
      reason: 'nobody scanned the QR code',
    };
  }
  if (NOT_NOW.has(code)) return { action: 'reconnect', delayMs: REFUSED_DELAY_MS, reason };
  return { action: 'reconnect', delayMs: backoff(attempts), reason };
}

/** Doubles with each attempt; half of it is random, so that many agents do not return at once. */
function backoff(attempts) {
  const delay = Math.min(FIRST_DELAY_MS * 2 ** attempts, MAX_DELAY_MS);
  return delay * (0.5 + Math.random() / 2);
}

module.exports = { afterDisconnect };
