'use strict';

// Limits that are decided where they are counted: all algorithms, in this process's memory.
//
// A store of express-rate-limit's kind counts without knowing the limit, which is enough for a
// fixed window. A sliding window and GCRA remember only what they admitted, so they have to be
// told. `MemoryLimits` and `DatabaseLimits` answer the same calls; the latter with promises.

const native = require('../native');
const { handOver } = require('./keys');
const { DEFAULT_MAX_KEYS, OverflowWarning, checkMaxKeys } = require('./memory-store');
const numbers = require('./numbers');

/**
 * @typedef {object} Decision
 * @property {boolean} allowed
 * @property {number} used points taken, and refusals since the last admission
 * @property {number} remaining points that would pass now
 * @property {Date} resetTime when `remaining` next grows; if refused, when this would pass
 * @property {number} retryAfterMs 0 when allowed
 * @property {number} now the local time of the decision
 * @property {number} hitAt the time of the hit by the clock that decided, for `refund`
 */

class MemoryLimits {
  #numbers = numbers.create();
  #limits;
  #overflow;

  /** @param {{ algorithm, windowMs, burst?, blockMs?, maxKeys?, logger? }} options checked */
  constructor(options) {
    const { algorithm, windowMs, burst, blockMs = 0, maxKeys = DEFAULT_MAX_KEYS, logger } = options;
    checkMaxKeys(maxKeys);
    this.#limits = native.createLimits(this.#numbers, {
      algorithm,
      windowMs,
      burst,
      blockMs,
      maxKeys,
    });
    this.#overflow = new OverflowWarning(maxKeys);
    if (logger) this.#overflow.logger = logger;
    /** Two of these never count the same key. */
    this.localKeys = true;
  }

  /**
   * @param {boolean} [waits] whoever asks waits for a turn: being told to is no refusal
   * @returns {Decision}
   */
  take(key, limit, points, waits = false) {
    const now = Date.now();
    this.#numbers[numbers.LIMIT] = limit;
    this.#numbers[numbers.POINTS] = points;
    this.#numbers[numbers.WAITS] = waits ? 1 : 0;
    const allowed = this.#limits.take(handOver(key, now, this.#numbers)) === 1;
    if (this.#numbers[numbers.OVERFLOWING] !== 0) this.#overflow.tell(now);
    return this.#decision(allowed, now);
  }

  /** @returns {Decision} what a hit of one point would get */
  peek(key, limit) {
    const now = Date.now();
    this.#numbers[numbers.LIMIT] = limit;
    const allowed = this.#limits.peek(handOver(key, now, this.#numbers)) === 1;
    return this.#decision(allowed, now);
  }

  refund(key, limit, points, hitAt) {
    this.#numbers[numbers.LIMIT] = limit;
    this.#numbers[numbers.POINTS] = points;
    this.#numbers[numbers.HIT_AT] = hitAt;
    this.#limits.refund(handOver(key, Date.now(), this.#numbers));
  }

  resetKey(key) {
    this.#limits.reset(handOver(key, 0, this.#numbers));
  }

  resetAll() {
    this.#limits.clear();
  }

  /** How many keys are held. */
  get size() {
    return this.#limits.size();
  }

  #decision(allowed, now) {
    return {
      allowed,
      used: this.#numbers[numbers.USED],
      remaining: this.#numbers[numbers.REMAINING],
      resetTime: new Date(this.#numbers[numbers.RESET_AT]),
      retryAfterMs: this.#numbers[numbers.RETRY_AFTER],
      now,
      hitAt: this.#numbers[numbers.HIT_AT],
    };
  }
}

module.exports = { MemoryLimits };
