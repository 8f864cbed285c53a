'use strict';

// The limits of one guard: those in its database, and those in memory made through it.

const { settle } = require('../errors');
const { createDatabaseLimits } = require('./database-limits');
const { createRateLimit } = require('./index');
const { createRateLimiterFactory } = require('./limiter');

/** A guard's database as `DatabaseLimits` asks it. */
class NativeLimitStore {
  #native;

  /** @param {import('../../binding').NativeGuard} native */
  constructor(native) {
    this.#native = native;
  }

  take(id, rule, points, waits) {
    return settle(this.#native.takePoints(id, rule, points, waits));
  }

  peek(id, rule) {
    return settle(this.#native.peekPoints(id, rule));
  }

  refund(id, rule, points, hitAt) {
    return settle(this.#native.refundPoints(id, rule, points, hitAt));
  }

  reset(id) {
    return settle(this.#native.resetPoints(id));
  }
}

class GuardLimits {
  #limiters = new Set();

  /** @param {() => NativeLimitStore} openDatabase called at the first hit, and at each */
  constructor(openDatabase) {
    const databaseLimits = createDatabaseLimits(openDatabase);
    this.rateLimit = createRateLimit(databaseLimits);
    const make = createRateLimiterFactory(databaseLimits);
    this.createRateLimiter = (options) => {
      const limiter = make(options);
      this.#limiters.add(limiter);
      return limiter;
    };
  }

  /** Sends away all that wait for a turn. */
  close() {
    for (const limiter of this.#limiters) limiter.close();
    this.#limiters.clear();
  }
}

module.exports = { GuardLimits, NativeLimitStore };
