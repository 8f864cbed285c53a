'use strict';

// The limits of one guard: those in its database, and those in memory made through it.

const { GuardError, settle } = require('../errors');
const { createDatabaseLimits } = require('./database-limits');
const { GatheredHits } = require('./gathered-hits');
const { createRateLimit } = require('./index');
const { Gate, createRateLimiterFactory } = require('./limiter');
const { Tallies } = require('./tallies');

/** A guard's database as `DatabaseLimits` asks it. */
class NativeLimitStore {
  #native;
  #hits;

  /** @param {import('../../binding').NativeGuard} native */
  constructor(native) {
    this.#native = native;
    this.#hits = new GatheredHits((...args) => settle(native.takePoints(...args)));
  }

  take(id, rule, points, waits) {
    return this.#hits.take(id, rule, points, waits);
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
  #gate = new Gate();

  /** @param {() => NativeLimitStore} openDatabase called at every hit, and never before one */
  constructor(openDatabase) {
    const databaseLimits = createDatabaseLimits(openDatabase);
    /** How its limiters decide is counted there. */
    this.tallies = new Tallies();
    this.rateLimit = createRateLimit(databaseLimits, this.tallies);
    this.createRateLimiter = createRateLimiterFactory(databaseLimits, this.#gate, this.tallies);
  }

  checkOpen() {
    if (this.#gate.closed) {
      throw new GuardError('ERR_SHUT_DOWN', 'these limits have been shut down with their guard');
    }
  }

  /** Sends away all that wait for a turn. */
  close() {
    this.#gate.close();
  }
}

module.exports = { GuardLimits, NativeLimitStore };
