'use strict';

// What is made of an end, whatever form it comes in.

const {
  classifyDisconnect,
  createGuard,
  GuardError,
  ClaimLostError,
  AgentInUseError,
} = require('..');
const { temporaryFolder } = require('./support/databases');
const { boom } = require('./support/reconnect');

const STEADY = { jitter: 0 };

describe('a disconnect is classified', () => {
  test.each([
    [401, 'stop', 'loggedOut', 0],
    [402, 'stop', 'refused', 0],
    [403, 'stop', 'forbidden', 0],
    [405, 'quarantine', 'clientOutdated', 60_000],
    [406, 'stop', 'locked', 0],
    [408, 'retry', 'connectionLost', 1000],
    [409, 'quarantine', 'tryLater', 60_000],
    [411, 'stop', 'multideviceMismatch', 0],
    [412, 'quarantine', 'tryLater', 60_000],
    [428, 'retry', 'connectionClosed', 1000],
    [429, 'quarantine', 'rateLimited', 60_000],
    [440, 'quarantine', 'connectionReplaced', 60_000],
    [500, 'retry', 'badSession', 1000],
    [503, 'retry', 'unavailableService', 1000],
    [515, 'retry', 'restartRequired', 0],
    [577, 'retry', 'unknown', 1000],
  ])('%i: %s (%s) after %i ms', (code, action, reason, delayMs) => {
    const expected = { action, reason, delayMs, code, attempt: delayMs > 0 ? 1 : 0 };
    const lastDisconnect = { error: boom(code), date: new Date() };
    for (const form of [
      lastDisconnect,
      lastDisconnect.error,
      { connection: 'close', lastDisconnect }, // the whole event
      code,
      { error: { output: { statusCode: code } } },
    ]) {
      expect(classifyDisconnect(form, STEADY)).toEqual(expected);
    }
  });

  test.each([
    ['QR refs attempts ended', 408, 'stop', 'qrExpired'],
    ['Connection was lost', 408, 'retry', 'connectionLost'],
    ['WebSocket Error (read ECONNRESET)', 408, 'retry', 'network'],
    ['WebSocket Error (Unexpected server response: 401)', 401, 'retry', 'upgradeRefused'],
    ['WebSocket Error (Unexpected server response: 429)', 429, 'quarantine', 'rateLimited'],
    ['Bad MAC', 500, 'retry', 'badMac'],
  ])('%s (%i): %s (%s)', (message, code, action, reason) => {
    expect(classifyDisconnect(boom(code, message), STEADY)).toMatchObject({ action, reason });
  });

  test('errors of the network, of Signal and unknown ones are tried again', () => {
    const reset = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
    const unknownHost = Object.assign(new Error('getaddrinfo'), { code: 'ENOTFOUND' });
    const wrapped = new Error('failed', {
      cause: Object.assign(new Error('x'), { code: 'ETIMEDOUT' }),
    });
    for (const error of [reset, unknownHost, wrapped]) {
      expect(classifyDisconnect(error)).toMatchObject({
        action: 'retry',
        reason: 'network',
        code: null,
      });
    }
    const badMac = new Error('Bad MAC Error: Bad MAC');
    expect(classifyDisconnect(badMac)).toMatchObject({ action: 'retry', reason: 'badMac' });
    expect(classifyDisconnect(new Error('?'))).toMatchObject({
      action: 'retry',
      reason: 'unknown',
    });
    const circular = new Error('round');
    circular.cause = circular;
    expect(classifyDisconnect(circular)).toMatchObject({ action: 'retry' });
  });

  test('the end of a socket by its own user asks for nothing', () => {
    const ended = { error: undefined, date: new Date() };
    const whole = { connection: 'close', lastDisconnect: ended };
    for (const form of [undefined, null, {}, ended, whole]) {
      expect(classifyDisconnect(form)).toMatchObject({ action: 'none', reason: 'ended' });
    }
  });

  test('errors of this library are known', () => {
    const lost = (reason) => new ClaimLostError('ERR_CLAIM_LOST', 'lost', { reason });
    const table = [
      [new AgentInUseError('ERR_AGENT_IN_USE', 'in use'), 'yield', 'inUse'],
      [lost('taken'), 'yield', 'claimTaken'],
      [lost('refused'), 'yield', 'claimTaken'],
      [lost('expired'), 'retry', 'claimExpired'],
      [lost('buried'), 'retry', 'claimExpired'],
      [lost('row-gone'), 'stop', 'claimGone'],
      [lost('released'), 'none', 'claimReleased'],
      [new GuardError('ERR_DATABASE_UNAVAILABLE', 'away'), 'retry', 'databaseUnavailable'],
    ];
    for (const [error, action, reason] of table) {
      expect(classifyDisconnect(error)).toMatchObject({ action, reason });
    }
  });

  test('without jitter unless it is asked for, and with the options of a scheduler', () => {
    const delays = new Set(Array.from({ length: 20 }, () => classifyDisconnect(428).delayMs));
    expect([...delays]).toEqual([1000]);
    const spread = Array.from(
      { length: 50 },
      () => classifyDisconnect(428, { jitter: 0.5 }).delayMs,
    );
    expect(new Set(spread).size).toBeGreaterThan(10);
    expect(Math.min(...spread)).toBeGreaterThanOrEqual(500);
    expect(Math.max(...spread)).toBeLessThanOrEqual(1500);
    expect(classifyDisconnect(428, { initialDelayMs: 250 })).toMatchObject({ delayMs: 250 });
  });

  test('what is no error at all is refused', () => {
    expect(() => classifyDisconnect(true)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }),
    );
    expect(() => classifyDisconnect(Symbol('x'))).toThrow(GuardError);
  });
});

