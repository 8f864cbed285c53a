'use strict';

// rateLimit(): express-rate-limit's middleware, and more algorithms and stores behind it.

const { ipKeyGenerator } = require('./ip-key');
const { MemoryStore } = require('./memory-store');
const { createMiddleware } = require('./middleware');
const { parseOptions } = require('./options');
const { Tallies } = require('./tallies');
const { isThenable } = require('./then');

/** A copy: who changes the options it is shown changes nothing. */
const shown = (options) => ({ ...options });

function initStore({ store, logger }, options) {
  if (typeof store.init !== 'function') return;
  try {
    const started = store.init(options);
    if (isThenable(started)) {
      Promise.resolve(started).catch((error) =>
        logger.error(error, 'express-rate-limit: async error during store initialization.'),
      );
    }
  } catch (error) {
    logger.error(error, 'express-rate-limit: error during store initialization.');
  }
}

/**
 * Makes `rateLimit` for one guard.
 *
 * @param {(options: object) => object} databaseLimits makes what `store: 'database'` counts with
 * @param {Tallies} [tallies] how its limiters decide is counted there
 */
function createRateLimit(databaseLimits, tallies = new Tallies()) {
  return function rateLimit(passedOptions) {
    const passed = passedOptions ?? {};
    const { options, validations, decides } = parseOptions(passed, databaseLimits);
    const { store } = options;
    const used = shown(options);
    validations.run('creationStack', store);
    validations.run('unsharedStore', store);
    const isDefaultStore = (passed.store ?? 'memory') === 'memory';
    if (isDefaultStore && !decides) validations.run('windowMs', options.windowMs);
    initStore(options, used);
    const middleware = createMiddleware(options, used, {
      validations,
      decides,
      tally: tallies.of(options),
    });
    middleware.resetKey = store.resetKey.bind(store);
    middleware.getKey = getKeyOf(store, options, decides);
    return middleware;
  };
}

function getKeyOf(store, options, decides) {
  if (decides) {
    if (typeof options.limit === 'function') return noGetKey;
    return async (key) => {
      const { used, resetTime } = await store.peek(key, options.limit);
      return used === 0 ? undefined : { totalHits: used, resetTime };
    };
  }
  if (typeof store.get === 'function') return store.get.bind(store);
  return noGetKey;
}

function noGetKey() {
  throw new Error('The current store does not support the get/getKey method');
}

module.exports = {
  createRateLimit,
  MemoryStore,
  ipKeyGenerator,
};
