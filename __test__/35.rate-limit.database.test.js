'use strict';

// Limits over all instances: what one process makes of a database that answers, refuses, is slow
// or away (against a stand-in), and what several processes make of a real one.

const { createRateLimit } = require('../lib/rate-limit');
const { createDatabaseLimits } = require('../lib/rate-limit/database-limits');
const { Gate, createRateLimiterFactory } = require('../lib/rate-limit/limiter');
const { GuardError } = require('../lib/errors');
const { startChild } = require('./support/child');
const { KINDS, SILENT, freshDatabase, guardsOn } = require('./support/databases');
const { startPostgres, withClient } = require('./support/postgres');
const { FakeResponse, fakeRequest } = require('./rate-limit/fakes');

async function hit(limiter, ip = '1.2.3.4') {
  const request = fakeRequest({ ip });
  const response = new FakeResponse(() => {});
  const next = jest.fn();
  await limiter(request, response, next);
  const [error] = next.mock.calls[0] ?? [];
  return {
    passed: next.mock.calls.length === 1 && error === undefined,
    error,
    info: request.rateLimit,
  };
}

describe('against a database that stands in', () => {
  const away = () => new GuardError('ERR_DATABASE_UNAVAILABLE', 'counting a hit: nobody is there');
  let asked;
  let answer;
  let deliver;
  let logger;

  /** Counts in a map, in fixed windows; fails or waits when told to. */
  class StandIn {
    counts = new Map();

    async take(id, rule, points) {
      asked.push({ id: id.toString('hex'), rule, points });
      await answer();
      const key = id.toString('hex');
      const taken = this.counts.get(key) ?? 0;
      const allowed = taken + points <= rule.limit;
      if (allowed) this.counts.set(key, taken + points);
      await deliver();
      return {
        allowed,
        used: allowed ? taken + points : taken + 1,
        remaining: rule.limit - (allowed ? taken + points : taken),
        resetInMs: 5000,
        retryAfterMs: allowed ? 0 : 5000,
        hitAt: 42,
      };
    }

    async refund(id, _rule, points, hitAt) {
      asked.push({ refund: points, hitAt });
      await answer();
      this.counts.set(id.toString('hex'), this.counts.get(id.toString('hex')) - points);
    }

    async reset(id) {
      this.counts.delete(id.toString('hex'));
    }
  }

  const make = () => {
    const store = new StandIn();
    const databaseLimits = createDatabaseLimits(() => store);
    const defaults = { store: 'database', logger };
    return {
      rateLimit: (options) =>
        createRateLimit(databaseLimits)({ ...defaults, validate: false, ...options }),
      createRateLimiter: (options) =>
        createRateLimiterFactory(databaseLimits, new Gate())({ ...defaults, ...options }),
    };
  };

  /** Asks; what the database decides is on its way until `give` is called. */
  async function onItsWay(ask) {
    let give;
    deliver = () => new Promise((resolve) => (give = resolve));
    const answered = ask();
    await settle();
    return { answer: answered, give };
  }

  beforeEach(() => {
    jest.useFakeTimers({ now: Date.UTC(2026, 0, 1), doNotFake: ['setImmediate', 'nextTick'] });
    asked = [];
    answer = () => {};
    deliver = () => {};
    logger = { error: jest.fn(), warn: jest.fn() };
  });
  afterEach(() => jest.useRealTimers());

  test('what it answers is what the request sees, by this machine’s clock', async () => {
    const { rateLimit } = make();
    const { info } = await hit(rateLimit({ limit: 3 }));
    const resetTime = new Date(Date.now() + 5000);
    expect(info).toEqual({ limit: 3, used: 1, remaining: 2, resetTime, key: '1.2.3.4' });
  });

  test('a key known to be refused is not asked about again, for a second at most', async () => {
    const { createRateLimiter } = make();
    const limiter = createRateLimiter({ limit: 2 });
    for (let i = 0; i < 3; i += 1) await limiter.consume('a');
    expect(asked).toHaveLength(3);
    jest.advanceTimersByTime(400);
    expect(await limiter.consume('a')).toMatchObject({
      allowed: false,
      used: 4,
      retryAfterMs: 4600,
      resetTime: new Date(Date.now() + 4600),
    });
    jest.advanceTimersByTime(599);
    expect((await limiter.consume('a')).used).toBe(5);
    expect(asked).toHaveLength(3);
    expect((await limiter.consume('b')).allowed).toBe(true);
    jest.advanceTimersByTime(1);
    await limiter.consume('a');
    expect(asked).toHaveLength(5);
  });

  test('who wants less, or may have more, is asked about', async () => {
    const { createRateLimiter, rateLimit } = make();
    const limiter = createRateLimiter({ limit: 3 });
    await limiter.consume('a', 2);
    expect((await limiter.consume('a', 2)).allowed).toBe(false);
    expect((await limiter.consume('a', 3)).allowed).toBe(false);
    expect(asked).toHaveLength(2);
    expect((await limiter.consume('a', 1)).allowed).toBe(true);

    let limit = 1;
    const dynamic = rateLimit({ limit: () => limit });
    await hit(dynamic);
    expect((await hit(dynamic)).passed).toBe(false);
    limit = 2;
    expect((await hit(dynamic)).passed).toBe(true);
  });

  test('a reset and a clock set back end what is known', async () => {
    const { createRateLimiter } = make();
    const limiter = createRateLimiter({ limit: 1 });
    for (let i = 0; i < 3; i += 1) await limiter.consume('a');
    expect(asked).toHaveLength(2);
    await limiter.reset('a');
    expect((await limiter.consume('a')).allowed).toBe(true);
    await limiter.consume('a');
    jest.setSystemTime(Date.UTC(2020, 0, 1));
    await limiter.consume('a');
    expect(asked).toHaveLength(5);
  });

  test('a hit is given back with its own moment, a refused one is not', async () => {
    const { rateLimit } = make();
    const limiter = rateLimit({ limit: 1, skipFailedRequests: true });
    for (let i = 0; i < 2; i += 1) {
      const response = new FakeResponse(() => {});
      await limiter(fakeRequest({ ip: '1.1.1.1' }), response, () => {});
      response.end(500, 'finish');
      await new Promise((resolve) => setImmediate(resolve));
      expect(asked.filter(({ refund }) => refund)).toHaveLength(i + 1);
    }
    expect(asked[1]).toEqual({ refund: 1, hitAt: 42 });
  });

  test('without insurance the error goes to the caller, or past the limit if told so', async () => {
    const { createRateLimiter, rateLimit } = make();
    answer = () => Promise.reject(away());
    const error = expect.objectContaining({ code: 'ERR_DATABASE_UNAVAILABLE' });
    await expect(createRateLimiter({}).consume('a')).rejects.toEqual(error);
    await expect(createRateLimiter({}).acquire('a')).rejects.toEqual(error);
    expect((await hit(rateLimit({}))).error).toEqual(error);
    const open = rateLimit({ passOnStoreError: true });
    expect(await hit(open)).toMatchObject({ passed: true, info: undefined });
    expect(logger.error).toHaveBeenCalledTimes(1);
  });

  test('with insurance this process counts meanwhile, and finds the database again', async () => {
    const { createRateLimiter } = make();
    const limiter = createRateLimiter({ limit: 2, insurance: 'memory', name: 'insured' });
    answer = () => Promise.reject(away());
    const consumed = [];
    for (let i = 0; i < 5; i += 1) consumed.push((await limiter.consume('a')).allowed);
    expect(consumed).toEqual([true, true, false, false, false]);
    expect(asked).toHaveLength(1); // within the first second nobody tries it again
    expect(logger.warn.mock.calls).toEqual([
      [away(), 'baileys-guard: rate limiter insured lost the database and counts in memory'],
    ]);

    jest.advanceTimersByTime(1000);
    expect((await limiter.consume('a')).allowed).toBe(false);
    await settle();
    expect(asked).toHaveLength(2);
    answer = () => {};
    jest.advanceTimersByTime(1000);
    expect((await limiter.consume('a')).allowed).toBe(false); // still the insurance's answer
    await settle();
    expect(logger.warn).toHaveBeenCalledTimes(2);
    expect((await limiter.consume('a')).used).toBe(2); // the probe was a real hit
    expect(asked).toHaveLength(4);
  });

  test('a database that does not answer keeps one request waiting, not all', async () => {
    const { createRateLimiter } = make();
    const limiter = createRateLimiter({ limit: 100, insurance: 'memory' });
    answer = () => Promise.reject(away());
    await limiter.consume('a');
    let give;
    answer = () => new Promise((_resolve, reject) => (give = () => reject(away())));
    jest.advanceTimersByTime(1000);
    for (let i = 0; i < 20; i += 1) expect((await limiter.consume('a')).allowed).toBe(true);
    jest.advanceTimersByTime(60_000);
    for (let i = 0; i < 20; i += 1) expect((await limiter.consume('a')).allowed).toBe(true);
    expect(asked).toHaveLength(2);
    give();
  });

  test('what is no outage is not insured', async () => {
    const { createRateLimiter } = make();
    answer = () => Promise.reject(new GuardError('ERR_MIGRATION_REQUIRED', 'not migrated'));
    const limiter = createRateLimiter({ insurance: 'memory' });
    await expect(limiter.consume('a')).rejects.toMatchObject({ code: 'ERR_MIGRATION_REQUIRED' });
  });

  test('who leaves the line while the database is asked gives back what it got', async () => {
    const { createRateLimiter } = make();
    const limiter = createRateLimiter({ limit: 1 });
    const questions = [];
    answer = () => new Promise((resolve) => questions.push(resolve));
    const controller = new AbortController();
    const first = limiter.acquire('a', { signal: controller.signal });
    const second = limiter.acquire('a');
    await settle();
    controller.abort(new Error('gone'));
    await expect(first).rejects.toThrow('gone');
    questions[0]();
    await settle();
    // The point is on its way back, and the next one is refused for it.
    expect(asked.map(({ refund }) => refund)).toEqual([undefined, 1, undefined]);
    questions[2]();
    await settle();
    questions[1]();
    await settle();
    questions[3]();
    expect(await second).toMatchObject({ allowed: true, waitedMs: 0 });
  });

  test('a point that cannot be given back is logged, and the line goes on', async () => {
    const { createRateLimiter } = make();
    const limiter = createRateLimiter({ limit: 2 });
    let give;
    deliver = () => new Promise((resolve) => (give = resolve));
    const controller = new AbortController();
    const first = limiter.acquire('a', { signal: controller.signal });
    const second = limiter.acquire('a');
    await settle();
    controller.abort(new Error('gone'));
    await expect(first).rejects.toThrow('gone');
    answer = () => Promise.reject(away());
    give();
    await settle();
    expect(logger.error).toHaveBeenCalledWith(away(), expect.stringContaining('give'));
    await expect(second).rejects.toMatchObject({ code: 'ERR_DATABASE_UNAVAILABLE' });
  });

  test('a reset overtakes the refusals that are on their way', async () => {
    const { createRateLimiter } = make();
    const limiter = createRateLimiter({ limit: 1 });
    await limiter.consume('a');
    const { answer: late, give } = await onItsWay(() => limiter.consume('a'));
    await limiter.reset('a');
    give();
    expect((await late).allowed).toBe(false);
    deliver = () => {};
    expect((await limiter.consume('a')).allowed).toBe(true); // not refused by what is known

    jest.advanceTimersByTime(1000);
    const waiting = await onItsWay(() => limiter.acquire('a'));
    await limiter.reset('a');
    deliver = () => {};
    waiting.give();
    expect((await waiting.answer).waitedMs).toBe(0);
  });

  test('what another key gets back keeps no refusal from being known', async () => {
    const { createRateLimiter } = make();
    const limiter = createRateLimiter({ limit: 1 });
    await limiter.consume('a');
    const { answer: late, give } = await onItsWay(() => limiter.consume('a'));
    await limiter.reset('b');
    give();
    expect((await late).allowed).toBe(false);
    deliver = () => {};
    const before = asked.length;
    expect((await limiter.consume('a')).allowed).toBe(false);
    expect(asked).toHaveLength(before);
  });

  test('a refusal whose key may have got something back is not kept, however many others did', async () => {
    const { createRateLimiter } = make();
    const limiter = createRateLimiter({ limit: 1 });
    await limiter.consume('a');
    const { answer: late, give } = await onItsWay(() => limiter.consume('a'));
    await limiter.reset('a');
    for (let n = 0; n < 10_000; n += 1) await limiter.reset(`other-${n}`);
    give();
    expect((await late).allowed).toBe(false);
    deliver = () => {};
    expect((await limiter.consume('a')).allowed).toBe(true);
  });

  test('closing asks nobody', async () => {
    const { createRateLimiter } = make();
    const limiter = createRateLimiter({ limit: 1 });
    const waiting = [1, 2, 3].map(() => limiter.acquire('a'));
    await settle();
    limiter.close();
    const ends = await Promise.allSettled(waiting);
    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
    expect(asked).toHaveLength(2);
  });

  test('who waits tells nothing about those who do not: their refusal is one, and may block', async () => {
    const { createRateLimiter } = make();
    const limiter = createRateLimiter({ limit: 1, blockMs: 60_000 });
    const waiting = [1, 2].map(() => limiter.acquire('a'));
    await settle();
    expect(asked).toHaveLength(2);
    expect((await limiter.consume('a')).allowed).toBe(false);
    expect(asked).toHaveLength(3);
    limiter.close();
    await Promise.allSettled(waiting);
  });

  test('each limiter counts apart: by its name, its rule, or its turn', async () => {
    const { createRateLimiter } = make();
    const ids = async (options) => {
      const limiter = createRateLimiter(options);
      await limiter.consume('a');
      return { id: asked.at(-1).id, name: asked.at(-1).rule.name };
    };
    const plain = await ids({ limit: 5 });
    expect(plain.name).toBe('fixed-window/60000/5/');
    expect((await ids({ limit: 5 })).name).toBe('fixed-window/60000/5/#2');
    expect((await ids({ limit: 6 })).name).toBe('fixed-window/60000/6/');
    const named = await ids({ limit: 5, name: 'mine' });
    expect(await ids({ limit: 7, name: 'mine' })).toEqual(named);
    const seen = new Set(asked.map(({ id }) => id));
    expect(seen.size).toBe(4);
    // In every process the same: nothing random goes into it.
    const other = make().createRateLimiter({ limit: 5 });
    await other.consume('a');
    expect(asked.at(-1).id).toBe(plain.id);
  });

  test('keys of every kind and length are sixteen bytes, each its own', async () => {
    const limiter = make().createRateLimiter({ limit: 1 });
    const keys = ['', '1', 1, undefined, 'undefined', null, '\ud800', '\ud801', 'k'.repeat(1e5)];
    for (const key of keys) await limiter.consume(key);
    const ids = asked.map(({ id }) => id);
    expect(new Set(ids).size).toBe(keys.length);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{32}$/);
  });

  async function settle() {
    for (let i = 0; i < 20; i += 1) await Promise.resolve();
  }
});

