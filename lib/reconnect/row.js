'use strict';

// What becomes of a session's row and claim when it is not to be connected now. Credentials are
// never touched: no code that WhatsApp sends proves that a pairing is of no more use.

const { ClaimLostError } = require('../errors');

/** Reasons after which a session is simply not connected any more; the others are errors. */
const ENDINGS = new Set(['loggedOut', 'qrExpired']);

/** Another login has the session's place: nobody is to resume it by himself. */
async function showConflict(claim, host) {
  await quietly(host, () => claim.update({ status: 'conflict', qrCode: null }));
  await giveBack(claim, host);
}

/** A person has to act before this session can run again. */
async function retireSession(claim, { reason }, host) {
  const status = ENDINGS.has(reason) ? 'disconnected' : 'error';
  await quietly(host, () => claim.update({ status, isActive: false, qrCode: null }));
  await giveBack(claim, host);
}

async function giveBack(claim, host, options) {
  await quietly(host, () => claim.release(options));
}

/** What fails because the claim is gone is its new owner's affair; anything else is told. */
async function quietly(host, work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ClaimLostError))
      host.listeners.trouble('writing the end of a session', error);
  }
}

module.exports = { giveBack, retireSession, showConflict };
