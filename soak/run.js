'use strict';

// One soak: work until it is enough, with a look at what is held after a third and at the end.

const { grown } = require('./gauges');

/** How often what seems to grow is given the chance to show that it does not. */
const ROUNDS = 3;

/** How far along a soak is, from 0 to 1: by time, or by what was done. */
const byTime = (ms, now = () => performance.now()) => {
  const start = now();
  return () => (now() - start) / ms;
};
const byCalls = (calls) => (operations) => operations / calls;

/**
 * What an allocator keeps at hand finds its level sooner or later; what leaks never does. So what has
 * grown has to grow again in a second round, and in a third.
 *
 * @param {() => Promise<number>} work does some, tells how many operations that was
 * @param {() => (operations: number) => number} begin a round; gives its progress
 * @param {() => Promise<object>} look
 */
async function soak(work, begin, look) {
  let total = 0;
  let before;
  let after;
  for (let round = 1; round <= ROUNDS; round++) {
    const progress = begin();
    let operations = 0;
    const workUntil = async (share) => {
      do {
        operations += await work();
        await new Promise(setImmediate);
      } while (progress(operations) < share);
    };
    if (round === 1) {
      await workUntil(1 / 3);
      before = await look();
    } else {
      before = after;
    }
    await workUntil(1);
    after = await look();
    total += operations;
    if (grown(before, after).length === 0) break;
  }
  return { operations: total, before, after, grown: grown(before, after) };
}

module.exports = { ROUNDS, byCalls, byTime, soak };
