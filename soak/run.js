'use strict';

// One soak: work until it is enough, with a look at what is held after a third and at the end.

const { grown } = require('./gauges');

/** How far along a soak is, from 0 to 1: by time, or by what was done. */
const byTime = (ms, now = () => performance.now()) => {
  const start = now();
  return () => (now() - start) / ms;
};
const byCalls = (calls) => (operations) => operations / calls;

/**
 * @param {() => Promise<number>} work does some, tells how many operations that was
 * @param {(operations: number) => number} progress
 * @param {() => Promise<object>} look
 */
async function soak(work, progress, look) {
  let operations = 0;
  let before;
  for (let done = 0; done < 1 || !before;) {
    operations += await work();
    done = progress(operations);
    if (!before && done >= 1 / 3) before = await look();
    else await new Promise(setImmediate);
  }
  const after = await look();
  return { operations, before, after, grown: grown(before, after) };
}

module.exports = { byCalls, byTime, soak };
