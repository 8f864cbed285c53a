'use strict';

// createRateLimiter(): the same limits without HTTP, and a line to wait in.

const { checkObject } = require('../arguments');
const { GuardError, invalidArgument } = require('../errors');
const { check, checkRule, checkStore, isCount } = require('./extensions');
const { MemoryLimits } = require('./memory-limits');
const { consoleLogger } = require('./options');
const { TurnQueue } = require('./queue');
const { Tallies } = require('./tallies');

const DEFAULTS = {
  algorithm: 'fixed-window',
  windowMs: 60_000,
  limit: 5,
  burst: undefined,
  blockMs: 0,
  store: 'memory',
  name: undefined,
  insurance: undefined,
  maxKeys: undefined,
  maxQueue: 1000,
  logger: consoleLogger,
};

function parse(options) {
  const passed = checkObject(options, 'options');
  const known = Object.keys(DEFAULTS);
  const unknown = Object.keys(passed).find((name) => !known.includes(name));
  check(unknown === undefined, unknown, `is not known; there are ${known.join(', ')}`);
  const given = Object.entries(passed).filter(([, value]) => value !== undefined);
  return checkOptions({ ...DEFAULTS, ...Object.fromEntries(given) });
}

function checkOptions(options) {
  checkRule(options);
  check(isCount(options.limit, 1), 'limit', 'expected a whole number from 1 on');
  check(isCount(options.blockMs, 0), 'blockMs', 'expected milliseconds from 0 on');
  check(isCount(options.maxQueue, 1), 'maxQueue', 'expected a whole number from 1 on');
  const { store, logger } = options;
  check(store === 'memory' || store === 'database', 'store', "expected 'memory' or 'database'");
  const logs = typeof logger?.error === 'function' && typeof logger.warn === 'function';
  check(logs, 'logger', 'needs the functions error and warn');
  checkStore(options);
  return options;
}

const closedError = () => new GuardError('ERR_SHUT_DOWN', 'this rate limiter has been closed');

/** Closes many limiters at once, and holds on to those only for which somebody waits. */
class Gate {
  closed = false;
  waiting = new Set();

  close() {
    this.closed = true;
    for (const limiter of [...this.waiting]) limiter.close();
  }
}

class RateLimiter {
  #options;
  #capacity;
  #limits;
  #queue;
  #gate;
  #tally;
  #closed = false;

  constructor(options, databaseLimits, gate, tally) {
    this.#gate = gate;
    this.#tally = tally;
    const { store, limit, burst, windowMs, maxQueue, logger } = options;
    this.#options = options;
    this.#capacity = burst ?? limit;
    this.#limits = store === 'database' ? databaseLimits(options) : new MemoryLimits(options);
    this.#queue = new TurnQueue({
      maxQueue,
      logger,
      paceMs: windowMs / limit,
      take: (key, points) => this.#limits.take(key, limit, points, true),
      refund: (key, points, { hitAt }) => this.#limits.refund(key, limit, points, hitAt),
      onBusy: (waits) => (waits ? gate.waiting.add(this) : gate.waiting.delete(this)),
    });
  }

  /** Takes points now if they are there. Resolves either way; see `allowed`. */
  async consume(key, points = 1) {
    this.#checkOpen();
    this.#checkPoints(points);
    const decision = await this.#limits.take(key, this.#options.limit, points);
    if (decision.allowed) this.#tally.allowed += 1;
    else this.#tally.refused += 1;
    return this.#result(key, decision);
  }

  /** What `consume(key)` would get; takes nothing. */
  async peek(key) {
    this.#checkOpen();
    return this.#result(key, await this.#limits.peek(key, this.#options.limit));
  }

  /** Forgets a key. Who waits for it asks again. */
  async reset(key) {
    this.#checkOpen();
    await this.#limits.resetKey(key);
    this.#queue.wake(key);
  }

  /** Waits for its turn, then takes the points. */
  async acquire(key, options) {
    const { points = 1, signal, onProgress } = checkObject(options, 'options');
    this.#checkOpen();
    this.#checkPoints(points);
    if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
      throw invalidArgument('signal', 'expected an AbortSignal');
    }
    if (onProgress !== undefined && typeof onProgress !== 'function') {
      throw invalidArgument('onProgress', 'expected a function');
    }
    let decision;
    try {
      decision = await this.#queue.wait(key, { points, signal, onProgress });
    } catch (error) {
      if (error?.code === 'ERR_QUEUE_FULL') this.#tally.refused += 1;
      throw error;
    }
    this.#tally.allowed += 1;
    return { ...this.#result(key, decision), waitedMs: decision.waitedMs };
  }

  /** Who waits: for one key, or for all of them. */
  pending(...args) {
    return args.length === 0 ? this.#queue.all() : this.#queue.pending(args[0]);
  }

  /** Sends away all that wait, with ERR_SHUT_DOWN, as every later call is. */
  close() {
    this.#closed = true;
    this.#queue.close(closedError());
  }

  #checkOpen() {
    if (this.#closed || this.#gate.closed) throw closedError();
  }

  #checkPoints(points) {
    if (!isCount(points, 1)) throw invalidArgument('points', 'expected a whole number from 1 on');
    if (points > this.#capacity) {
      throw invalidArgument('points', `${points} never pass where ${this.#capacity} is the most`);
    }
  }

  #result(key, { allowed, used, remaining, resetTime, retryAfterMs }) {
    const { limit } = this.#options;
    return { key, allowed, limit, used, remaining, resetTime, retryAfterMs };
  }
}

/**
 * Makes `createRateLimiter` for one guard.
 *
 * @param {(options: object) => object} databaseLimits makes what `store: 'database'` counts with
 * @param {Gate} gate closes what was made
 * @param {Tallies} [tallies] how what was made decides is counted there
 */
function createRateLimiterFactory(databaseLimits, gate, tallies = new Tallies()) {
  return (passed) => {
    const options = parse(passed);
    return new RateLimiter(options, databaseLimits, gate, tallies.of(options));
  };
}

module.exports = { Gate, createRateLimiterFactory };
