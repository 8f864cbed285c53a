'use strict';

// Options of a scheduler, with the defaults that docs/reconnect.md names.

const {
  checkFunction,
  checkMs,
  checkObject,
  checkOptionalBoolean,
  checkOptionalFunction,
  describe,
} = require('../arguments');
const { invalidArgument } = require('../errors');

/** What is decided by the native side: numbers only. */
const NUMBERS = {
  initialDelayMs: 1000,
  maxDelayMs: 30_000,
  multiplier: 2,
  jitter: 0.5,
  maxAttempts: Infinity,
  stableAfterMs: 60_000,
  maxConcurrent: 5,
  connectsPerSecond: 2,
  burst: 1,
  connectTimeoutMs: 60_000,
};

const KNOWN = new Set([
  ...Object.keys(NUMBERS),
  'connect',
  'makeSocket',
  'authState',
  'silentAfterMs',
  'balance',
  'onGiveUp',
  'onEvent',
]);

/** Longest wait a timer can be trusted with, and longer than anybody waits. */
const MAX_MS = 30 * 24 * 60 * 60 * 1000;

/** The numbers of a scheduler, each with a usable value. */
function checkNumbers(options) {
  const numbers = {};
  for (const [name, byDefault] of Object.entries(NUMBERS)) {
    numbers[name] = options[name] === undefined ? byDefault : options[name];
  }
  checkMs(numbers.initialDelayMs, 'initialDelayMs', { max: MAX_MS });
  checkMs(numbers.maxDelayMs, 'maxDelayMs', { min: numbers.initialDelayMs, max: MAX_MS });
  checkMs(numbers.stableAfterMs, 'stableAfterMs', { max: MAX_MS });
  checkMs(numbers.connectTimeoutMs, 'connectTimeoutMs', { min: 1, max: MAX_MS });
  checkNumber(numbers.multiplier, 'multiplier', { min: 1, max: 1000 });
  checkNumber(numbers.jitter, 'jitter', { min: 0, max: 1 });
  checkNumber(numbers.connectsPerSecond, 'connectsPerSecond', { min: 0.001, max: 1e6 });
  checkWhole(numbers.maxConcurrent, 'maxConcurrent', { max: 1e6 });
  checkWhole(numbers.burst, 'burst', { max: 1e6 });
  if (numbers.maxAttempts !== Infinity)
    checkWhole(numbers.maxAttempts, 'maxAttempts', { max: 1e9 });
  return numbers;
}

function checkNumber(value, argument, { min, max }) {
  if (typeof value !== 'number' || !(value >= min && value <= max)) {
    const got = typeof value === 'number' ? value : describe(value);
    throw invalidArgument(argument, `must be a number from ${min} to ${max}, got ${got}`);
  }
}

function checkWhole(value, argument, { max }) {
  checkNumber(value, argument, { min: 1, max });
  if (!Number.isInteger(value))
    throw invalidArgument(argument, `must be a whole number, got ${value}`);
}

/**
 * Options of `createReconnectScheduler`. `forSessions`: of a scheduler whose sessions each bring
 * their own `makeSocket`.
 */
function checkSchedulerOptions(given, { forSessions = false } = {}) {
  const options = checkObject(given, 'options');
  const stranger = Object.keys(options).find((name) => !KNOWN.has(name));
  if (stranger !== undefined) throw invalidArgument(stranger, 'is not an option of a scheduler');
  const { connect, makeSocket } = options;
  if (makeSocket === undefined && !forSessions) checkFunction(connect, 'connect');
  if (makeSocket !== undefined && connect !== undefined) {
    throw invalidArgument('connect', 'cannot be given together with makeSocket');
  }
  return {
    numbers: checkNumbers(options),
    connect,
    supervision: makeSocket === undefined ? undefined : checkSupervision(options),
    balance: checkOptionalBoolean(options.balance, 'balance') ?? false,
    onGiveUp: checkOptionalFunction(options.onGiveUp, 'onGiveUp'),
    onEvent: checkOptionalFunction(options.onEvent, 'onEvent'),
  };
}

/** How a session is supervised: the part that `superviseSession` takes as well. */
function checkSupervision({ makeSocket, authState, silentAfterMs = 120_000 }) {
  checkFunction(makeSocket, 'makeSocket');
  if (authState !== undefined && typeof authState !== 'function' && !authState?.state) {
    throw invalidArgument('authState', 'must be a function or { state, saveCreds }');
  }
  checkMs(silentAfterMs, 'silentAfterMs', { min: 1, max: MAX_MS });
  return { makeSocket, authState, silentAfterMs };
}

module.exports = { NUMBERS, checkNumbers, checkSchedulerOptions, checkSupervision };
