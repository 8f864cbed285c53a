'use strict';

// Random scenarios over the whole option space of express-rate-limit: options that are values,
// functions, promises, or fail; stores of all kinds; requests of all kinds with time between.
// A scenario is plain data; `build` makes real options of it that note each call in `trace`.

const { createRandom } = require('./random');

const IPS = [
  '1.2.3.4',
  '1.2.3.4',
  '5.6.7.8',
  '2001:db8:1:2:3:4:5:6',
  '2001:db8:1:2:ffff::',
  '::ffff:1.2.3.4',
  '::1',
  undefined,
  'not-an-ip',
];

/** How an option that may be a function gives its value. */
const WAYS = ['value', 'sync', 'sync', 'async', 'throws', 'rejects'];

function scenario(seed) {
  const random = createRandom(seed);
  const { below, chance, pick } = random;
  const options = {};
  const maybe = (probability, name, make) => {
    if (chance(probability)) options[name] = make();
  };
  const given = (values, ways = WAYS) => ({
    way: chance(0.15) ? pick(ways) : ways[below(Math.min(3, ways.length))],
    value: pick(values),
  });

  maybe(0.9, 'windowMs', () => pick([50, 1000, 1000, 60_000, 90_500, 5_400_000, 129_600_000]));
  const limits = [0, 1, 1, 2, 2, 3, 5, -1, 1.5, NaN, Infinity, undefined];
  maybe(0.8, chance(0.2) ? 'max' : 'limit', () => given(limits));
  if (options.limit?.way === 'value' && options.limit.value === undefined) options.limit.value = 2;
  maybe(0.5, 'message', () => given(['stop', { error: 'stop' }, null, 7, '']));
  maybe(0.3, 'statusCode', () => pick([420, 503]));
  maybe(0.3, chance(0.3) ? 'headers' : 'legacyHeaders', () => chance(0.4));
  maybe(0.7, 'standardHeaders', () =>
    pick([true, false, 'draft-6', 'draft-7', 'draft-8', 'draft-8', 'draft-9', 7, undefined]),
  );
  maybe(0.3, 'identifier', () => given(['burst', '', 12]));
  maybe(0.3, 'retryAfter', () => given([7, 0, 1.5, undefined]));
  maybe(0.2, 'requestPropertyName', () => pick(['quota', 'current']));
  maybe(0.3, 'skipFailedRequests', () => chance(0.8));
  maybe(0.3, 'skipSuccessfulRequests', () => chance(0.8));
  maybe(0.3, 'requestWasSuccessful', () => given(['byStatus', true, false], WAYS.slice(1)));
  maybe(0.4, 'keyGenerator', () =>
    given(['byHeader', 'byHeader', 'same', undefined, null, 1, '1', ''], WAYS.slice(1)),
  );
  maybe(0.2, 'ipv6Subnet', () => given([48, 56, 64, 20, false], chance(0.5) ? ['value'] : WAYS));
  if (options.ipv6Subnet?.way === 'value' && options.ipv6Subnet.value === 20 && chance(0.5)) {
    options.ipv6Subnet.value = 128;
  }
  maybe(0.3, 'skip', () => given(['byHeader', false], WAYS.slice(1)));
  maybe(0.3, 'handler', () => given(['send', 'next', 'end'], WAYS.slice(1)));
  maybe(0.3, 'passOnStoreError', () => chance(0.7));
  maybe(0.3, 'validate', () =>
    pick([true, false, { ip: false }, { default: false, limit: true }, { nonsense: true }]),
  );
  maybe(0.15, 'nonsense', () => 1);
  maybe(0.1, 'onLimitReached', () => true);
  maybe(0.1, 'draft_polli_ratelimit_headers', () => true);

  const store = chance(0.6)
    ? { kind: 'memory' }
    : {
        kind: pick(['sync', 'async', 'legacy']),
        resetTime: pick(['date', 'date', 'none', 'number']),
        failsAt: chance(0.3) ? below(5) : -1,
        failure: pick(['throw', 'undefined']),
        decrementFails: chance(0.2),
        initFails: pick(['no', 'no', 'throw', 'reject']),
        localKeys: chance(0.5),
        hits: pick(['count', 'count', 'count', 'zero', 'fraction', 'text']),
        get: chance(0.5),
        prefix: pick([undefined, 'p:']),
      };

  const requests = Array.from({ length: 3 + below(9) }, () => ({
    pass: pick([0, 0, 0, 1, 10, 500, 999, 1000, 30_000, 60_000, 150_000]),
    ip: chance(0.7) ? IPS[0] : pick(IPS),
    headers: {
      ...(chance(0.1) && { 'x-forwarded-for': '9.9.9.9' }),
      ...(chance(0.1) && { forwarded: 'for=9.9.9.9' }),
      ...(chance(0.2) && { skip: 'yes' }),
      ...(chance(0.4) && { key: pick(['a', 'b', '\ud800', '\ud801', 'x'.repeat(300)]) }),
    },
    remoteAddress: chance(0.2) ? '1.2.3.4' : '127.0.0.9',
    trustProxy: pick([false, false, true, 1]),
    headersSent: chance(0.05),
    nextThrows: chance(0.04),
    status: pick([200, 200, 204, 404, 500]),
    ends: pick(['finish', 'finish', 'finish', 'close', 'error']),
    twice: chance(0.08),
    resetKey: chance(0.06),
  }));
  return { seed, options, store, requests };
}

