'use strict';

// Keys that the database has refused. While one would be refused again it need not be asked.

/** A reset by another instance is seen within that time. */
const KEEP_MS = 1000;
const MAX_KEPT = 10_000;

class KnownRefusals {
  #kept = new Map();
  /** How often something was given back, to any key. */
  given = 0;
  #givenTo = new Map(); // key -> what `given` was when it got something back
  #givenToOthers = 0; // the same, at most, for keys that are no longer in there

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

  /** @param {number} asked what `given` was then: what was given back since may lift the refusal */
  keep(id, limit, points, decision, asked) {
    const name = id.toString('latin1');
    if ((this.#givenTo.get(name) ?? this.#givenToOthers) > asked) return;
    const until = decision.now + Math.min(decision.retryAfterMs, KEEP_MS);
    if (this.#kept.size >= MAX_KEPT) {
      const [oldest] = this.#kept.keys();
      this.#kept.delete(oldest);
    }
    this.#kept.set(name, { decision: { ...decision }, until, limit, points });
  }

  /** Something was given back to a key. */
  forget(id) {
    const name = id.toString('latin1');
    this.#kept.delete(name);
    this.#givenTo.delete(name); // to stand last
    this.#givenTo.set(name, ++this.given);
    if (this.#givenTo.size <= MAX_KEPT) return;
    const [[oldest, given]] = this.#givenTo;
    this.#givenTo.delete(oldest);
    this.#givenToOthers = given;
  }
}

module.exports = { KnownRefusals };
