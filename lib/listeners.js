'use strict';

// Users' functions and listeners: called so that what they do wrong is logged and stops nothing.

const { describe } = require('./arguments');

class Listeners {
  #emitter;
  #logger;
  #isShutDown;

  /** @param {import('node:events').EventEmitter} emitter whose events are told */
  constructor(emitter, { logger, isShutDown }) {
    this.#emitter = emitter;
    this.#logger = logger;
    this.#isShutDown = isShutDown;
  }

  /** Calls a user's function, if there is one; what it throws or rejects with is logged. */
  call(callback, ...args) {
    if (!callback) return;
    const failed = (error) => {
      if (this.#isShutDown() && error?.code === 'ERR_SHUT_DOWN') return; // cut short, that is all
      this.trouble(`a listener (${nameOf(callback)}) failed`, error);
    };
    try {
      Promise.resolve(callback(...args)).catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  /** Emits an event; what a listener throws is logged. */
  tell(event, details) {
    try {
      this.#emitter.emit(event, details);
    } catch (error) {
      this.#logger.warn(`[BAILEYS] a listener of ${event} failed: ${messageOf(error)}`);
    }
  }

  trouble(what, error) {
    this.#logger.warn(`[BAILEYS] ${what}: ${messageOf(error)}`);
    this.tell('trouble', { what, error });
  }
}

/** What a user's function threw, which may be anything, and is logged all the same. */
function messageOf(error) {
  try {
    return String(error?.message ?? error);
  } catch {
    return describe(error);
  }
}

function nameOf(callback) {
  try {
    return String(callback.name || 'anonymous');
  } catch {
    return 'anonymous';
  }
}

module.exports = { Listeners };
