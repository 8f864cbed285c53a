'use strict';

// Which fault strikes whom and when: all of it follows from the seed.

/** What each database can suffer, and how often one is chosen among the others. */
const FAULTS = {
  both: {
    kill: 4,
    stop: 4,
    freeze: 4,
    stall: 3,
    clock: 2,
    hangUp: 2,
    mute: 2,
    lag: 1,
    endpoint: 1,
  },
  postgres: { cut: 3, silence: 3, delay: 2, restart: 1, crash: 1, outage: 1 },
};

/** mulberry32: small, and the same everywhere. */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * @param {object} how
 * @param {number} how.seed
 * @param {number} how.seconds in which faults begin
 * @param {number} how.processes
 * @param {number} how.gapMs between two faults, on average
 * @param {number} how.ttlMs
 * @param {'sqlite' | 'postgres'} how.database
 * @returns {{ atMs: number, fault: string, target: number, lastsMs: number }[]}
 */
function schedule({ seed, seconds, processes, gapMs, ttlMs, database }) {
  const next = random(seed);
  const between = (low, high) => Math.round(low + next() * (high - low));
  const weights = { ...FAULTS.both, ...(database === 'postgres' ? FAULTS.postgres : {}) };
  const bag = Object.entries(weights).flatMap(([fault, weight]) => Array(weight).fill(fault));
  const plan = [];
  for (let atMs = 0; atMs < seconds * 1000; atMs += between(gapMs / 2, 1.5 * gapMs)) {
    plan.push({
      atMs,
      fault: bag[between(0, bag.length - 1)],
      target: between(0, processes - 1),
      // Half of them shorter than the time to live, half of them longer.
      lastsMs: between(ttlMs / 5, next() < 0.5 ? ttlMs : 2 * ttlMs),
    });
  }
  return plan;
}

module.exports = { FAULTS, random, schedule };
