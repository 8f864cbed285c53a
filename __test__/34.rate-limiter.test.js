'use strict';

// createRateLimiter(): consume, peek, reset, and waiting for a turn.

const { getEventListeners } = require('node:events');

const { createRateLimiter } = require('..');

beforeEach(() => jest.useFakeTimers({ now: Date.UTC(2026, 0, 1) }));
afterEach(() => jest.useRealTimers());

/** Lets everything run that waits for nothing but its turn on the event loop. */
const settle = async () => {
  for (let i = 0; i < 10; i += 1) await Promise.resolve();
};

const pass = async (ms) => {
  await settle();
  jest.advanceTimersByTime(ms);
  await settle();
};

/** Writes down which promises have been kept, in order, and when. */
function finishing() {
  const start = Date.now();
  const done = [];
  const watch = (name, promise) => {
    const note = (how) => () => done.push(`${name} ${how} ${Date.now() - start}`);
    promise.then(note('passed'), (error) => note(error.name)());
  };
  return { done, watch };
}

describe('consume and peek', () => {
  test('what they answer', async () => {
    const limiter = createRateLimiter({ limit: 3, windowMs: 1000 });
    const resetTime = new Date(Date.now() + 1000);
    const answer = { key: 'a', limit: 3, resetTime };
    const taken = { ...answer, allowed: true, used: 2, remaining: 1, retryAfterMs: 0 };
    expect(await limiter.consume('a', 2)).toEqual(taken);
    expect(await limiter.peek('a')).toEqual(taken);
    expect(await limiter.consume('a', 2)).toEqual({
      ...answer,
      allowed: false,
      used: 3,
      remaining: 1,
      retryAfterMs: 1000,
    });
    expect((await limiter.consume('a')).allowed).toBe(true);
    expect(await limiter.peek('a')).toMatchObject({ allowed: false, retryAfterMs: 1000 });
    expect((await limiter.consume('b', 3)).allowed).toBe(true);
    await limiter.reset('a');
    expect(await limiter.peek('a')).toMatchObject({ allowed: true, used: 0, remaining: 3 });
  });

  test.each([['fixed-window'], ['sliding-window'], ['gcra']])(
    'waiting as long as told succeeds, a millisecond less does not: %s',
    async (algorithm) => {
      const limiter = createRateLimiter({ limit: 7, windowMs: 1000, algorithm });
      for (let i = 0; i < 7; i += 1) {
        await limiter.consume('a');
        jest.advanceTimersByTime(3);
      }
      let refusals = 0;
      for (let i = 0; i < 30; i += 1) {
        const points = 1 + (i % 4);
        const { allowed, retryAfterMs } = await limiter.consume('a', points);
        if (allowed) continue;
        refusals += 1;
        jest.advanceTimersByTime(retryAfterMs - 1);
        expect((await limiter.consume('a', points)).allowed).toBe(false);
        jest.advanceTimersByTime(1);
        expect((await limiter.consume('a', points)).allowed).toBe(true);
      }
      expect(refusals).toBeGreaterThan(3);
    },
  );

  test('blockMs keeps a key out after its first refusal', async () => {
    for (const algorithm of ['fixed-window', 'sliding-window', 'gcra']) {
      const limiter = createRateLimiter({ limit: 2, windowMs: 1000, blockMs: 5000, algorithm });
      await limiter.consume('a', 2);
      expect(await limiter.consume('a')).toMatchObject({ allowed: false, retryAfterMs: 5000 });
      jest.advanceTimersByTime(4999);
      expect(await limiter.consume('a')).toMatchObject({ allowed: false, remaining: 0 });
      expect((await limiter.consume('b')).allowed).toBe(true);
      jest.advanceTimersByTime(1);
      expect((await limiter.consume('a')).allowed).toBe(true);
    }
  });

  test.each([[0], [-1], [1.5], [NaN], ['1'], [4]])('points %p are refused', async (points) => {
    const limiter = createRateLimiter({ limit: 3 });
    const error = expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', argument: 'points' });
    await expect(limiter.consume('a', points)).rejects.toEqual(error);
    await expect(limiter.acquire('a', { points })).rejects.toEqual(error);
    expect((await limiter.peek('a')).used).toBe(0);
  });

  test('under GCRA the burst is the most that passes at once', async () => {
    const limiter = createRateLimiter({ limit: 60, burst: 2, algorithm: 'gcra' });
    await expect(limiter.consume('a', 3)).rejects.toThrow(/3 never pass where 2 is the most/);
    expect(await limiter.consume('a', 2)).toMatchObject({ allowed: true, remaining: 0 });
    expect((await limiter.consume('a')).retryAfterMs).toBe(1000);
  });
});

