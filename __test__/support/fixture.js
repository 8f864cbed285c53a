'use strict';

// The child's end of `child.js`: a script in __test__/fixtures/ that does what a test asks.
//
//   const { serve, emit } = require('../support/fixture');
//   serve({
//     async claim(agentId) {
//       claim = await guard.claimInstance(agentId);
//       claim.signal.addEventListener('abort', () => emit('lost', claim.signal.reason));
//       return { token: claim.fencingToken };
//     },
//   });
//
// The process ends when the test does, or its parent dies.

const { Socket } = require('node:net');
const { speak } = require('./wire');

const pipe = new Socket({ fd: 3, readable: true, writable: true });
let handlers = {};

const send = speak(pipe, async ({ id, method, args }) => {
  try {
    send({ id, result: await handlers[method](...args) });
  } catch (error) {
    send({ id, error });
  }
});

pipe.on('error', () => process.exit(1));
pipe.on('close', () => process.exit(1));
pipe.on('end', () => process.exit(1));

/** Offers methods; the parent's `startChild` resolves now. */
function serve(methods) {
  handlers = methods;
  send({ event: 'ready' });
}

/** Tells the parent something it did not ask for. */
function emit(event, data) {
  send({ event, data });
}

/** From now on the test does not keep this process alive; it still ends with it. */
function letGo() {
  pipe.unref();
}

module.exports = { serve, emit, letGo };
