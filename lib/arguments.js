'use strict';

// Checks of arguments and options that several calls share. Each names what it refuses.

const { invalidArgument, invalidOption } = require('./errors');

const MAX_ID_LENGTH = 255; // what `instance_id VARCHAR(255)` and most hosts' agent ids hold

/** Says what a value is, for a message, without printing the value itself. */
function describe(value) {
  if (value === null) return 'null';
  if (typeof value !== 'object') return typeof value;
  try {
    if (Array.isArray(value)) return 'an array';
    const name = value.constructor?.name ?? 'plain';
    return typeof name === 'string' ? `an object (${name})` : 'an object';
  } catch {
    return 'an object'; // a getter or a proxy, which has errors of its own
  }
}

/** What keeps a value from being text that both databases store as it is. */
function problemOfText(value) {
  if (typeof value !== 'string') return `must be a string, got ${describe(value)}`;
  if (value.includes('\0')) return 'must not contain a NUL character';
  if (!value.isWellFormed()) return 'must be well-formed Unicode';
  return undefined;
}

function problemOfId(value) {
  const problem = problemOfText(value);
  if (problem) return problem;
  if (value.length === 0) return 'must not be empty';
  if (value.length > MAX_ID_LENGTH) {
    return `must have at most ${MAX_ID_LENGTH} characters, got ${value.length}`;
  }
  return undefined;
}

/** A non-empty string of at most 255 characters that both databases can store. */
function checkId(value, argument) {
  const problem = problemOfId(value);
  if (problem) throw invalidArgument(argument, problem);
  return value;
}

/** Like `checkId`, for a value that may be missing. */
function checkOptionalId(value, argument) {
  return value === undefined || value === null ? undefined : checkId(value, argument);
}

/** An options object; nothing else than an object, `undefined` or `null` will do. */
function checkObject(value, argument) {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw invalidArgument(argument, `must be an object, got ${describe(value)}`);
  }
  return value;
}

function checkFunction(value, argument) {
  if (typeof value !== 'function') {
    throw invalidArgument(argument, `must be a function, got ${describe(value)}`);
  }
  return value;
}

function checkOptionalFunction(value, argument) {
  return value === undefined ? undefined : checkFunction(value, argument);
}

function checkOptionalBoolean(value, argument) {
  if (value !== undefined && typeof value !== 'boolean') {
    throw invalidArgument(argument, `must be true or false, got ${describe(value)}`);
  }
  return value;
}

/** One of the options that a guard is made with: those have an error of their own. */
function checkBooleanOption(value, option) {
  if (typeof value !== 'boolean') {
    throw invalidOption(option, `must be true or false, got ${describe(value)}`);
  }
  return value;
}

/** A number of milliseconds between two limits, both included. */
function checkMs(value, argument, { min = 0, max = 2 ** 40 } = {}) {
  if (typeof value !== 'number' || !(value >= min && value <= max)) {
    const got = typeof value === 'number' ? value : describe(value);
    throw invalidArgument(argument, `must be a number of milliseconds from ${min} on, got ${got}`);
  }
  return value;
}

module.exports = {
  describe,
  problemOfId,
  problemOfText,
  checkId,
  checkOptionalId,
  checkObject,
  checkFunction,
  checkOptionalFunction,
  checkOptionalBoolean,
  checkBooleanOption,
  checkMs,
};
