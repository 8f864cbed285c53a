'use strict';

// The sliding window and GCRA as middleware, under a clock that the test moves. Their laws are
// property tests in src/rate_limit/model.rs; this is what of them reaches a client.

const { rateLimit } = require('..');
const { createRandom } = require('./rate-limit/random');
const { FakeResponse, fakeRequest } = require('./rate-limit/fakes');

const MINUTE = 60_000;
const quiet = { error: () => {}, warn: () => {} };

beforeEach(() => jest.useFakeTimers({ now: Date.UTC(2026, 0, 1) }));
afterEach(() => jest.useRealTimers());

async function hit(limiter, { status = 200, ends = 'finish', ip = '1.2.3.4' } = {}) {
  const headers = {};
  const note = ([what, name, value]) => what === 'setHeader' && (headers[name] = value);
  const request = fakeRequest({ ip });
  const response = new FakeResponse(note);
  const next = jest.fn();
  await limiter(request, response, next);
  expect(next.mock.calls[0]?.[0]).toBeUndefined();
  const passed = next.mock.calls.length === 1;
  response.end(status, ends);
  await Promise.resolve()
    .then(() => {})
    .then(() => {})
    .then(() => {});
  return { passed, status: response.statusCode, headers, info: request.rateLimit };
}

const inMs = ({ info }) => info.resetTime.getTime() - Date.now();

test('five in a quarter of an hour, spread over any times: the sixth is refused', async () => {
  const random = createRandom(11);
  for (let round = 0; round < 200; round += 1) {
    const limiter = rateLimit({
      algorithm: 'sliding-window',
      windowMs: 15 * MINUTE,
      limit: 5,
      logger: quiet,
    });
    const times = Array.from({ length: 6 }, () => random.below(15 * MINUTE)).sort((a, b) => a - b);
    const start = Date.now();
    const passed = [];
    for (const time of times) {
      jest.setSystemTime(start + time);
      passed.push((await hit(limiter)).passed);
    }
    expect(passed).toEqual([true, true, true, true, true, false]);
    jest.setSystemTime(start + 60 * MINUTE);
  }
});

test('a sliding window: what resetTime, used and Retry-After say', async () => {
  const limiter = rateLimit({
    algorithm: 'sliding-window',
    windowMs: MINUTE,
    limit: 2,
    logger: quiet,
  });
  const first = await hit(limiter);
  expect(first.info).toMatchObject({ limit: 2, used: 1, remaining: 1 });
  expect(inMs(first)).toBe(MINUTE);
  jest.advanceTimersByTime(20_000);
  const second = await hit(limiter);
  expect(second.info).toMatchObject({ used: 2, remaining: 0 });
  expect(inMs(second)).toBe(40_000);
  const third = await hit(limiter);
  expect(third).toMatchObject({ passed: false, status: 429 });
  expect(third.info).toMatchObject({ used: 3, remaining: 0 });
  expect(third.headers).toMatchObject({ 'Retry-After': '40', 'X-RateLimit-Remaining': '0' });
  expect((await hit(limiter)).info.used).toBe(4);
  jest.advanceTimersByTime(40_000 - 1);
  expect((await hit(limiter)).passed).toBe(false);
  jest.advanceTimersByTime(1);
  const later = await hit(limiter);
  expect(later.passed).toBe(true);
  expect(later.info).toMatchObject({ used: 2, remaining: 0 });
  expect(inMs(later)).toBe(20_000);
});

test('GCRA: a burst, then evenly', async () => {
  const limiter = rateLimit({
    algorithm: 'gcra',
    windowMs: MINUTE,
    limit: 6,
    burst: 2,
    logger: quiet,
  });
  expect((await hit(limiter)).info).toMatchObject({ limit: 6, used: 1, remaining: 1 });
  expect((await hit(limiter)).info).toMatchObject({ used: 2, remaining: 0 });
  const refused = await hit(limiter);
  expect(refused.info).toMatchObject({ used: 3, remaining: 0 });
  expect(refused.headers['Retry-After']).toBe('10');
  for (let i = 0; i < 10; i += 1) {
    jest.advanceTimersByTime(9_999);
    expect((await hit(limiter)).passed).toBe(false);
    jest.advanceTimersByTime(1);
    expect((await hit(limiter)).passed).toBe(true);
  }
});

