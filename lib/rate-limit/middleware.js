'use strict';

// The way of one request, in express-rate-limit's order:
//
//   listeners -> skip -> key -> count -> limit -> request property -> headers -> give back
//   -> refused: Retry-After, then the handler; else next()
//
// Each step is a function that goes on to the next at once, unless an option answered with a
// promise. Whatever throws or rejects on the way goes to next(error). Algorithms that have to
// know the limit to decide (see memory-limits.js) are asked for it before they count.

const headers = require('./headers');
const { giveBack, watch } = require('./give-back');
const { HIT, MemoryStore, RESET_AT } = require('./memory-store');
const { isThenable } = require('./then');

/** What is known of one request so far. */
class Call {
  constructor(request, response, next) {
    this.request = request;
    this.response = response;
    this.next = next;
    this.now = 0;
    this.key = undefined;
    this.limit = undefined;
    this.used = 0;
    this.resetTime = undefined;
    this.refused = false;
    this.hitAt = 0;
    this.endings = undefined;
    this.info = undefined;
  }
}

/** The one that needs no promise; a test that watches the prototype's gets what it asked for. */
const { increment: OWN_INCREMENT } = MemoryStore.prototype;

/** A property that is not enumerable, writable or configurable; used again for each request. */
const CURRENT = { value: 0 };

/**
 * The request property. To its users it is a plain object, and therefore has the prototype of one;
 * a constructor makes it because V8 then knows beforehand that there will be a sixth property.
 */
function Info({ limit, used, resetTime, key }, remaining) {
  this.limit = limit;
  this.used = used;
  this.remaining = remaining;
  this.resetTime = resetTime;
  this.key = key;
  // The name of before version 7, kept out of sight.
  CURRENT.value = used;
  Object.defineProperty(this, 'current', CURRENT);
}
Info.prototype = Object.prototype;

const DONE = Promise.resolve();

/** Goes on with a value when it is there, and knows what time it is then. */
function later(promise, next, call) {
  return Promise.resolve(promise).then((value) => {
    call.now = Date.now();
    return next(value, call);
  });
}

/**
 * @param {object} options parsed, with defaults
 * @param {object} used the same, as handlers are shown it
 * @param {object} with
 * @param {import('./validations').Validations} with.validations
 * @param {boolean} with.decides whether the store decides with the limit, or counts without
 * @param {{ allowed: number, refused: number }} with.tally
 */
