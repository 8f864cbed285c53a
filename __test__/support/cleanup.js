'use strict';

// What a test file started and must not leave behind: servers, databases, children, folders.
//
// `defer(undo)` may be called anywhere, also inside a test. The undos run last first, after the
// file's own `afterAll` hooks (`environment.js` sees to that), each of them even when another one
// fails; outside of jest the caller runs them by `cleanUp()`.

const key = Symbol.for('baileys-guard.test.undos');
const undos = (globalThis[key] ??= []);

/**
 * @param {() => unknown} undo
 * @returns {() => Promise<void>} does it now, and not again at the end
 */
function defer(undo) {
  undos.push(undo);
  return async () => {
    const index = undos.indexOf(undo);
    if (index === -1) return;
    undos.splice(index, 1);
    await undo();
  };
}

async function cleanUp(list = undos) {
  const failures = [];
  while (list.length > 0) {
    try {
      await list.pop()();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'cleaning up after the tests failed');
}

module.exports = { defer, cleanUp, key };
