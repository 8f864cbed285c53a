'use strict';

// A seeded generator of numbers (mulberry32), so that a scenario that fails can be run again.

function createRandom(seed) {
  let state = seed >>> 0;
  const unit = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n) => Math.floor(unit() * n);
  return {
    below,
    chance: (probability) => unit() < probability,
    pick: (values) => values[below(values.length)],
  };
}

module.exports = { createRandom };