/** Real options for a scenario; every function that is called says so in the trace. */
function build({ options: described, store }, library, note, now) {
  const options = {};
  const answers = {
    requestWasSuccessful: (value, _request, response) =>
      value === 'byStatus' ? response.statusCode < 404 : value,
    keyGenerator: (value, request) => (value === 'byHeader' ? request.headers.key : value),
    skip: (value, request) => (value === 'byHeader' ? request.headers.skip === 'yes' : value),
    handler: (value, _request, response, next, used) => {
      note(['options used', summary(used)]);
      if (value === 'send') response.status(used.statusCode).send(used.message);
      if (value === 'next') next();
    },
  };
  for (const [name, value] of Object.entries(described)) {
    options[name] = value?.way ? optionOf(name, value, answers[name] ?? ((v) => v), note) : value;
  }
  const log = (level) => (error, message) =>
    note([level, error.code ?? error.name, error.code ? [error.name, error.help] : '', message]);
  options.logger = { error: log('error'), warn: log('warn') };
  if (store.kind === 'memory') options.store = undefined;
  else options.store = customStore(store, note, now, options.windowMs ?? 60_000);
  return library.rateLimit(options);
}

function optionOf(name, { way, value }, answer, note) {
  if (way === 'value') return value;
  const run = (...args) => {
    note(['call', name, args.length]);
    if (way === 'throws') throw new Error(`${name} threw`);
    return answer(value, ...args);
  };
  if (way === 'async') return async (...args) => run(...args);
  if (way === 'rejects')
    return () => (note(['call', name]), Promise.reject(new Error(`${name} rejected`)));
  return (...args) => run(...args);
}

/** What of the options used can be compared: values, and that there is a function. */
function summary(used) {
  return Object.keys(used)
    .sort()
    .map((name) => {
      const value = used[name];
      if (name === 'validate') return [name, Object.entries(value).sort()];
      return [
        name,
        typeof value === 'object' ? 'object' : typeof value === 'function' ? 'function' : value,
      ];
    });
}

function customStore(described, note, now, windowMs) {
  const counts = new Map();
  const start = now();
  const resetTime = () => {
    const end = start + Math.ceil((now() - start + 1) / windowMs) * windowMs;
    return { date: new Date(end), none: undefined, number: end }[described.resetTime];
  };
  const add = (key) => {
    counts.set(key, (counts.get(key) ?? 0) + 1);
    const hits = counts.get(key);
    return { count: hits, zero: hits - 1, fraction: hits + 0.5, text: String(hits) }[
      described.hits
    ];
  };
  let calls = 0;
  const increment = (key) => {
    note(['increment', key]);
    calls += 1;
    if (calls - 1 !== described.failsAt) return { totalHits: add(key), resetTime: resetTime() };
    if (described.failure === 'throw') throw new Error('the store is down');
    return undefined;
  };
  const decrement = (key) => {
    note(['decrement', key]);
    if (described.decrementFails) throw new Error('no decrement');
    counts.set(key, counts.get(key) - 1);
  };
  const store = {
    localKeys: described.localKeys,
    prefix: described.prefix,
    decrement,
    resetKey: (key) => (note(['resetKey', key]), counts.delete(key), undefined),
    init: (used) => {
      note(['init', summary(used)]);
      if (described.initFails === 'throw') throw new Error('no init');
      if (described.initFails === 'reject') return Promise.reject(new Error('no init later'));
      return undefined;
    },
  };
  if (described.get) store.get = (key) => (note(['get', key]), { totalHits: counts.get(key) });
  if (described.kind === 'async') {
    store.increment = async (key) => increment(key);
    store.decrement = async (key) => decrement(key);
  } else if (described.kind === 'sync') {
    store.increment = increment;
  } else {
    store.incr = (key, callback) => {
      let result;
      try {
        result = increment(key);
      } catch (error) {
        return callback(error);
      }
      return callback(undefined, result?.totalHits, result?.resetTime);
    };
  }
  return store;
}

module.exports = { scenario, build };