describe('options of a scheduler', () => {
  const guard = createGuard({ databaseUrl: `sqlite:${temporaryFolder()}/guard.db` });
  const connect = async () => {};
  afterAll(() => guard.shutdown());

  test.each([
    [{}, 'connect'],
    [{ connect: 'now' }, 'connect'],
    [{ connect, makeSocket: connect }, 'connect'],
    [{ connect, initialDelayMs: -1 }, 'initialDelayMs'],
    [{ connect, initialDelayMs: '1000' }, 'initialDelayMs'],
    [{ connect, maxDelayMs: 999 }, 'maxDelayMs'],
    [{ connect, multiplier: 0.5 }, 'multiplier'],
    [{ connect, multiplier: NaN }, 'multiplier'],
    [{ connect, jitter: 1.1 }, 'jitter'],
    [{ connect, maxAttempts: 0 }, 'maxAttempts'],
    [{ connect, maxAttempts: 2.5 }, 'maxAttempts'],
    [{ connect, stableAfterMs: -1 }, 'stableAfterMs'],
    [{ connect, maxConcurrent: 0 }, 'maxConcurrent'],
    [{ connect, connectsPerSecond: 0 }, 'connectsPerSecond'],
    [{ connect, connectsPerSecond: Infinity }, 'connectsPerSecond'],
    [{ connect, burst: 0 }, 'burst'],
    [{ connect, connectTimeoutMs: 0 }, 'connectTimeoutMs'],
    [{ connect, onGiveUp: 1 }, 'onGiveUp'],
    [{ connect, onEvent: {} }, 'onEvent'],
    [{ connect, balance: 'yes' }, 'balance'],
    [{ connect, retries: 3 }, 'retries'],
    [{ makeSocket: connect, authState: 7 }, 'authState'],
    [{ makeSocket: connect, silentAfterMs: 0 }, 'silentAfterMs'],
    [null, 'connect'],
    ['connect', 'options'],
  ])('%p is refused and names %s', (options, argument) => {
    let thrown;
    try {
      guard.createReconnectScheduler(options);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ code: 'ERR_INVALID_ARGUMENT', argument });
    expect(thrown.message).toContain(argument);
  });

  test('agents are checked like everywhere', async () => {
    const scheduler = guard.createReconnectScheduler({ connect });
    const refused = expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', argument: 'agentId' });
    for (const bad of [undefined, '', 7, 'a\0b']) {
      expect(() => scheduler.schedule(bad)).toThrow(refused);
      expect(() => scheduler.connected(bad)).toThrow(refused);
      expect(() => scheduler.disconnected(bad, 428)).toThrow(refused);
      await expect(scheduler.cancel(bad)).rejects.toEqual(refused);
      await expect(guard.superviseSession(bad, { makeSocket: connect })).rejects.toEqual(refused);
    }
    await scheduler.stop();
  });
});

test('the tables of the documentation are what the policy gives', () => {
  const { FILE, rendered } = require('../scripts/reconnect-tables');
  const page = require('node:fs').readFileSync(FILE, 'utf8');
  expect(page).toBe(rendered(page));
});
