'use strict';

/**
 * What happened, in order: the evidence a test judges by.
 *
 * Every event carries `seq` (1, 2, 3 …), `at` (wall clock, ms since 1970) and `monoMs` (the machine's
 * monotonic clock, as `process.hrtime.bigint()` in any process, divided by 1e6), so that the logs of
 * several processes can be put in one order even when a wall clock jumps.
 *
 * The log keeps the newest `limit` events. Counters live in `stats.js` and never forget.
 */

const { EventEmitter } = require('node:events');

function monotonicMs() {
  return Number(process.hrtime.bigint()) / 1e6;
}

class EventLog {
  #events = [];
  #limit;
  #seq = 0;
  #added = new EventEmitter().setMaxListeners(0);

  constructor(limit) {
    this.#limit = limit;
  }

  /** The moment an event is about, for one that is written down later. */
  static now() {
    return { at: Date.now(), monoMs: monotonicMs() };
  }

  add(type, fields, moment = EventLog.now()) {
    const event = { seq: ++this.#seq, ...moment, type, ...fields };
    this.#events.push(event);
    // Cut in large steps: shifting one by one would copy the whole array for each event.
    if (this.#events.length > this.#limit * 1.5) this.#events = this.#events.slice(-this.#limit);
    this.#added.emit('event', event);
    return event;
  }

  get lastSeq() {
    return this.#seq;
  }

  /** Events after `since`, oldest first; of `type` only, if given. */
  list({ since = 0, type } = {}) {
    const first = this.#seq - this.#events.length;
    const newer = since > first ? this.#events.slice(since - first) : this.#events;
    return newer.filter((event) => type === undefined || event.type === type);
  }

  /** Calls `listener` with every event from now on; gives the function that stops it. */
  subscribe(listener) {
    this.#added.on('event', listener);
    return () => this.#added.off('event', listener);
  }

  /**
   * The first event after `since` that matches, as soon as there is one.
   * @param {(event: object) => boolean} matches
   * @returns {Promise<object|null>} null when `timeoutMs` passed without one
   */
  waitFor(matches, { since = 0, timeoutMs = 10_000 } = {}) {
    const present = this.list({ since }).find(matches);
    if (present) return Promise.resolve(present);
    return new Promise((resolve) => {
      const finish = (event) => {
        clearTimeout(timer);
        stop();
        resolve(event);
      };
      const stop = this.subscribe((event) => {
        if (matches(event)) finish(event);
      });
      const timer = setTimeout(() => finish(null), timeoutMs);
    });
  }
}

module.exports.EventLog = EventLog;
module.exports.monotonicMs = monotonicMs;
