'use strict';

// The soak itself: it leaves out nothing that is public, its work works, and it sees what grows.

const crypto = require('node:crypto');

const library = require('..');
const calls = require('../soak/calls');
const { errorIn, leakedByCalls, leaksIn } = require('../soak/leaks');
const { byCalls, byTime, soak } = require('../soak/run');
const { publicNames, uncovered } = require('../soak/surface');
const { freshDatabase, guardsOn, temporaryFolder } = require('./support/databases');

async function tools() {
  const database = await freshDatabase('sqlite');
  const key = crypto.randomBytes(32).toString('hex');
  const guards = guardsOn(database, { encryptionKey: key });
  const guard = guards();
  guard.startHeartbeat({ intervalMs: 1000 });
  const fresh = async () => (await freshDatabase('sqlite', { migrated: false })).url;
  return {
    guard,
    rival: guards(),
    library,
    url: database.url,
    key,
    fresh,
    folder: temporaryFolder(),
  };
}

describe('what is called', () => {
  test('is everything public, or it is said why not', async () => {
    const { guard } = await tools();
    expect(await calls.gaps(guard)).toEqual({ missing: [], unknown: [], both: [] });
  });

  test('a new method, property or export without work is noticed', () => {
    class Claim {
      get held() {
        return true;
      }
      renew() {}
    }
    const samples = { Claim: new Claim(), Stop: () => {} };
    const names = publicNames({ claim() {}, VERSION: '1' }, samples);
    expect(names).toEqual(['claim', 'Claim.held', 'Claim.renew', 'Stop']);
    const exempt = { claim: 'a reason', Stop: 'another' };
    expect(uncovered(names, ['claim', 'Claim.held, twice', 'gone'], exempt)).toEqual({
      missing: ['Claim.renew'],
      unknown: ['gone'],
      both: ['claim'],
    });
  });

  test('each work works', async () => {
    const all = await tools();
    for (const [name, make] of Object.entries({ ...calls.onGuards, ...calls.others })) {
      try {
        const work = await make(all);
        expect(await work()).toBeGreaterThan(0);
        await work.end?.();
      } catch (cause) {
        throw new Error(`the work of ${name}`, { cause });
      }
    }
  });
});

describe('what is looked at', () => {
  const work = async () => 10;
  const looksAt =
    (...values) =>
    async () => ({ threads: values.shift() });

  test('after a third and at the end', async () => {
    let done = 0;
    const counted = async () => (done += 10) && 10;
    const looks = [];
    const look = async () => looks.push(done) && {};
    const { operations } = await soak(counted, () => byCalls(300), look);
    expect([operations, looks]).toEqual([300, [100, 300]]);
  });

  test('something is always done in between', async () => {
    const { operations } = await soak(work, () => byCalls(1), looksAt(5, 5));
    expect(operations).toBe(20);
  });

  test('what grows in every round has grown', async () => {
    const result = await soak(work, () => byCalls(30), looksAt(5, 8, 11, 14));
    expect(result).toMatchObject({ operations: 90, before: { threads: 11 }, grown: ['threads'] });
  });

  test('what finds its level has not', async () => {
    const result = await soak(work, () => byCalls(30), looksAt(5, 8, 8));
    expect(result).toMatchObject({ operations: 60, after: { threads: 8 }, grown: [] });
  });

  test('by time', () => {
    let now = 1000;
    const progress = byTime(500, () => now);
    now = 1250;
    expect(progress()).toBe(0.5);
  });
});

describe('a report of LeakSanitizer', () => {
  const report = `
==7==ERROR: LeakSanitizer: detected memory leaks

Direct leak of 200 byte(s) in 5 object(s) allocated from:
    #0 0x7f in operator new(unsigned long) asan_new_delete.cpp:95
    #1 0xc5 in napi_create_reference (/usr/bin/node+0xc5)
    #2 0x7f in register_classes (/tmp/sanitized.node+0x26)

Direct leak of 6400 byte(s) in 100 object(s) allocated from:
    #0 0x7f in malloc (libasan.so.8+0x1)
    #1 0x55 in leaky (/tmp/sanitized.node+0x55)

Indirect leak of 6400 byte(s) in 100 object(s) allocated from:
    #0 0x7f in malloc (libasan.so.8+0x1)
    #1 0xc5 in node::Start (/usr/bin/node+0xc5)

SUMMARY: AddressSanitizer: 13000 byte(s) leaked in 205 allocation(s).`;

  test('is read', () => {
    expect(leaksIn(report).map(({ bytes, objects }) => [bytes, objects])).toEqual([
      [200, 5],
      [6400, 100],
      [6400, 100],
    ]);
  });

  test('what the addon leaks with each call is told from what Node keeps to its end', () => {
    const leaks = leakedByCalls(report, { addon: 'sanitized.node', calls: 100 });
    expect(leaks).toEqual([
      {
        bytes: 6400,
        objects: 100,
        frames: ['malloc (libasan.so.8+0x1)', 'leaky (/tmp/sanitized.node+0x55)'],
      },
    ]);
  });

  test('a leak is no error of another kind', () => {
    expect(errorIn(report)).toBeUndefined();
    const error = '==7==ERROR: AddressSanitizer: heap-use-after-free on address 0x60';
    expect(errorIn(error)).toBe('heap-use-after-free on address 0x60');
  });
});
