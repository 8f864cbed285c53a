'use strict';

// The checker of the chaos runs: a clean history passes, and each thing that must not happen is
// seen when it is put in.

const { check } = require('../chaos/checker');
const { schedule } = require('../chaos/schedule');

const granted = (at, token, agent = 'a') => ({ at, type: 'granted', agent, token: String(token) });
const ended = (at, token, agent = 'a') => ({ at, type: 'ended', agent, token: String(token) });
const opened = (at, token, jid = 'j') => ({
  at,
  type: 'open',
  agent: 'a',
  token: String(token),
  jid,
});
const write = (sent, token, accepted = true, agent = 'a') => ({
  at: sent + 2,
  type: 'write',
  agent,
  token: String(token),
  sent,
  accepted,
  ...(accepted ? {} : { code: 'ERR_CLAIM_LOST' }),
});

/** One agent: p0 is killed, p1 takes over, is frozen and superseded by p2. */
const clean = () => ({
  processes: [
    { name: 'p0', killedAt: 1000, standstills: [], events: [granted(10, 1), write(500, 1)] },
    {
      name: 'p1',
      standstills: [{ from: 3000, to: 9000 }],
      events: [
        granted(1500, 2),
        opened(2000, 2),
        write(2100, 2),
        ended(9010, 2),
        write(9005, 2, false),
      ],
    },
    {
      name: 'p2',
      standstills: [],
      events: [granted(7000, 3), opened(7200, 3), write(8000, 3), write(9500, 3), ended(10_500, 3)],
    },
  ],
  endpoint: [
    { at: 100, type: 'active', conn: 1, jid: 'j' },
    { at: 1000, type: 'close', conn: 1, jid: 'j' },
    { at: 1990, type: 'login', conn: 2, jid: 'j' },
    { at: 2000, type: 'active', conn: 2, jid: 'j' },
    { at: 7100, type: 'conflict', jid: 'j', kicked: 2, kickedAnswering: false },
    { at: 7100, type: 'close', conn: 2, jid: 'j' },
    { at: 7200, type: 'active', conn: 3, jid: 'j' },
  ],
  run: { agents: 1, from: 0, healed: 10_000, backAt: 10_400, promisedMs: 5000 },
});

const conflict = (endpoint) => endpoint.find(({ type }) => type === 'conflict');
const activeAgain = (endpoint) =>
  endpoint.find(({ type, conn }) => type === 'active' && conn === 2);

const kindsOf = (history) => check(history).violations.map(({ kind }) => kind);

test('a clean history passes, and its figures are right', () => {
  const { violations, figures } = check(clean());
  expect(violations).toEqual([]);
  expect(figures).toMatchObject({ agents: 1, claims: 3, writes: 5, refused: 1, backMs: 400 });
  expect(figures.uptime).toBeCloseTo((900 + 5100 + 2800) / 10_000);
  expect(figures.wholeUptime).toBe(figures.uptime);
  expect(figures.longestDownMs).toBe(1000);
});

test('time without WhatsApp is no time without a session, time without the database is', () => {
  const history = clean();
  history.run.away = [
    { what: 'endpoint', from: 900, to: 1900 },
    { what: 'outage', from: 1900, to: 2000 },
  ];
  const { uptime, wholeUptime } = check(history).figures;
  expect(uptime).toBeCloseTo((800 + 5100 + 2800) / 9000);
  expect(wholeUptime).toBeCloseTo((900 + 5100 + 2800) / 10_000);
});

test('a replaced client that closes its socket late leaves no gap', () => {
  const history = clean();
  const { endpoint, run } = history;
  endpoint.find(({ type, conn }) => type === 'close' && conn === 2).at = 7300;
  endpoint.sort((a, b) => a.at - b.at);
  endpoint.push({ at: 9800, type: 'close', conn: 3, jid: 'j' });
  endpoint.push({ at: 9900, type: 'active', conn: 4, jid: 'j' });
  run.promisedMs = 2000;
  expect(kindsOf(history)).toEqual([]);
});