describe.each([['sliding-window'], ['gcra']])('%s', (algorithm) => {
  test('used is limit + 1 at the first refusal and at no other', async () => {
    const limiter = rateLimit({ algorithm, limit: 3, logger: quiet });
    const used = [];
    for (let i = 0; i < 6; i += 1) used.push((await hit(limiter)).info.used);
    expect(used).toEqual([1, 2, 3, 4, 5, 6]);
    jest.advanceTimersByTime(MINUTE);
    expect((await hit(limiter)).info.used).toBe(1);
  });

  test('a limit of its own for each request', async () => {
    const limits = { poor: 1, rich: 3 };
    const limiter = rateLimit({
      algorithm,
      keyGenerator: (request) => request.ip,
      limit: async (request) => limits[request.ip],
      validate: false,
    });
    const passed = [];
    for (let i = 0; i < 8; i += 1)
      passed.push((await hit(limiter, { ip: i % 2 ? 'poor' : 'rich' })).passed);
    expect(passed).toEqual([true, true, true, false, true, false, false, false]);
    expect(() => limiter.getKey('poor')).toThrow(/getKey/);
  });

  test('a limit that is no number lets nothing pass', async () => {
    for (const limit of [NaN, undefined, -1, 0, 0.9]) {
      const limiter = rateLimit({
        algorithm,
        limit: () => limit,
        legacyHeaders: false,
        validate: false,
      });
      expect(await hit(limiter)).toMatchObject({ passed: false, status: 429 });
    }
  });

  test('failed requests are given back, refused ones have taken nothing', async () => {
    const limiter = rateLimit({ algorithm, limit: 2, skipFailedRequests: true, logger: quiet });
    for (let i = 0; i < 5; i += 1) expect((await hit(limiter, { status: 500 })).passed).toBe(true);
    await hit(limiter);
    await hit(limiter);
    for (let i = 0; i < 5; i += 1) expect((await hit(limiter)).passed).toBe(false);
    expect(await limiter.getKey('1.2.3.4')).toMatchObject({ totalHits: 7 });
    jest.advanceTimersByTime(MINUTE);
    expect((await hit(limiter)).info).toMatchObject({ used: 1, remaining: 1 });
  });

  test('resetKey and getKey', async () => {
    const limiter = rateLimit({ algorithm, limit: 2, logger: quiet });
    expect(await limiter.getKey('1.2.3.4')).toBeUndefined();
    const { info } = await hit(limiter);
    expect(await limiter.getKey('1.2.3.4')).toEqual({ totalHits: 1, resetTime: info.resetTime });
    limiter.resetKey('1.2.3.4');
    expect(await limiter.getKey('1.2.3.4')).toBeUndefined();
  });

  test('draft 8 headers, and one warning about a limit of zero', async () => {
    const codes = [];
    const logger = { warn: ({ code }) => codes.push(code), error: ({ code }) => codes.push(code) };
    const appended = {};
    const response = new FakeResponse(
      ([what, name, value]) => what === 'append' && (appended[name] = value),
    );
    const limiter = rateLimit({
      algorithm,
      limit: 4,
      standardHeaders: 'draft-8',
      legacyHeaders: false,
      logger,
    });
    await limiter(fakeRequest({ ip: '1.2.3.4' }), response, () => {});
    expect(appended.RateLimit).toBe(`"4-in-1min"; r=3; t=${algorithm === 'gcra' ? 15 : 60}`);
    const none = rateLimit({ algorithm, limit: 0, logger });
    await hit(none);
    await hit(none);
    expect(codes).toEqual(['WRN_ERL_MAX_ZERO']);
  });

  test('a clock set back lets nothing more pass and keeps nobody out for longer', async () => {
    const limiter = rateLimit({ algorithm, limit: 1, logger: quiet });
    await hit(limiter);
    jest.setSystemTime(Date.UTC(2020, 0, 1));
    expect((await hit(limiter)).headers['Retry-After']).toBe('60');
    jest.advanceTimersByTime(MINUTE);
    expect((await hit(limiter)).passed).toBe(true);
  });
});
