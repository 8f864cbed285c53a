'use strict';

// Readers of option values, as commander takes them.

const { InvalidArgumentError } = require('commander');

function wholeNumber(min, max) {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`must be a whole number from ${min} to ${max}.`);
  };
}

function seconds(text) {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : NaN;
  if (value <= 86_400_000) return value;
  throw new InvalidArgumentError('must be a number of seconds, a day at most.');
}

module.exports = { seconds, wholeNumber };