describe('acquire', () => {
  test('lets pass at once what fits, and the others in order of arrival, as soon as they fit', async () => {
    const limiter = createRateLimiter({ limit: 1, windowMs: 1000, algorithm: 'gcra' });
    const { done, watch } = finishing();
    for (const name of ['a', 'b', 'c']) watch(name, limiter.acquire('agent'));
    watch('other', limiter.acquire('another agent'));
    await settle();
    expect(done).toEqual(['a passed 0', 'other passed 0']);
    for (let i = 0; i < 4; i += 1) await pass(500);
    expect(done.slice(2)).toEqual(['b passed 1000', 'c passed 2000']);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('says what it had to wait and what is left', async () => {
    const limiter = createRateLimiter({ limit: 2, windowMs: 1000 });
    await limiter.acquire('a', { points: 2 });
    const waiting = limiter.acquire('a');
    await pass(1000);
    expect(await waiting).toMatchObject({
      key: 'a',
      allowed: true,
      used: 1,
      remaining: 1,
      waitedMs: 1000,
    });
  });

  test('who wants much does not starve behind those who want little', async () => {
    const limiter = createRateLimiter({ limit: 4, windowMs: 1000, algorithm: 'sliding-window' });
    const { done, watch } = finishing();
    await limiter.consume('a');
    await pass(500);
    watch('much', limiter.acquire('a', { points: 4 }));
    for (const name of ['one', 'two']) watch(name, limiter.acquire('a'));
    await pass(500);
    expect(done).toEqual(['much passed 1000']);
    await pass(1000);
    expect(done.slice(1)).toEqual(['one passed 2000', 'two passed 2000']);
  });

  test('an aborted one leaves at once, wherever it stands, and takes nothing', async () => {
    const limiter = createRateLimiter({ limit: 1, windowMs: 1000 });
    const { done, watch } = finishing();
    const [first, middle] = [new AbortController(), new AbortController()];
    await limiter.acquire('a');
    watch('first', limiter.acquire('a', { signal: first.signal }));
    watch('middle', limiter.acquire('a', { signal: middle.signal }));
    watch('last', limiter.acquire('a'));
    await settle();
    expect(limiter.pending('a')).toEqual({ waiting: 3, nextInMs: 1000 });
    middle.abort();
    first.abort(new Error('changed my mind'));
    await settle();
    expect(done).toEqual(['middle AbortError 0', 'first Error 0']);
    await pass(1000);
    expect(done.slice(2)).toEqual(['last passed 1000']);
    await expect(limiter.acquire('a', { signal: AbortSignal.abort('no') })).rejects.toBe('no');
    first.abort();
    expect(limiter.pending()).toEqual([]);
  });

  test('however many wait with one signal, it has one listener, and none when nobody waits', async () => {
    const limiter = createRateLimiter({ limit: 1, windowMs: 1000 });
    const controller = new AbortController();
    const { signal } = controller;
    const listeners = () => getEventListeners(signal, 'abort').length;
    const { done, watch } = finishing();
    for (const name of ['one', 'two', 'three']) watch(name, limiter.acquire('a', { signal }));
    watch('other', limiter.acquire('b', { signal }));
    await settle();
    expect(listeners()).toBe(1);
    await pass(1000);
    controller.abort();
    await settle();
    expect(done).toEqual([
      'one passed 0',
      'other passed 0',
      'two passed 1000',
      'three AbortError 1000',
    ]);
    expect(listeners()).toBe(0);
    const last = new AbortController();
    await limiter.acquire('c', { signal: last.signal });
    expect(getEventListeners(last.signal, 'abort')).toEqual([]);
  });

  test('when the head leaves, the next is asked: it may want less', async () => {
    const limiter = createRateLimiter({ limit: 3, windowMs: 1000 });
    const { done, watch } = finishing();
    const controller = new AbortController();
    await limiter.acquire('a', { points: 2 });
    watch('two', limiter.acquire('a', { points: 2, signal: controller.signal }));
    watch('one', limiter.acquire('a'));
    await settle();
    expect(done).toEqual([]);
    controller.abort();
    await settle();
    expect(done).toEqual(['two AbortError 0', 'one passed 0']);
  });

  test('a full queue says so at once', async () => {
    const limiter = createRateLimiter({ limit: 1, windowMs: 1000, maxQueue: 2 });
    await limiter.acquire('a');
    const waiting = [limiter.acquire('a'), limiter.acquire('a')];
    await expect(limiter.acquire('a')).rejects.toMatchObject({
      name: 'GuardError',
      code: 'ERR_QUEUE_FULL',
      key: 'a',
      maxQueue: 2,
      message: 'the queue of a is full: 2 are waiting for their turn (maxQueue)',
    });
    await limiter.acquire('b');
    await pass(1000);
    await pass(1000);
    await Promise.all(waiting);
  });

  test('reset lets the first of the line in', async () => {
    const limiter = createRateLimiter({ limit: 1, windowMs: 1000 });
    await limiter.acquire('a');
    const waiting = limiter.acquire('a');
    await settle();
    await limiter.reset('a');
    expect((await waiting).waitedMs).toBe(0);
  });

  test('shows who waits and how long it may take', async () => {
    const limiter = createRateLimiter({ limit: 2, windowMs: 1000, algorithm: 'gcra', burst: 1 });
    const seen = [];
    await limiter.acquire('a');
    const waiting = ['x', 'y'].map((name) =>
      limiter.acquire('a', { onProgress: (progress) => seen.push({ name, ...progress }) }),
    );
    await settle();
    expect(limiter.pending()).toEqual([{ key: 'a', waiting: 2, nextInMs: 500 }]);
    expect(seen).toEqual([
      { name: 'x', position: 0, estimateMs: 500 },
      { name: 'y', position: 1, estimateMs: 1000 },
    ]);
    await pass(500);
    expect(seen.slice(2)).toEqual([
      { name: 'y', position: 0, estimateMs: 0 },
      { name: 'y', position: 0, estimateMs: 500 },
    ]);
    await pass(500);
    await Promise.all(waiting);
    expect(limiter.pending('a')).toEqual({ waiting: 0, nextInMs: 0 });
  });

  test('an onProgress that throws is logged and nothing else', async () => {
    const logger = { error: jest.fn(), warn: jest.fn() };
    const limiter = createRateLimiter({ limit: 1, windowMs: 1000, logger });
    await limiter.acquire('a');
    const waiting = limiter.acquire('a', { onProgress: () => JSON.parse('{') });
    await pass(1000);
    await waiting;
    expect(logger.error).toHaveBeenCalledWith(expect.any(SyntaxError), expect.any(String));
  });

  test('waiting is no refusal: it blocks nobody and is not counted as used', async () => {
    const limiter = createRateLimiter({ limit: 1, windowMs: 1000, blockMs: 60_000 });
    await limiter.acquire('a');
    const waiting = limiter.acquire('a');
    await pass(1000);
    expect((await waiting).used).toBe(1);
  });

  test('waits longer than a timer can', async () => {
    const days = 24 * 3600 * 1000;
    const limiter = createRateLimiter({ limit: 1, windowMs: 60 * days });
    await limiter.acquire('a');
    const { done, watch } = finishing();
    watch('late', limiter.acquire('a'));
    for (let day = 0; day < 60; day += 1) await pass(days);
    expect(done).toEqual([`late passed ${60 * days}`]);
  });

  test('close sends all away, and nobody comes after', async () => {
    const limiter = createRateLimiter({ limit: 1, windowMs: 1000 });
    await limiter.acquire('a');
    const waiting = Promise.allSettled([limiter.acquire('a'), limiter.acquire('a')]);
    await settle();
    limiter.close();
    limiter.close();
    for (const { reason } of await waiting) expect(reason.code).toBe('ERR_SHUT_DOWN');
    for (const method of ['acquire', 'consume', 'peek', 'reset']) {
      await expect(limiter[method]('b')).rejects.toMatchObject({ code: 'ERR_SHUT_DOWN' });
    }
    expect(jest.getTimerCount()).toBe(0);
  });

  test('ten thousand who wait pass in order, and leave nothing behind', async () => {
    const limiter = createRateLimiter({ limit: 5000, windowMs: 1000, maxQueue: 10_000 });
    const passed = [];
    await limiter.consume('a', 5000);
    const waiting = Array.from({ length: 10_000 }, (_, i) =>
      limiter.acquire('a').then(() => passed.push(i)),
    );
    await pass(1000);
    expect(passed).toHaveLength(5000);
    await pass(1000);
    await Promise.all(waiting);
    expect(passed).toEqual(Array.from({ length: 10_000 }, (_, i) => i));
    expect(limiter.pending()).toEqual([]);
  });
});

describe('options', () => {
  test.each([
    [{ limit: 0 }, 'limit'],
    [{ limit: () => 1 }, 'limit'],
    [{ limit: '5' }, 'limit'],
    [{ windowMs: 0 }, 'windowMs'],
    [{ windowMs: NaN }, 'windowMs'],
    [{ algorithm: 'token-bucket' }, 'algorithm'],
    [{ burst: 2 }, 'burst'],
    [{ blockMs: -1 }, 'blockMs'],
    [{ maxQueue: 1.5 }, 'maxQueue'],
    [{ maxQueue: 0 }, 'maxQueue'],
    [{ store: 'redis' }, 'store'],
    [{ name: '' }, 'name'],
    [{ maxKeys: 0 }, 'maxKeys'],
    [{ logger: {} }, 'logger'],
    [{ logger: { error() {} } }, 'logger'],
    [{ max: 5 }, 'max'],
  ])('%j is refused, by name', (options, option) => {
    expect(() => createRateLimiter(options)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_OPTION', option }),
    );
  });

  test.each([
    [{ signal: 1 }, 'signal'],
    [{ onProgress: 1 }, 'onProgress'],
  ])('acquire with %j is refused', async (options, argument) => {
    const limiter = createRateLimiter();
    await expect(limiter.acquire('a', options)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      argument,
    });
  });
});