describe.each(KINDS)('on %s', (kind) => {
  let database;
  let guardOf;

  beforeAll(async () => {
    database = await freshDatabase(kind);
    guardOf = guardsOn(database);
  });

  test.each([['fixed-window'], ['sliding-window'], ['gcra']])(
    'two guards share one limit: %s',
    async (algorithm) => {
      const options = { store: 'database', algorithm, limit: 3, windowMs: 600_000, logger: SILENT };
      const name = `shared ${algorithm}`;
      const limiters = [guardOf(), guardOf()].map((guard) =>
        guard.rateLimit({ ...options, name, validate: false }),
      );
      const hits = [];
      for (let i = 0; i < 6; i += 1) hits.push(await hit(limiters[i % 2]));
      expect(hits.map(({ passed }) => passed)).toEqual([true, true, true, false, false, false]);
      expect(hits.slice(0, 4).map(({ info }) => info.used)).toEqual([1, 2, 3, 4]);
      expect(await limiters[0].getKey('1.2.3.4')).toMatchObject({ totalHits: expect.any(Number) });
      await limiters[1].resetKey('1.2.3.4');
      expect(await limiters[0].getKey('1.2.3.4')).toBeUndefined();
      expect((await hit(limiters[1])).passed).toBe(true);
    },
  );

  test('waiting as long as told succeeds, by the database’s clock', async () => {
    const least = 2500; // more than passes between two lines on a busy machine
    const waits = async (algorithm) => {
      const limiter = guardOf().createRateLimiter({
        store: 'database',
        algorithm,
        limit: 4,
        windowMs: algorithm === 'gcra' ? 4 * least : least,
        name: `waiting ${algorithm}`,
      });
      const told = [];
      const onProgress = ({ estimateMs }) => told.push(estimateMs);
      const start = performance.now();
      await limiter.consume('a', 4);
      const waited = await limiter.acquire('a', { onProgress });
      expect(performance.now() - start).toBeGreaterThan(least - 100);
      expect(waited.allowed).toBe(true);
      // Told once how long, and let in then; a timer may be a millisecond early.
      const [first, ...again] = told;
      expect(first).toBeGreaterThan(0);
      expect(first).toBeLessThanOrEqual(least + 1);
      expect(Math.max(0, ...again)).toBeLessThan(10);
      expect(waited.waitedMs).toBeGreaterThan(first - 10);
      expect(waited.waitedMs).toBeLessThan(first + 10_000);
    };
    await Promise.all(['fixed-window', 'sliding-window', 'gcra'].map(waits));
  });

  test('blockMs holds for all', async () => {
    const options = { store: 'database', limit: 1, windowMs: 100, blockMs: 60_000, name: 'block' };
    const [one, two] = [guardOf(), guardOf()].map((guard) => guard.createRateLimiter(options));
    let first;
    do first = await one.consume('a');
    while (first.allowed); // where the window was over before the second hit
    expect(first.retryAfterMs).toBeGreaterThan(59_000);
    expect(await two.consume('a')).toMatchObject({ allowed: false, remaining: 0 });
    await new Promise((resolve) => setTimeout(resolve, 150)); // no window lasts so long
    expect(await two.consume('a')).toMatchObject({ allowed: false, remaining: 0 });
  });

  test('six connection attempts over four processes: the sixth is refused', async () => {
    const children = await Promise.all(Array.from({ length: 4 }, () => open('attempts', 5)));
    const attempts = [];
    for (let i = 0; i < 6; i += 1) attempts.push(await children[i % 4].call('consume', 'user'));
    expect(attempts.map(({ allowed }) => allowed)).toEqual([true, true, true, true, true, false]);
    expect(attempts[5].used).toBe(6);
  });

  test('fifty connections on one key over four processes: never more than the limit', async () => {
    const [windowMs, limit, windows] = [1500, 20, 7];
    const children = await Promise.all(
      Array.from({ length: 4 }, () => open('hammered', limit, windowMs)),
    );
    const sum = (numbers) => numbers.reduce((so, far) => so + far, 0);
    const ofAll = (method, ...args) =>
      Promise.all(children.map((child) => child.call(method, ...args)));
    const hammering = ofAll('hammer', 'hot', 13, { limit, windowMs });
    const enough = async () => {
      while (sum(await ofAll('passedSoFar')) < windows * limit) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    };
    await Promise.race([hammering, enough()]);
    await ofAll('stop');
    const all = await hammering;
    const total = (what) => sum(all.map((one) => one[what]));
    expect(total('hits')).toBeGreaterThan(1000);
    // A database that stands still for two seconds is not waited for.
    expect(total('unavailable')).toBeLessThan(total('hits') / 100);
    // Never more than the limit in a window. The database's moment of a hit is between those when
    // it was asked and when it had answered; and so are the n-th of all of them.
    const inOrder = (what) =>
      all.flatMap(({ passed }) => passed.map((one) => one[what])).sort((a, b) => a - b);
    const [asked, answered] = [inOrder('asked'), inOrder('answered')];
    for (let i = 0; i + limit < asked.length; i += 1) {
      expect(answered[i + limit] - asked[i]).toBeGreaterThan(windowMs - 20);
    }
    // Nor less: who is refused finds it used up, and for no longer than a window.
    expect(total('refusedTooSoon')).toBe(0);
  }, 120_000);

  async function open(name, limit, windowMs = 15 * 60_000) {
    const child = await startChild('rate-limiter.js');
    const options = { name, limit, windowMs, algorithm: 'sliding-window' };
    await child.call('open', database.url, options);
    return child;
  }

  test('after shutdown a hit is told so, and who waits is sent away', async () => {
    const guard = guardOf();
    const options = { store: 'database', limit: 1, name: 'closed', validate: false };
    const limiter = guard.createRateLimiter({ store: 'database', limit: 1, name: 'closed' });
    const middleware = guard.rateLimit({ ...options, logger: SILENT });
    await limiter.acquire('a');
    const waiting = expect(limiter.acquire('a')).rejects.toMatchObject({ code: 'ERR_SHUT_DOWN' });
    await new Promise((resolve) => setImmediate(resolve));
    await guard.shutdown();
    await waiting;
    await expect(limiter.consume('b')).rejects.toMatchObject({ code: 'ERR_SHUT_DOWN' });
    expect((await hit(middleware)).error).toMatchObject({ code: 'ERR_SHUT_DOWN' });
    expect(() => guard.rateLimit()).toThrow(expect.objectContaining({ code: 'ERR_SHUT_DOWN' }));
  });

  test('after the module’s shutdown it makes no limiters; what stands for express-rate-limit does', async () => {
    let guard;
    let dropIn;
    jest.isolateModules(() => {
      guard = require('..');
      dropIn = require('../rate-limit');
    });
    guard.configure({ databaseUrl: database.url, logger: SILENT });
    const early = guard.rateLimit({ limit: 1 });
    await expect(guard.shutdown({ timeoutMs: -1 })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    });
    const limiter = guard.createRateLimiter({});
    expect((await limiter.consume('a')).allowed).toBe(true);

    await guard.shutdown();
    for (const make of [guard.rateLimit, guard.createRateLimiter, dropIn.createRateLimiter]) {
      for (const options of [undefined, {}, { store: 'database' }]) {
        expect(() => make(options)).toThrow(expect.objectContaining({ code: 'ERR_SHUT_DOWN' }));
      }
    }
    await expect(limiter.consume('a')).rejects.toMatchObject({ code: 'ERR_SHUT_DOWN' });
    expect([(await hit(early)).passed, (await hit(early)).passed]).toEqual([true, false]);
    expect((await hit(dropIn({ limit: 1 }))).passed).toBe(true);
    expect(new guard.MemoryStore().size).toBe(0);
  });

  test('before migration a hit names the command', async () => {
    const bare = await freshDatabase(kind, { migrated: false });
    const limiter = guardsOn(bare)().createRateLimiter({ store: 'database' });
    await expect(limiter.consume('a')).rejects.toMatchObject({ code: 'ERR_MIGRATION_REQUIRED' });
  });
});