function createMiddleware(options, used, { validations, decides, tally }) {
  // Read once: an object made of so many parts is slow to read from.
  const { handler, identifier, keyGenerator, logger, passOnStoreError, retryAfter, skip } = options;
  const { legacyHeaders, limit: limitOption, requestPropertyName, standardHeaders } = options;
  const { store, windowMs } = options;
  const { pending } = validations;
  const givesBack = options.skipFailedRequests || options.skipSuccessfulRequests;
  const tells = legacyHeaders || standardHeaders;

  function afterSkip(skipped, call) {
    if (skipped) return void call.next();
    const key = keyGenerator(call.request, call.response);
    if (isThenable(key)) return later(key, decides ? ask : count, call);
    return decides ? ask(key, call) : count(key, call);
  }

  // A store that counts: increment, then look at the limit.

  function count(key, call) {
    call.key = key;
    if (store.increment === OWN_INCREMENT) {
      call.now = Date.now();
      call.used = store[HIT](key, call.now);
      call.resetTime = new Date(store[RESET_AT]);
      return counted(call);
    }
    let result;
    try {
      result = store.increment(key);
    } catch (error) {
      return storeFailed(error, call);
    }
    if (!isThenable(result)) return readCount(result, call);
    return Promise.resolve(result).then(
      (settled) => readCount(settled, call),
      (error) => storeFailed(error, call),
    );
  }

  function readCount(result, call) {
    try {
      call.used = result.totalHits;
      call.resetTime = result.resetTime;
      // The decision about giving back comes later; nobody may move the date until then.
      if (givesBack && call.resetTime) call.resetTime = new Date(call.resetTime.getTime());
    } catch (error) {
      return storeFailed(error, call);
    }
    call.now = Date.now();
    return counted(call);
  }

  function storeFailed(error, call) {
    if (!passOnStoreError) throw error;
    logger.error(
      error,
      'express-rate-limit: error from store, allowing request without rate-limiting.',
    );
    call.next();
  }

  function counted(call) {
    if (pending.positiveHits) validations.run('positiveHits', call.used);
    if (pending.singleCount) validations.run('singleCount', call.request, store, call.key);
    const limit = limitOf(call);
    return isThenable(limit) ? later(limit, judge, call) : judge(limit, call);
  }

  function judge(limit, call) {
    if (pending.limit) validations.run('limit', limit);
    call.limit = limit;
    call.refused = call.used > limit;
    return tell(Math.max(limit - call.used, 0), call);
  }

  // A store that decides: look at the limit, then take.

  function ask(key, call) {
    call.key = key;
    const limit = limitOf(call);
    return isThenable(limit) ? later(limit, take, call) : take(limit, call);
  }

  function take(limit, call) {
    if (pending.limit) validations.run('limit', limit);
    call.limit = limit;
    let decision;
    try {
      decision = store.take(call.key, limit, 1);
    } catch (error) {
      return storeFailed(error, call);
    }
    if (!isThenable(decision)) return decided(decision, call);
    return Promise.resolve(decision).then(
      (settled) => decided(settled, call),
      (error) => storeFailed(error, call),
    );
  }

  function decided(decision, call) {
    call.now = decision.now;
    call.used = decision.used;
    call.resetTime = decision.resetTime;
    call.refused = !decision.allowed;
    call.hitAt = decision.hitAt;
    if (pending.singleCount) validations.run('singleCount', call.request, store, call.key);
    return tell(decision.remaining, call);
  }

  // From here on both ways are one.

  function limitOf(call) {
    return typeof limitOption === 'function'
      ? limitOption(call.request, call.response)
      : limitOption;
  }

  function tell(remaining, call) {
    const { request, response } = call;
    const info = new Info(call, remaining);
    if (call.refused) tally.refused += 1;
    else tally.allowed += 1;
    call.info = info;
    request[requestPropertyName] = info;
    if (legacyHeaders && !response.headersSent) {
      headers.setLegacyHeaders(response, info, call.now);
    }
    if (!standardHeaders || response.headersSent) return finish(undefined, call);
    return tellStandard(call);
  }

  function tellStandard(call) {
    const { info, now, response, request } = call;
    switch (standardHeaders) {
      case 'draft-6':
        headers.setDraft6Headers(response, info, now, windowMs);
        return finish(undefined, call);
      case 'draft-7':
        if (pending.headersResetTime) validations.run('headersResetTime', info.resetTime);
        headers.setDraft7Headers(response, info, now, windowMs);
        return finish(undefined, call);
      case 'draft-8': {
        const name = typeof identifier === 'function' ? identifier(request, response) : identifier;
        return isThenable(name) ? later(name, tellDraft8, call) : tellDraft8(name, call);
      }
      default:
        validations.run('headersDraftVersion', standardHeaders);
        return finish(undefined, call);
    }
  }

  function tellDraft8(name, call) {
    const { info, now, response } = call;
    if (pending.headersResetTime) validations.run('headersResetTime', info.resetTime);
    if (!response.headersSent) {
      headers.setDraft8Headers(response, info, now, windowMs, name);
    }
    return finish(undefined, call);
  }

  function decrement({ key, resetTime }) {
    // A hit of a window that has ended is not in the count any more.
    if (resetTime && Date.now() >= resetTime.getTime()) return undefined;
    return store.decrement(key);
  }

  function refund({ key, limit, refused, hitAt }) {
    // A refused hit has taken nothing.
    return refused ? undefined : store.refund(key, limit, 1, hitAt);
  }

  function finish(_, call) {
    if (givesBack) giveBack(options, call, () => (decides ? refund(call) : decrement(call)));
    if (!call.refused) return void call.next();
    if (!tells) return refuse(call);
    const seconds =
      typeof retryAfter === 'function' ? retryAfter(call.request, call.response) : retryAfter;
    return isThenable(seconds)
      ? later(seconds, tellRetryAfter, call)
      : tellRetryAfter(seconds, call);
  }

  function tellRetryAfter(seconds, call) {
    const { response, info, now } = call;
    if (!response.headersSent) {
      headers.setRetryAfter(response, info, now, windowMs, seconds);
    }
    return refuse(call);
  }

  function refuse(call) {
    return handler(call.request, call.response, call.next, used);
  }

  return function limiter(request, response, next) {
    let outcome;
    try {
      const call = new Call(request, response, next);
      if (givesBack) call.endings = watch(options, response);
      const skipped = skip(request, response);
      outcome = isThenable(skipped) ? later(skipped, afterSkip, call) : afterSkip(skipped, call);
    } catch (error) {
      outcome = Promise.reject(error);
    }
    if (!isThenable(outcome)) return DONE;
    // Twice, because next() itself may throw; what it throws goes to next(), too.
    return Promise.resolve(outcome).then(nothing, next).then(nothing, next);
  };
}

function nothing() {}

module.exports = { createMiddleware };
