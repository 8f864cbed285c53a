'use strict';

// The guard behind the module's own functions: made on first use, once.

const { createCredentials } = require('./credentials');
const { GuardError } = require('./errors');
const { Guard } = require('./guard');
const { resolveOptions } = require('./options');
const { Tallies } = require('./rate-limit/tallies');

let configured; // options given to configure()
let guard;
/** Of the module's own limiters, which may be there before the guard. */
const tallies = new Tallies();

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
    guard = new Guard(configured, tallies);
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

module.exports = { configure, defaultGuard, onDefaultGuard, asyncOnDefaultGuard, tallies };
