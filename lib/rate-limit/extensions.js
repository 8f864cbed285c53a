'use strict';

// What rateLimit() and createRateLimiter() have beyond express-rate-limit: algorithms, the
// database, and what belongs to them. A value that cannot be used, or an option that would do
// nothing, throws ERR_INVALID_OPTION.

const { invalidOption } = require('../errors');

const ALGORITHMS = ['fixed-window', 'sliding-window', 'gcra'];
const MAX_COUNT = 2 ** 32 - 1;
const CENTURY_MS = 100 * 366 * 86_400_000;

function check(condition, option, problem) {
  if (!condition) throw invalidOption(option, problem);
}

function isCount(value, from) {
  return Number.isInteger(value) && value >= from && value <= MAX_COUNT;
}

/** Checks what all limits need that are decided where they are counted. */
function checkRule({ algorithm, windowMs, limit, burst }) {
  check(ALGORITHMS.includes(algorithm), 'algorithm', `expected one of ${ALGORITHMS.join(', ')}`);
  check(
    Number.isFinite(windowMs) && windowMs >= 1 && windowMs <= CENTURY_MS,
    'windowMs',
    'expected 1 to 100 years, in milliseconds',
  );
  check(
    typeof limit === 'function' || isCount(limit, 0),
    'limit',
    `expected a whole number from 0 to ${MAX_COUNT}, or a function`,
  );
  if (burst === undefined) return;
  check(algorithm === 'gcra', 'burst', "only means something with algorithm: 'gcra'");
  check(isCount(burst, 1), 'burst', `expected a whole number from 1 to ${MAX_COUNT}`);
  check(
    typeof limit === 'function' || limit === 0 || (windowMs / limit) * burst <= CENTURY_MS,
    'burst',
    'would take more than 100 years to come back',
  );
}

/** Checks what goes with a store: `'memory'`, `'database'` or an express-rate-limit store. */
function checkStore({ store, name, insurance, maxKeys }) {
  const isDatabase = store === 'database';
  check(
    name === undefined || (typeof name === 'string' && name !== '' && name.length <= 200),
    'name',
    'expected a string of 1 to 200 characters',
  );
  check(
    isDatabase || insurance === undefined,
    'insurance',
    "only means something with store: 'database'",
  );
  check(insurance === undefined || insurance === 'memory', 'insurance', "expected 'memory'");
  const inMemory = store === undefined || store === 'memory' || insurance === 'memory';
  check(inMemory || maxKeys === undefined, 'maxKeys', 'only means something in memory');
}

/** The extensions of `rateLimit()`; whether its limits are decided where they are counted. */
function checkExtensions(options) {
  const { algorithm = 'fixed-window', store } = options;
  checkStore(options);
  const isNamed = store === undefined || store === 'memory' || store === 'database';
  const decides = isNamed && (store === 'database' || algorithm !== 'fixed-window');
  if (decides) checkRule({ ...options, algorithm });
  check(ALGORITHMS.includes(algorithm), 'algorithm', `expected one of ${ALGORITHMS.join(', ')}`);
  check(
    decides || algorithm === 'fixed-window',
    'algorithm',
    `${algorithm} has to know the limit when it counts, which a custom store is not told; ` +
      "use store: 'memory' or 'database'",
  );
  check(
    decides || options.burst === undefined,
    'burst',
    "only means something with algorithm: 'gcra'",
  );
  return decides;
}

module.exports = { check, checkExtensions, checkRule, checkStore, isCount };
