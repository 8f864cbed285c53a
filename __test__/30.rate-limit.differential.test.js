'use strict';

// The proof that rateLimit() is express-rate-limit: the same random scenarios through both, and
// everything that can be seen from outside compared, in order: headers, status and body, next(),
// req.rateLimit, calls to options and stores, and what was logged.

const { isDeepStrictEqual } = require('node:util');

const reference = require('express-rate-limit');
const ours = require('../rate-limit');
const { FakeResponse, fakeRequest } = require('./rate-limit/fakes');
const { build, scenario } = require('./rate-limit/scenario');

const SCENARIOS = Number(process.env.RATE_LIMIT_SCENARIOS ?? 1500);
const FIRST_SEED = Number(process.env.RATE_LIMIT_SEED ?? 1);
const START = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
});
afterEach(() => {
  jest.useRealTimers();
});

const settled = () => new Promise((resolve) => setImmediate(resolve));

function infoOf(value) {
  if (value === undefined) return undefined;
  const { current, ...info } = value;
  const hidden = Object.getOwnPropertyDescriptor(value, 'current');
  const isPlain = Object.getPrototypeOf(value) === Object.prototype;
  return { ...info, current: hidden, isPlain };
}

async function run(described, library) {
  jest.setSystemTime(START);
  const trace = [];
  const note = (entry) => trace.push(entry);
  const thrown = (what) => (error) => note([what, error.name, error.code]);
  const limiter = build(described, library, note, () => Date.now());
  await settled();
  for (const wanted of described.requests) {
    jest.advanceTimersByTime(wanted.pass);
    const request = fakeRequest(wanted);
    const response = new FakeResponse(note);
    response.headersSent = wanted.headersSent;
    let went = 0;
    const next = (error) => {
      note(error === undefined ? ['next'] : ['next', error.name, error.code, userText(error)]);
      went += 1;
      if (wanted.nextThrows && went === 1) throw new Error('next threw');
    };
    for (let i = 0; i < (wanted.twice ? 2 : 1); i += 1) {
      const returned = limiter(request, response, next);
      expect(returned).toBeInstanceOf(Promise);
      expect(await returned).toBeUndefined();
      await settled(); // a hit that is given back is so a few microtasks after the response
    }
    const property = described.options.requestPropertyName ?? 'rateLimit';
    note(['info', infoOf(request[property])]);
    response.end(wanted.status, wanted.ends);
    await settled();
    const key = request[property]?.key;
    if (wanted.resetKey) {
      await Promise.resolve(limiter.resetKey(key)).catch(thrown('resetKey'));
    }
    try {
      // Copied: express-rate-limit hands out the counter it goes on counting with.
      const got = await limiter.getKey(key);
      note(['getKey', got && { ...got }]);
    } catch (error) {
      thrown('getKey')(error);
    }
  }
  jest.clearAllTimers(); // express-rate-limit's sweep would go on in the next scenario
  return trace;
}

/** The text of errors that come from a scenario's own functions; others have texts of their own. */
function userText(error) {
  return /threw|rejected|down/.test(error.message) ? error.message : undefined;
}

test('a generated scenario is the same when generated again', () => {
  expect(scenario(7)).toEqual(scenario(7));
});

test(`${SCENARIOS} random scenarios look the same from outside`, async () => {
  const seen = new Set();
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SCENARIOS; seed += 1) {
    const described = scenario(seed);
    const expected = await run(described, reference);
    const actual = await run(described, ours);
    for (const entry of expected) seen.add(/^(error|warn)$/.test(entry[0]) ? entry[1] : entry[0]);
    if (isDeepStrictEqual(actual, expected)) continue;
    const i = expected.findIndex((entry, at) => !isDeepStrictEqual(actual[at], entry));
    // RATE_LIMIT_SEED=… runs that scenario first.
    expect({ seed, step: i, entry: actual[i] }).toEqual({ seed, step: i, entry: expected[i] });
  }
  // The scenarios reach what they are for.
  const reached = [
    'setHeader',
    'append',
    'send',
    'next',
    'increment',
    'decrement',
    'ERR_ERL_UNDEFINED_IP_ADDRESS',
    'ERR_ERL_INVALID_IP_ADDRESS',
    'ERR_ERL_PERMISSIVE_TRUST_PROXY',
    'ERR_ERL_UNEXPECTED_X_FORWARDED_FOR',
    'ERR_ERL_FORWARDED_HEADER',
    'ERR_ERL_INVALID_HITS',
    'WRN_ERL_MAX_ZERO',
    'WRN_ERL_DEPRECATED_DRAFT_POLLI_HEADERS',
    'WRN_ERL_DEPRECATED_ON_LIMIT_REACHED',
    'ERR_ERL_HEADERS_UNSUPPORTED_DRAFT_VERSION',
    'ERR_ERL_HEADERS_NO_RESET',
    'ERR_ERL_UNKNOWN_OPTION',
    'ERR_ERL_UNKNOWN_VALIDATION',
    'ERR_ERL_IPV6_SUBNET',
    'ERR_ERL_IPV6SUBNET_OR_KEYGENERATOR',
  ];
  expect(reached.filter((what) => !seen.has(what))).toEqual([]);
}, 120_000);
