'use strict';

// What is public, found in what is there: the exports, and the methods and properties of one sample
// of every kind of object that a user gets hold of. `calls/` has to have work for each of them.

const { EventEmitter } = require('node:events');

/** Where a prototype stops being ours. */
const FOREIGN = new Set([Object.prototype, Function.prototype, EventEmitter.prototype]);
/** What every function and every EventEmitter brings along. */
const EVERY = new Set(['constructor', 'length', 'name', 'prototype']);

/** Names of the methods and computed properties of an object. */
function membersOf(object) {
  const names = new Set();
  for (let one = object; one && !FOREIGN.has(one); one = Object.getPrototypeOf(one)) {
    for (const [name, { get, value }] of Object.entries(Object.getOwnPropertyDescriptors(one))) {
      const isOurs = !EVERY.has(name) && !name.startsWith('_');
      if (isOurs && (get || typeof value === 'function')) names.add(name);
    }
  }
  return [...names];
}

/**
 * `createGuard`, `Guard.migrate`, `Claim.held`, …; a sample that can be called is a name of its own.
 *
 * @param {object} library its exports
 * @param {{ [kind: string]: object }} samples
 */
function publicNames(library, samples) {
  const exported = Object.keys(library).filter((name) => typeof library[name] === 'function');
  const members = Object.entries(samples).flatMap(([kind, sample]) => [
    ...(typeof sample === 'function' ? [kind] : []),
    ...membersOf(sample).map((name) => `${kind}.${name}`),
  ]);
  return [...exported, ...members];
}

/**
 * What has neither work nor an excuse, and what is no longer there to have one.
 *
 * @param {string[]} names as `publicNames` gives them
 * @param {string[]} works names, some with an explanation after a comma
 * @param {{ [name: string]: string }} exempt with the reason of each
 */
function uncovered(names, works, exempt) {
  const covered = new Set(works.map((work) => work.split(',')[0]));
  const known = new Set([...covered, ...Object.keys(exempt)]);
  return {
    missing: names.filter((name) => !known.has(name)),
    unknown: [...known].filter((name) => !names.includes(name)),
    both: Object.keys(exempt).filter((name) => covered.has(name)),
  };
}

module.exports = { membersOf, publicNames, uncovered };
