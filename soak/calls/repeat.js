'use strict';

// How a function is called again and again.

const TOGETHER = 200;

/** A call that has to fail with a code, whether it throws or rejects. */
async function refusal(call, n) {
  try {
    await call(n);
  } catch (error) {
    if (typeof error?.code === 'string') return;
    throw error;
  }
  throw new Error(`this was to be refused: ${call}`);
}

/**
 * Work that makes `together` calls at once, and half as many of each that is refused. The number it
 * tells is that of the calls that were not.
 *
 * @param {(n: number) => unknown} call
 * @param {{ refused?: ((n: number) => unknown)[], together?: number }} [how]
 */
function repeat(call, { refused = [], together = TOGETHER } = {}) {
  let n = 0;
  return async () => {
    await Promise.all(Array.from({ length: together }, async () => call(n++)));
    for (const bad of refused) {
      await Promise.all(Array.from({ length: Math.ceil(together / 2) }, () => refusal(bad, n)));
    }
    return together;
  };
}

/**
 * Work that meets the database, and so is done on each kind. Where one call costs much a part of the
 * calls has to do.
 *
 * @param {number} part 10 for a tenth of the calls
 * @param {string} why told with the result
 */
const costly = (part, why, make) => Object.assign(make, { part, why });

module.exports = { costly, refusal, repeat };
