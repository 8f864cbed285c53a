'use strict';

// Keys that the database has refused. While one would be refused again it need not be asked.

/** A reset by another instance is seen within that time. */
const KEEP_MS = 1000;
const MAX_KEPT = 10_000;

class KnownRefusals {
  #kept = new Map();
  /** How often something was given back: a refusal that was asked for before that is not kept. */
  given = 0;

  /** A refusal that needs no question, or undefined. */
  refuses(id, limit, points, now) {
    const name = id.toString('latin1');
    const known = this.#kept.get(name);
    if (known === undefined) return undefined;
    const { decision, until } = known;
    // A clock that was set back would keep it for longer; it is forgotten then.
    if (now >= until || until - now > KEEP_MS) {
      this.#kept.delete(name);
      return undefined;
    }
    // More points, or a lower limit, are refused for at least as long. Less has to ask.
    if (points < known.points || limit > known.limit) return undefined;
    decision.used += 1;
    const retryAfterMs = decision.now + decision.retryAfterMs - now;
    return { ...decision, now, retryAfterMs, resetTime: new Date(now + retryAfterMs) };
  }

  keep(id, limit, points, decision) {
    const until = decision.now + Math.min(decision.retryAfterMs, KEEP_MS);
    if (this.#kept.size >= MAX_KEPT) {
      const [oldest] = this.#kept.keys();
      this.#kept.delete(oldest);
    }
    this.#kept.set(id.toString('latin1'), { decision: { ...decision }, until, limit, points });
  }

  /** Something was given back to a key. */
  forget(id) {
    this.given += 1;
    this.#kept.delete(id.toString('latin1'));
  }
}

module.exports = { KnownRefusals };
