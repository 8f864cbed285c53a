'use strict';

/**
 * What this process knows of its sessions, from what the scheduler tells. The truth about who has
 * an agent is in the database; this says what is shown at once, and what no row can hold: sockets.
 */

const { EventEmitter, once } = require('node:events');

const CONFLICT = 'connectionReplaced';
/** Ends after which a session is simply not connected any more; the others are errors. */
const ENDINGS = ['loggedOut', 'qrExpired'];

/** What is shown after a decision; `runs` says whether this process goes on with the session. */
function after({ action, reason }) {
  switch (action) {
    case 'retry':
      return { status: 'connecting', runs: true };
    case 'quarantine':
      return reason === CONFLICT
        ? { status: 'conflict', runs: false }
        : { status: 'error', runs: true };
    case 'stop':
    case 'giveUp':
      return { status: ENDINGS.includes(reason) ? 'disconnected' : 'error', runs: false };
    default: // it runs elsewhere, or nowhere because somebody wants that
      return { status: 'disconnected', runs: false };
  }
}

class Sessions {
  /** Emits 'change' whenever something below, or in the row of one of these sessions, may differ. */
  changes = new EventEmitter().setMaxListeners(0);

  #known = new Map(); // agent -> its session; one that has ended stays to tell why

  get(agentId) {
    return this.#known.get(agentId);
  }

  /** Somebody has asked for it: what the scheduler tells comes in a moment. */
  begins(agentId) {
    if (this.get(agentId)?.runs) return;
    this.#show(agentId, { status: 'connecting', reason: null, runs: true });
    this.changes.emit('change');
  }

  /** The socket of a session, which may be used when it is connected and the claim is held. */
  opened(agentId, { socket, claim }) {
    this.#show(agentId, { socket, claim });
  }

  /** The scheduler's `onEvent`. */
  happened = (event) => {
    const { type, agentId } = event;
    switch (type) {
      case 'resuming':
        for (const id of event.agentIds) this.#show(id, { status: 'connecting', runs: true });
        break;
      case 'connecting':
      case 'waiting':
        this.#show(agentId, { status: 'connecting', runs: true });
        break;
      case 'qr':
        this.#show(agentId, { status: 'qr_pending', qrCode: event.qr });
        break;
      case 'connected': {
        const phoneNumber = this.get(agentId).socket.user.id.split(/[:@]/)[0];
        const lastConnected = new Date();
        this.#show(agentId, { status: 'connected', reason: null, phoneNumber, lastConnected });
        break;
      }
      case 'cancelled':
      case 'handedOver':
        this.#known.delete(agentId);
        break;
      default:
        if (event.action) this.#decided(event);
    }
    this.changes.emit('change');
  };

  /** Resolves when an agent that connects has a QR code, a connection or an end; or after a while. */
  async settled(agentId, patienceMs) {
    const signal = AbortSignal.timeout(patienceMs);
    try {
      while (this.get(agentId)?.status === 'connecting') {
        await once(this.changes, 'change', { signal });
      }
    } catch {
      // It takes longer: whoever asks again is told.
    }
  }

  #decided(event) {
    const { agentId, action, reason, code, error } = event;
    const why = [code, error?.message ?? reason].filter(Boolean).join(' ');
    console.info(`[BAILEYS] agent ${agentId}: ${why}; ${action}`);
    this.#show(agentId, { ...after(event), reason: why, socket: null });
  }

  #show(agentId, fields) {
    const before = this.get(agentId) ?? { agentId, phoneNumber: null, reason: null };
    // A QR code is of no use any more when anything else happens.
    this.#known.set(agentId, { ...before, qrCode: null, ...fields });
  }
}

module.exports = { Sessions };
