'use strict';

// express-rate-limit's MemoryStore, counted in a native table.
//
// It needs no timer: what has expired is forgotten when other keys come, so a window may be as
// long as one likes. It keeps at most `maxKeys` keys; when all of them are live, further keys
// share one count until there is room, and the store says so.
// Every answer is a fresh snapshot, so that requests which wait for something between being
// counted and being judged do not see each other's hits.

const native = require('../native');
const { checkObject, describe } = require('../arguments');
const { invalidOption } = require('../errors');
const { handOver } = require('./keys');
const numbers = require('./numbers');

const DEFAULT_MAX_KEYS = 1_000_000;
const TELL_EVERY_MS = 60_000;

/** Counts a hit at once and returns how many there are; `store[RESET_AT]` has the rest. */
const HIT = Symbol('hit');
const RESET_AT = Symbol('resetAt');

function checkMaxKeys(maxKeys) {
  if (!Number.isInteger(maxKeys) || maxKeys < 1 || maxKeys > 2 ** 32 - 2) {
    throw invalidOption('maxKeys', 'has to be a whole number from 1 to 4294967294');
  }
  return maxKeys;
}

/** A window may be any number, also as text; what is no number at all is refused. */
function numberOf(windowMs) {
  if (typeof windowMs === 'symbol' || (typeof windowMs === 'object' && windowMs !== null)) {
    throw invalidOption('windowMs', `must be a number, got ${describe(windowMs)}`);
  }
  return Number(windowMs);
}

/** Warns that a table is full, once a minute while it lasts. */
class OverflowWarning {
  #maxKeys;
  #toldAt = -Infinity;
  logger = console;

  constructor(maxKeys) {
    this.#maxKeys = maxKeys;
  }

  tell(now) {
    if (Math.abs(now - this.#toldAt) < TELL_EVERY_MS) return;
    this.#toldAt = now;
    const warning = new Error(
      `baileys-guard: a rate limiter holds ${this.#maxKeys} live keys (maxKeys); ` +
        'further keys share one count until some expire',
    );
    warning.name = 'RateLimitWarning';
    warning.code = 'WRN_RATE_LIMIT_KEYS';
    this.logger.warn(warning);
  }
}

class MemoryStore {
  #numbers = numbers.create();
  #counter;
  #overflow;

  /** @param {{ maxKeys?: number }} [options] */
  constructor(options) {
    const { maxKeys = DEFAULT_MAX_KEYS } = checkObject(options, 'options');
    this.#counter = native.createHitCounter(this.#numbers, checkMaxKeys(maxKeys));
    this.#overflow = new OverflowWarning(maxKeys);
    this.windowMs = undefined;
    /** Two stores never count the same key. */
    this.localKeys = true;
  }

  init(options) {
    const { windowMs, logger } = checkObject(options, 'options');
    this.#counter.setWindow(numberOf(windowMs));
    this.windowMs = windowMs;
    this.#overflow.logger = logger ?? console;
  }

  [HIT](key, now) {
    const hits = this.#counter.increment(handOver(key, now, this.#numbers));
    if (this.#numbers[numbers.OVERFLOWING] !== 0) this.#overflow.tell(now);
    return hits;
  }

  get [RESET_AT]() {
    return this.#numbers[numbers.RESET_AT];
  }

  async increment(key) {
    const totalHits = this[HIT](key, Date.now());
    return { totalHits, resetTime: new Date(this[RESET_AT]) };
  }

  async decrement(key) {
    this.#counter.decrement(handOver(key, Date.now(), this.#numbers));
  }

  async get(key) {
    const totalHits = this.#counter.get(handOver(key, Date.now(), this.#numbers));
    return totalHits < 0 ? undefined : { totalHits, resetTime: new Date(this[RESET_AT]) };
  }

  async resetKey(key) {
    this.#counter.reset(handOver(key, 0, this.#numbers));
  }

  async resetAll() {
    this.#counter.clear();
  }

  shutdown() {
    this.#counter.clear();
  }

  /** How many keys are held, those among them that expired and nobody came across. */
  get size() {
    return this.#counter.size();
  }
}

module.exports = {
  MemoryStore,
  OverflowWarning,
  HIT,
  RESET_AT,
  DEFAULT_MAX_KEYS,
  checkMaxKeys,
};
