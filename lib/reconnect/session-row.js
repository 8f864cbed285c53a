'use strict';

// The session row of one connection: one write at a time, the newest state last.
//
// The connection never waits for it. What cannot be written now, because the database is away, is
// written with the next change or a little later.

const { ClaimLostError } = require('../errors');

const RETRY_MS = 2000;

class SessionRow {
  #claim;
  #host;
  #fields; // what is to be written
  #writing;
  #retry;

  constructor(claim, host) {
    this.#claim = claim;
    this.#host = host;
  }

  /** Later fields replace earlier ones that are not written yet. */
  write(fields) {
    this.#fields = { ...this.#fields, ...fields };
    clearTimeout(this.#retry);
    this.#writing ??= this.#run();
  }

  /** Resolves when everything is written that can be. */
  async written() {
    while (this.#writing) await this.#writing;
    clearTimeout(this.#retry);
  }

  async #run() {
    while (this.#fields) {
      const fields = this.#fields;
      this.#fields = undefined;
      try {
        await this.#claim.update(fields);
      } catch (error) {
        if (!this.#recovers(error, fields)) break;
      }
    }
    this.#writing = undefined; // here, not when somebody hears of it: the next write begins anew
  }

  /** Whether to go on with what is left to write. */
  #recovers(error, fields) {
    if (error instanceof ClaimLostError || error.code === 'ERR_SHUT_DOWN') return false;
    const { phoneNumber, ...others } = fields;
    if (error.code === 'ERR_SESSION_ROW_REFUSED' && phoneNumber !== undefined) {
      // The host allows a phone number once for each user; the state has to be shown all the same.
      this.#host.listeners.trouble(
        `the phone number of agent ${this.#claim.agentId} is not shown`,
        error,
      );
      this.#fields = { ...others, ...this.#fields };
      return true;
    }
    if (error.code === 'ERR_DATABASE_UNAVAILABLE') {
      this.#fields = { ...fields, ...this.#fields };
      this.#retry = setTimeout(() => this.write({}), RETRY_MS);
      this.#retry.unref();
      return false;
    }
    this.#host.listeners.trouble(`showing the state of agent ${this.#claim.agentId}`, error);
    return this.#fields !== undefined;
  }
}

module.exports = { SessionRow };
