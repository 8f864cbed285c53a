'use strict';

// Stores that users bring: any express-rate-limit store, of today or of before version 6.

/** A store that counts with a callback (`incr`), as one that returns promises. */
class PromisedStore {
  #legacy;

  constructor(legacy) {
    this.#legacy = legacy;
  }

  increment(key) {
    return new Promise((resolve, reject) => {
      this.#legacy.incr(key, (error, totalHits, resetTime) => {
        if (error) reject(error);
        else resolve({ totalHits, resetTime });
      });
    });
  }

  async decrement(key) {
    return this.#legacy.decrement(key);
  }

  async resetKey(key) {
    return this.#legacy.resetKey(key);
  }

  async resetAll() {
    return this.#legacy.resetAll?.();
  }
}

/** The store as the middleware uses it. Throws a TypeError when it is none. */
function adoptStore(store) {
  const isLegacy = typeof store?.incr === 'function' && typeof store.increment !== 'function';
  const adopted = isLegacy ? new PromisedStore(store) : store;
  const isStore =
    ['increment', 'decrement', 'resetKey'].every((name) => typeof adopted?.[name] === 'function') &&
    ['resetAll', 'init'].every((name) => ['undefined', 'function'].includes(typeof adopted[name]));
  if (!isStore) {
    throw new TypeError(
      "option store: expected 'memory', 'database' or a store with the functions increment, " +
        'decrement and resetKey',
    );
  }
  return adopted;
}

module.exports = { adoptStore };