test.each([
  [
    'two owners',
    ({ processes }) => processes[2].events.unshift(granted(2500, 3)), // before p1 was frozen
  ],
  ['two owners', ({ processes }) => (processes[0].killedAt = 2000)],
  ['two owners', ({ processes }) => (processes[1].events[3] = ended(12_000, 2))], // told too late
  ['two owners', ({ processes }) => (processes[1].standstills = [])],
  [
    'token that does not grow',
    ({ processes }) => (processes[1].events[0] = { ...granted(1500, 1), token: '1' }),
  ],
  [
    'write under an old token',
    ({ processes }) => processes[1].events.push(write(9005, 2)), // accepted, after p2 was granted
  ],
  [
    'live client kicked',
    ({ endpoint }) => Object.assign(conflict(endpoint), { at: 2500, kickedAnswering: true }),
  ],
  [
    'live client kicked', // while some other process was frozen
    ({ processes, endpoint }) => {
      processes[1].standstills = [];
      processes[0].standstills = [{ from: 3000, to: 9000 }];
      conflict(endpoint).kickedAnswering = true;
    },
  ],
  [
    'two owners', // it ran again, and wrote before it learned of its loss
    ({ processes }) => {
      processes[1].standstills = [{ from: 6000, to: 6100 }];
      processes[1].events = [granted(1500, 2), opened(2000, 2), write(6800, 2), ended(7300, 2)];
    },
  ],
  [
    'session down for too long',
    ({ endpoint, run }) => {
      activeAgain(endpoint).at = 6500;
      run.promisedMs = 5000;
    },
  ],
  ['process that ended by itself', ({ processes }) => (processes[2].ended = '99: unhandled')],
  ['sessions not back in time', ({ run }) => (run.backAt = 16_000)],
  ['sessions not back in time', ({ run }) => (run.backAt = null)],
])('%s is seen', (kind, spoil) => {
  const history = clean();
  spoil(history);
  expect(kindsOf(history)).toContain(kind);
});

test.each([
  ['while it is frozen', 7100],
  ['when it runs again and is still to be told', 9500],
])('a frozen client that is replaced %s was no live client', (_, at) => {
  const history = clean();
  Object.assign(conflict(history.endpoint), { at, kickedAnswering: true });
  expect(kindsOf(history)).toEqual([]);
  history.processes[1].events.splice(1, 1); // and it was frozen before it knew that it was connected
  expect(kindsOf(history)).toEqual([]);
  conflict(history.endpoint).at = 10_600;
  expect(kindsOf(history)).toEqual(['live client kicked']);
});

describe('a process that a busy machine did not let run in time', () => {
  /** p1 is silent instead of frozen; it is late from 6900 to 7300, and told a moment later. */
  const late = ({ ranMs = 20, from = 6900, to = 7300, told = 7320 } = {}) => {
    const history = clean();
    history.processes[1].standstills = [{ from, to, late: true, ranMs }];
    history.processes[1].events = [granted(1500, 2), opened(2000, 2), ended(told, 2)];
    return history;
  };

  test('acted until then at the latest, and was no live client', () => {
    const history = late();
    Object.assign(conflict(history.endpoint), { kickedAnswering: true });
    expect(kindsOf(history)).toEqual([]);
  });

  test.each([
    ['was not late at all', { from: 6000, to: 6200 }],
    ['was late when the other had it already', { from: 7100 }],
    ['ran all the time', { ranMs: 390 }],
    ['ran for a while and was not told', { told: 7600 }],
  ])('is an owner too many if it %s', (_, how) => {
    expect(kindsOf(late(how))).toContain('two owners');
  });

  test('and again before it was told is judged by how long it ran', () => {
    const twice = (ranMs) => {
      const history = clean();
      const { standstills, events } = history.processes[1];
      standstills.push({ from: 9100, to: 12_000, late: true, ranMs });
      events.splice(3, 1, ended(12_010, 2));
      return history;
    };
    expect(kindsOf(twice(100))).toEqual([]);
    expect(kindsOf(twice(300))).toContain('two owners');
  });
});

test('what WhatsApp or the database were away for is no fault of ours', () => {
  const history = clean();
  activeAgain(history.endpoint).at = 6500;
  history.run.away = [{ from: 900, to: 3000 }];
  expect(kindsOf(history)).toEqual([]);
});

test('a schedule follows from its seed', () => {
  const how = { seconds: 60, processes: 4, gapMs: 2000, ttlMs: 3000, database: 'postgres' };
  const plan = schedule({ ...how, seed: 7 });
  expect(schedule({ ...how, seed: 7 })).toEqual(plan);
  expect(schedule({ ...how, seed: 8 })).not.toEqual(plan);
  expect(plan.length).toBeGreaterThan(20);
  for (const { atMs, target, lastsMs } of plan) {
    expect(atMs).toBeLessThan(60_000);
    expect([0, 1, 2, 3]).toContain(target);
    expect(lastsMs).toBeLessThanOrEqual(6000);
  }
  const onSqlite = schedule({ ...how, seed: 7, database: 'sqlite' });
  expect(onSqlite.some(({ fault }) => /cut|silence|delay|restart|crash|outage/.test(fault))).toBe(
    false,
  );
});