if (KINDS.includes('postgres')) {
  describe('a PostgreSQL server', () => {
    let server;
    let guardOf;

    beforeAll(async () => {
      server = await startPostgres();
      guardOf = guardsOn({ url: server.url() });
      await guardOf().migrate();
    });

    test('that stops and comes back: the insurance counts meanwhile', async () => {
      const logger = { ...SILENT, warn: jest.fn() };
      const options = { store: 'database', limit: 2, insurance: 'memory', logger };
      const limiter = guardOf().createRateLimiter({ ...options, name: 'insured' });
      expect((await limiter.consume('a')).allowed).toBe(true);
      await server.stop('immediate');
      const consumed = [];
      for (let i = 0; i < 4; i += 1) consumed.push((await limiter.consume('b')).allowed);
      expect(consumed).toEqual([true, true, false, false]);
      await server.start();
      const again = () => logger.warn.mock.calls.some(([, text]) => /again/.test(text));
      while (!again()) {
        await limiter.consume('c');
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      // A crash empties an unlogged table: the counts of before are gone.
      expect((await limiter.consume('a')).used).toBe(1);
    });

    test('that does not answer is waited for two seconds, by a hit and by a look', async () => {
      const guard = guardOf();
      const limiter = guard.createRateLimiter({ store: 'database', name: 'locked' });
      await limiter.consume('a');
      await withClient(server.url(), async (client) => {
        await client.query('BEGIN; LOCK TABLE baileys_guard_rate_limit');
        const since = performance.now();
        const calls = [limiter.consume('a'), limiter.peek('a')];
        for (const { reason } of await Promise.allSettled(calls)) {
          expect(reason.code).toBe('ERR_DATABASE_UNAVAILABLE');
        }
        expect(performance.now() - since).toBeLessThan(10_000);
        await client.query('ROLLBACK');
      });
      expect((await limiter.peek('a')).allowed).toBe(true);
    });

    test('hits update in place: no index, no dead rows that only a vacuum removes', async () => {
      const limiter = guardOf().createRateLimiter({ store: 'database', limit: 50, name: 'hot' });
      for (let i = 0; i < 300; i += 1) await limiter.consume(`key ${i % 100}`);
      await withClient(server.url(), async (client) => {
        const stats = async () => {
          await client.query('SELECT pg_stat_clear_snapshot()');
          const { rows } = await client.query(
            `SELECT n_tup_upd::int AS updates, n_tup_hot_upd::int AS hot, relpersistence
               FROM pg_stat_user_tables JOIN pg_class ON pg_class.oid = relid
              WHERE pg_class.relname = 'baileys_guard_rate_limit'`,
          );
          return rows[0];
        };
        let seen = await stats();
        while (seen.updates < 200) {
          await limiter.consume('key 1'); // a connection tells its numbers when it is used
          seen = await stats();
        }
        expect(seen.relpersistence).toBe('u');
        expect(seen.hot / seen.updates).toBeGreaterThan(0.95);
      });
    });
  });
}
