'use strict';

/** The parts of the endpoint that keep what happened and what has to last. */

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { EventLog } = require('../examples/whatsapp-endpoint/event-log');
const { StateFile } = require('../examples/whatsapp-endpoint/state-file');
const addresses = require('../examples/whatsapp-endpoint/addresses');

describe('the event log', () => {
  test('keeps the newest events, with their numbers, and forgets the oldest', () => {
    const log = new EventLog(10);
    for (let i = 1; i <= 100; i++) log.add(i % 2 ? 'odd' : 'even', { i });
    const kept = log.list();
    expect(kept.length).toBeGreaterThanOrEqual(10);
    expect(kept.length).toBeLessThanOrEqual(15);
    expect(kept.at(-1)).toMatchObject({ seq: 100, i: 100 });
    expect(log.list({ since: 97 }).map(({ i }) => i)).toEqual([98, 99, 100]);
    expect(log.list({ since: 95, type: 'odd' }).map(({ i }) => i)).toEqual([97, 99]);
    expect(log.list({ since: 100 })).toEqual([]);
  });

  test('finds an event that is there, waits for one that is not, and gives up', async () => {
    const log = new EventLog(10);
    log.add('a', {});
    const isA = ({ type }) => type === 'a';
    expect(await log.waitFor(isA)).toMatchObject({ seq: 1 });
    const second = log.waitFor(isA, { since: 1 });
    log.add('b', {});
    log.add('a', {});
    expect(await second).toMatchObject({ seq: 3 });
    expect(await log.waitFor(isA, { since: 3, timeoutMs: 10 })).toBe(null);
  });
});

describe('the state file', () => {
  let file;

  beforeEach(() => {
    file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'state-')), 'endpoint.state');
  });

  afterEach(() => fs.rmSync(path.dirname(file), { recursive: true }));

  const reload = (work) => {
    const state = new StateFile(file);
    const result = work(state);
    state.close();
    return result;
  };

  test('gives back what was set, the last value of each key', () => {
    reload((state) => {
      state.set('device:1', { a: 1 });
      state.set('device:2', 'gone');
      state.set('device:1', { a: 2 });
      state.set('device:2', null);
      state.set('other', true);
    });
    reload((state) => {
      expect(state.get('device:1')).toEqual({ a: 2 });
      expect(state.get('device:2')).toBe(undefined);
      expect([...state.entries('device:')]).toEqual([['1', { a: 2 }]]);
    });
  });

  test('has it on disk before set returns, and loses only a line that was never finished', () => {
    const state = new StateFile(file);
    state.set('kept', 1);
    fs.appendFileSync(file, '["torn", {"half');
    expect(reload((again) => [again.get('kept'), again.get('torn')])).toEqual([1, undefined]);
    state.close();
  });

  test('refuses a file that is something else', () => {
    fs.writeFileSync(file, 'not ours\n');
    expect(() => new StateFile(file)).toThrow(`${file}: line 1 is not an entry`);
    expect(fs.readFileSync(file, 'utf8')).toBe('not ours\n');
  });

  test('does not grow without bound', () => {
    reload((state) => {
      for (let i = 0; i < 25_000; i++) state.set('same key', i);
    });
    expect(fs.statSync(file).size).toBeLessThan(300_000);
    expect(reload((state) => state.get('same key'))).toBe(24_999);
  });
});

test('numbers, phones and devices are told apart', () => {
  const { parse, pnJid, lidJid, targets, toJid } = addresses;
  expect(parse(pnJid('49151', 3))).toEqual({ number: '49151', device: 3, isLid: false });
  expect(parse(lidJid('49151', 3))).toEqual({ number: '49151', device: 3, isLid: true });
  expect(parse('12345@lid')).toBe(null);
  expect(parse('1-2@g.us')).toBe(null);
  expect(toJid('49151')).toBe('49151@s.whatsapp.net');
  expect(targets('49151', pnJid('49151', 2))).toBe(true);
  expect(targets(lidJid('49151'), pnJid('49151', 2))).toBe(true);
  expect(targets(pnJid('49151', 1), pnJid('49151', 2))).toBe(false);
  expect(targets('49151', pnJid('491510', 2))).toBe(false);
  expect(() => targets('nobody', pnJid('1'))).toThrow('not a phone number or address: nobody');
});
