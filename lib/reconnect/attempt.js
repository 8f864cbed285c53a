'use strict';

// One connect and the connection that comes of it: from its turn to its end.

const { GuardError } = require('../errors');

/** How long the end of a socket is waited for before its agent goes on without it. */
const CLOSE_LIMIT_MS = 5000;

class Attempt {
  #controller = new AbortController();
  #closing = [];
  #opened;
  #onClaimLost;
  #over = false;

  /**
   * @param {{ claim: import('../claim').Claim, turn: number, attempt: number }} what
   * @param {(reason: Error) => void} onClaimLost called when the claim ends before the attempt
   */
  constructor({ claim, turn, attempt }, onClaimLost) {
    this.claim = claim;
    this.turn = turn;
    this.attempt = attempt;
    this.#onClaimLost = () => onClaimLost(claim.signal.reason);
    claim.signal.addEventListener('abort', this.#onClaimLost, { once: true });
  }

  /** Aborted when the attempt is over, whatever ended it. */
  get signal() {
    return this.#controller.signal;
  }

  get over() {
    return this.#over;
  }

  /** Resolves when it is over. */
  ended = new Promise((resolve) => {
    this.#controller.signal.addEventListener('abort', resolve, { once: true });
  });

  /** Something to be waited for when the attempt ends. */
  closesWith(promise) {
    this.#closing.push(Promise.resolve(promise).catch(() => {}));
  }

  /**
   * What the user's `connect` has returned. A socket is ended with the attempt; one that comes
   * when the attempt is over is ended at once.
   */
  opened(value) {
    if (typeof value?.end !== 'function') return;
    this.#opened = value;
    if (this.#over) this.#close(this.signal.reason);
  }

  /** Aborts the signal and ends the socket; the first reason counts. */
  end(reason) {
    if (this.#over) return;
    this.#over = true;
    this.claim.signal.removeEventListener('abort', this.#onClaimLost);
    this.#controller.abort(reason);
    if (this.#opened) this.#close(reason);
  }

  /** Resolves when its socket is closed, as far as is known here; not later than after a while. */
  async closed() {
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, CLOSE_LIMIT_MS);
      timer.unref();
    });
    await Promise.race([this.#allClosed(), late]);
    clearTimeout(timer);
  }

  /** A connect that returns late adds its socket to what is waited for. */
  async #allClosed() {
    for (let count = -1; count !== this.#closing.length;) {
      count = this.#closing.length;
      await Promise.all(this.#closing);
    }
  }

  #close(reason) {
    try {
      this.closesWith(this.#opened.end(reason));
    } catch {
      // A socket that cannot be ended is gone.
    }
  }
}

/** The reason of a signal that was aborted because nobody needs the session here any more. */
function sessionEnded(agentId, why) {
  return new GuardError('ERR_SESSION_ENDED', `the session of agent ${agentId} ended here: ${why}`, {
    agentId,
  });
}

module.exports = { Attempt, sessionEnded };
