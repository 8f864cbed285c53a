'use strict';

// How the limiters of one guard have decided, by their names.

/** Names come from the program, not from its users; a program that makes them up gets one more. */
const MAX_NAMES = 1000;
const OTHERS = 'other';

/** What a limiter without a name is called. */
function ruleName({ algorithm = 'fixed-window', windowMs, limit, burst }) {
  return [algorithm, windowMs, limit, burst].map(shown).join('/');
}

function shown(value) {
  if (typeof value === 'function') return 'dynamic';
  // express-rate-limit's options are taken as they come, usable or not.
  return ['number', 'string', 'undefined'].includes(typeof value) ? value : typeof value;
}

class Tallies {
  #byName = new Map();

  /** The tally of a limiter; those of one name share it. Counting is one increment. */
  of(options) {
    const wanted = options.name ?? ruleName(options);
    const isKnown = this.#byName.has(wanted) || this.#byName.size < MAX_NAMES;
    const name = isKnown ? wanted : OTHERS;
    let tally = this.#byName.get(name);
    if (tally === undefined) {
      tally = { allowed: 0, refused: 0 };
      this.#byName.set(name, tally);
    }
    return tally;
  }

  /** `{ [name]: { allowed, refused } }` */
  read() {
    return Object.fromEntries([...this.#byName].map(([name, tally]) => [name, { ...tally }]));
  }
}

module.exports = { Tallies, ruleName };
