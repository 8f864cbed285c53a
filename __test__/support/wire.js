'use strict';

// One JSON value a line, over a stream, with what JSON lacks and the tests' processes need.

const readline = require('node:readline');

function encode(value) {
  return JSON.stringify(value, (_, part) => {
    if (typeof part === 'bigint') return { $bigint: String(part) };
    if (part instanceof Error) {
      const { name, message, code, stack, cause, ...fields } = part;
      return { $error: { ...fields, name, message, code, stack, cause } };
    }
    return part;
  });
}

function decode(line) {
  return JSON.parse(line, (_, part) => {
    if (part?.$bigint !== undefined) return BigInt(part.$bigint);
    if (part?.$error !== undefined) return Object.assign(new Error(), part.$error);
    return part;
  });
}

/** @returns {(message: unknown) => void} sends one */
function speak(stream, listen) {
  readline
    .createInterface({ input: stream })
    .on('line', (line) => listen(decode(line)))
    .on('error', () => {}); // those of the stream, again
  return (message) => {
    if (!stream.destroyed) stream.write(`${encode(message)}\n`);
  };
}

module.exports = { speak };
