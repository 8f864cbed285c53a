'use strict';

// Options may be functions that answer at once or later. Waiting for what is there already costs
// more than deciding about a request, so only a promise is waited for.

function isThenable(value) {
  return (
    value !== null &&
    (typeof value === 'object' || typeof value === 'function') &&
    typeof value.then === 'function'
  );
}

/** Goes on with a value, now or when it is there. */
function proceed(value, step) {
  return isThenable(value) ? Promise.resolve(value).then(step) : step(value);
}

module.exports = { isThenable, proceed };
