'use strict';

// Limits that are decided and counted in the guard's database, so that they hold over all
// instances. A hit takes one round trip, by the database's clock; what comes back are spans of time,
// so that this machine's clock may be wrong.
//
// - A key that is known to be refused is refused here, without asking, until it would pass or
//   for a second, whichever is sooner: a reset by another instance is seen within that second.
// - When the database fails, `insurance: 'memory'` counts in this process meanwhile: the full
//   limit for each instance. One hit a second is tried on the database, beside the answer, to
//   see whether it is back. Without insurance the error goes to the caller.

const { createHash } = require('node:crypto');
const { kindOf, textOf } = require('./keys');
const { KnownRefusals } = require('./known-refusals');
const { MemoryLimits } = require('./memory-limits');
const { ruleName } = require('./tallies');

const PROBE_EVERY_MS = 1000;
/** What the insurance covers. A database that was never migrated is not one that is away. */
const OUTAGES = ['ERR_DATABASE_UNAVAILABLE', 'ERR_DATABASE'];

/**
 * What `openDatabase` gives. `id` is 16 bytes that stand for limiter and key; a rule is
 * `{ name, algorithm, windowMs, limit, burst, blockMs }`.
 *
 * @typedef {object} LimitStore
 * @property {(id: Buffer, rule: object, points: number, waits: boolean) => Promise<Answer>} take
 * @property {(id: Buffer, rule: object) => Promise<Answer>} peek
 * @property {(id: Buffer, rule: object, points: number, hitAt: number) => Promise<void>} refund
 * @property {(id: Buffer) => Promise<void>} reset
 *
 * @typedef {object} Answer
 * @property {boolean} allowed
 * @property {number} used
 * @property {number} remaining
 * @property {number} resetInMs
 * @property {number} retryAfterMs
 * @property {number} hitAt the database's time of the hit
 */

class DatabaseLimits {
  #rule;
  #open;
  #logger;
  #insurance;
  #refusals = new KnownRefusals();
  /** Set while the database is away and insured: when it was last tried. */
  #outage;

  /**
   * @param {object} options checked; `name` tells this limiter's counts from others'
   * @param {() => LimitStore | Promise<LimitStore>} openDatabase
   */
  constructor(options, openDatabase) {
    const { name, algorithm, windowMs, burst, blockMs = 0, insurance, logger } = options;
    this.#rule = { name, algorithm, windowMs, burst, blockMs };
    this.#open = openDatabase;
    this.#logger = logger;
    if (insurance === 'memory') this.#insurance = new MemoryLimits(options);
    this.localKeys = false;
    this.prefix = `${name}:`;
  }

  take(key, limit, points, waits = false) {
    const now = Date.now();
    const id = this.#idOf(key);
    const refusal = this.#refusals.refuses(id, limit, points, now);
    if (refusal) return refusal;
    const ask = async () => {
      const { given } = this.#refusals;
      const store = await this.#open();
      const answer = await store.take(id, this.#ruleWith(limit), points, waits);
      const decision = toDecision(answer);
      // Who waits is told so without being refused: others may still have to be, and blocked.
      const isKnown = !decision.allowed && !waits;
      if (isKnown) this.#refusals.keep(id, limit, points, decision, given);
      return decision;
    };
    return this.#insured(ask, () => this.#insurance.take(key, limit, points, waits));
  }

  async peek(key, limit) {
    const ask = async () => {
      const store = await this.#open();
      return toDecision(await store.peek(this.#idOf(key), this.#ruleWith(limit)));
    };
    return this.#insured(ask, () => this.#insurance.peek(key, limit));
  }

  async refund(key, limit, points, hitAt) {
    const id = this.#idOf(key);
    const ask = async () => {
      const store = await this.#open();
      await store.refund(id, this.#ruleWith(limit), points, hitAt);
      this.#refusals.forget(id);
    };
    return this.#insured(ask, () => this.#insurance.refund(key, limit, points, hitAt));
  }

  async resetKey(key) {
    const id = this.#idOf(key);
    this.#insurance?.resetKey(key);
    const store = await this.#open();
    await store.reset(id);
    this.#refusals.forget(id);
  }

  #ruleWith(limit) {
    // What is no number lets nothing pass, as in memory.
    const whole = Math.min(Math.max(Math.floor(limit), 0), 2 ** 32 - 1) || 0;
    return { ...this.#rule, limit: whole, burst: this.#rule.burst ?? whole };
  }

  /** Keys of any length and kind, and the limiter's name, in 16 bytes. */
  #idOf(key) {
    const { name, algorithm } = this.#rule;
    const hash = createHash('sha256').update(JSON.stringify([name, algorithm, kindOf(key)]));
    return hash
      .update(Buffer.from(textOf(key), 'utf16le'))
      .digest()
      .subarray(0, 16);
  }

  async #insured(ask, insure) {
    if (this.#insurance === undefined) return ask();
    if (this.#outage !== undefined) {
      const decision = insure();
      this.#probe(ask);
      return decision;
    }
    try {
      return await ask();
    } catch (error) {
      if (!OUTAGES.includes(error.code)) throw error;
      if (this.#outage === undefined) {
        this.#logger.warn(
          error,
          `baileys-guard: rate limiter ${this.#rule.name} lost the database and counts in memory`,
        );
      }
      this.#outage = { triedAt: Date.now(), trying: false };
      return insure();
    }
  }

  /** Tries the database with a real hit, while its caller has the insurance's answer. */
  #probe(ask) {
    const outage = this.#outage;
    const now = Date.now();
    if (outage.trying || Math.abs(now - outage.triedAt) < PROBE_EVERY_MS) return;
    outage.trying = true;
    outage.triedAt = now;
    ask().then(
      () => {
        this.#outage = undefined;
        this.#insurance.resetAll();
        this.#logger.warn(
          undefined,
          `baileys-guard: rate limiter ${this.#rule.name} has the database again`,
        );
      },
      () => {
        outage.trying = false;
      },
    );
  }
}

function toDecision({ allowed, used, remaining, resetInMs, retryAfterMs, hitAt }) {
  const now = Date.now();
  const resetTime = new Date(now + resetInMs);
  return { allowed, used, remaining, resetTime, retryAfterMs, now, hitAt };
}

/**
 * Makes limits that count in one guard's database, each under a name of its own.
 *
 * Limiters need a name that is the same in every process and after every start. Those without
 * one get it from their rule; of several with the same rule the second is `…#2`, so they have to
 * be made in the same order everywhere. Naming them is better.
 *
 * @param {() => LimitStore | Promise<LimitStore>} openDatabase called at the first hit
 */
function createDatabaseLimits(openDatabase) {
  const made = new Map();
  return (options) => {
    const base = options.name ?? ruleName(options);
    const count = (made.get(base) ?? 0) + 1;
    made.set(base, count);
    const name = options.name ?? (count === 1 ? base : `${base}#${count}`);
    return new DatabaseLimits({ ...options, name }, openDatabase);
  };
}

module.exports = { createDatabaseLimits };
