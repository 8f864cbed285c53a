'use strict';

// The numbers that JavaScript and native code hand each other without making an object:
// indices into one Float64Array, the same as in src/binding/memory_limits.rs.

module.exports = {
  LIMIT: 0, // in: the limit of this call
  POINTS: 1, // in: the points of this call
  USED: 2,
  REMAINING: 3,
  RESET_AT: 4, // milliseconds since the epoch; NaN when the window never ends
  RETRY_AFTER: 5, // milliseconds
  OVERFLOWING: 6, // 1 while new keys share one count because there is no room
  HIT_AT: 7, // when a hit was decided; in: the same, of the hit that is given back
  WAITS: 8, // in: 1 when whoever asks waits for a turn, so that no refusal is counted
  NOW: 9, // in: the time, by JavaScript's clock
  KEY_KIND: 10, // in: what the key is besides its text

  create: () => new Float64Array(11),
};
