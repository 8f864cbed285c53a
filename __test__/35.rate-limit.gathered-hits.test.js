'use strict';

// Hits on their way to the database: who goes with whom, and what becomes of them when it fails.

const { GatheredHits } = require('../lib/rate-limit/gathered-hits');

const RULE = { name: 'a', algorithm: 'fixed-window', windowMs: 1000, limit: 5, blockMs: 0 };
const id = (number) => Buffer.alloc(16, number);

/** A database that answers when told to; `used` tells which hit it was. */
class Database {
  calls = [];
  hits = 0;

  take = (ids, rule, points, waits) =>
    new Promise((resolve, reject) => {
      const keys = Array.from({ length: ids.length / 16 }, (_, n) => ids[n * 16]);
      const answer = () =>
        resolve(Float64Array.from(keys.flatMap((key) => [1, ++this.hits, key, 10, 0, 99])));
      this.calls.push({ keys, rule, points, waits, answer, fail: reject });
    });
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

let database;
let hits;
let take;

beforeEach(() => {
  database = new Database();
  hits = new GatheredHits(database.take);
  take = (key, rule = RULE, points = 1, waits = false) => hits.take(id(key), rule, points, waits);
});

test('a hit that finds the database idle goes at once, and those of the same moment with it', async () => {
  const answers = [take(1), take(2), take(1)];
  await turn();
  expect(database.calls).toMatchObject([{ keys: [1, 2, 1], rule: RULE, points: 1, waits: false }]);
  database.calls[0].answer();
  expect(await Promise.all(answers)).toEqual(
    [1, 2, 1].map((key, index) => ({
      allowed: true,
      used: index + 1,
      remaining: key,
      resetInMs: 10,
      retryAfterMs: 0,
      hitAt: 99,
    })),
  );
});

test('those that come while two statements are under way wait, and go together', async () => {
  const answers = [take(1)];
  await turn();
  answers.push(take(2));
  await turn();
  answers.push(take(3));
  await turn();
  answers.push(take(4));
  await turn();
  expect(database.calls.map(({ keys }) => keys)).toEqual([[1], [2]]);
  database.calls[1].answer();
  await answers[1];
  await turn();
  expect(database.calls.map(({ keys }) => keys)).toEqual([[1], [2], [3, 4]]);
  database.calls[0].answer();
  database.calls[2].answer();
  expect((await Promise.all(answers)).map(({ remaining }) => remaining)).toEqual([1, 2, 3, 4]);
});

test('hits that are measured otherwise do not wait for each other', async () => {
  const others = [
    [{ ...RULE, name: 'b' }],
    [{ ...RULE, algorithm: 'gcra' }],
    [{ ...RULE, windowMs: 2000 }],
    [{ ...RULE, limit: 6 }],
    [{ ...RULE, burst: 2 }],
    [{ ...RULE, blockMs: 1 }],
    [RULE, 2],
    [RULE, 1, true],
  ];
  for (const how of [[RULE], ...others]) take(1, ...how);
  await turn();
  expect(database.calls).toHaveLength(1 + others.length);
  expect(database.calls.every(({ keys }) => keys.length === 1)).toBe(true);
});

test('no statement has more than 200', async () => {
  const answers = Array.from({ length: 450 }, (_, n) => take(n % 256));
  await turn();
  expect(database.calls.map(({ keys }) => keys.length)).toEqual([200, 200]);
  database.calls[0].answer();
  database.calls[1].answer();
  await turn();
  expect(database.calls.map(({ keys }) => keys.length)).toEqual([200, 200, 50]);
  database.calls[2].answer();
  expect((await Promise.all(answers)).at(-1)).toMatchObject({ used: 450 });
});

test('a failure is that of all that went; those that came just now are tried', async () => {
  const clock = jest.spyOn(performance, 'now').mockReturnValue(0);
  const failing = [take(1), take(2)].map((answer) => answer.catch((error) => error.message));
  await turn();
  take(9); // takes the other place
  await turn();
  failing.push(take(3).catch((error) => error.message));
  clock.mockReturnValue(1500);
  const lucky = take(4);
  clock.mockReturnValue(2000);
  database.calls[0].fail(new Error('away'));
  expect(await Promise.all(failing)).toEqual(['away', 'away', 'away']);
  await turn();
  expect(database.calls.at(-1).keys).toEqual([4]);
  database.calls.at(-1).answer();
  expect(await lucky).toMatchObject({ allowed: true });
  clock.mockRestore();
});
