'use strict';

// The guard behind the module's own functions: made on first use, once.

const { createCredentials } = require('./credentials');
const { GuardError } = require('./errors');
const { Guard } = require('./guard');
const { resolveOptions } = require('./options');
const { GuardLimits } = require('./rate-limit/guard-limits');

let configured; // options given to configure()
let guard;
/** In memory they need no guard: it is made at the first hit that is counted in the database. */
const limits = new GuardLimits(() => Guard.limitStoreOf(defaultGuard()));

/** Sets the options of the default guard; before its first use only. */
function configure(options) {
  if (guard || configured) {
    throw new GuardError(
      'ERR_ALREADY_CONFIGURED',
      'the default guard is configured or in use already; createGuard(options) makes another',
    );
  }
  createCredentials(resolveOptions(options)); // refuses here what could not be used later
  configured = { ...options };
}

function defaultGuard() {
  if (!guard) {
    guard = new Guard(configured, limits);
    configured = undefined; // the keys in it
  }
  return guard;
}

/** A function of the module that calls the method of that name on the default guard. */
function onDefaultGuard(method) {
  return named(method, (...args) => defaultGuard()[method](...args));
}

/** The same for a method that returns a promise: bad configuration rejects it as well. */
function asyncOnDefaultGuard(method) {
  return named(method, async (...args) => defaultGuard()[method](...args));
}

function named(name, fn) {
  return Object.defineProperty(fn, 'name', { value: name });
}

module.exports = { configure, defaultGuard, onDefaultGuard, asyncOnDefaultGuard, limits };
