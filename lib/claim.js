'use strict';

// One agent held under one fencing token.

const { checkObject, checkOptionalBoolean, describe } = require('./arguments');
const { ClaimLostError, invalidArgument, settle } = require('./errors');

const STATUSES = [
  'disconnected',
  'connecting',
  'qr_pending',
  'connected',
  'conflict',
  'error',
  'initializing',
];

class Claim {
  #native;
  #controller = new AbortController();
  #hostname;
  #instanceId;
  #onEnd;
  #onRelease;
  #beforeRelease = [];

  /**
   * Made by a guard only. `onEnd(claim, error)` runs once, when the claim is lost or released;
   * `onRelease(release)` gets the promise of a release that begins.
   */
  constructor(native, { instanceId, hostname, onEnd, onRelease }) {
    this.#native = native;
    this.#instanceId = instanceId;
    this.#hostname = hostname;
    this.#onEnd = onEnd;
    this.#onRelease = onRelease;
    watchSignal(this.#controller.signal, () => this.held);
  }

  get agentId() {
    return this.#native.agentId;
  }

  get instanceId() {
    return this.#instanceId;
  }

  get hostname() {
    return this.#hostname;
  }

  /** Grows with every change of owner. */
  get fencingToken() {
    return this.#native.token;
  }

  /** Aborted, with a ClaimLostError as reason, the moment the claim is lost or released. */
  get signal() {
    return this.#controller.signal;
  }

  /**
   * Whether the claim may be acted on at this very moment. Asks the native side, which knows the
   * clock: after a freeze JavaScript may run before the event that tells the loss.
   */
  get held() {
    if (this.#controller.signal[REALLY_ABORTED]()) return false;
    const ended = this.#native.ended();
    if (ended === null || ended === undefined) return true;
    this.end(ended);
    return false;
  }

  async update(fields) {
    const checked = checkFields(fields);
    await this.#settle(this.#native.update(checked));
  }

  async release(options) {
    const { deactivate } = checkObject(options, 'options');
    checkOptionalBoolean(deactivate, 'deactivate');
    const release = this.#giveBack(deactivate ?? false);
    this.#onRelease(release);
    await release;
  }

  async #giveBack(deactivate) {
    await this.flush();
    // Before the database is asked: from then on somebody else may have the agent, however long the
    // answer takes, and whatever it is.
    if (this.held) this.end('released');
    await this.#settle(this.#native.release(deactivate));
  }

  /** Awaits `fn` before the agent is given back: writes that are under way belong to this claim. */
  beforeRelease(fn) {
    this.#beforeRelease.push(fn);
  }

  /** Waits for the writes that are under way. */
  async flush() {
    await Promise.allSettled(this.#beforeRelease.map((fn) => fn()));
  }

  /** The native claim, for the other rooms of this library. */
  get native() {
    return this.#native;
  }

  /** Aborts the signal; called by the guard, and by whatever finds the loss first. */
  end(reason) {
    if (this.#controller.signal[REALLY_ABORTED]()) return;
    const error = new ClaimLostError(
      'ERR_CLAIM_LOST',
      `the claim on agent ${this.agentId} is lost: ${EXPLAIN[reason] ?? reason}`,
      { agentId: this.agentId, reason },
    );
    this.#controller.abort(error); // first: whatever a listener does, the signal is aborted
    this.#onEnd(this, error);
  }

  /** A fenced call: its loss is the claim's loss, known here before the event arrives. */
  async #settle(promise) {
    try {
      return await settle(promise);
    } catch (error) {
      if (error instanceof ClaimLostError) this.end(error.reason);
      throw error;
    }
  }

  toJSON() {
    const { agentId, instanceId, hostname, fencingToken } = this;
    return { agentId, instanceId, hostname, fencingToken: String(fencingToken), held: this.held };
  }
}

const EXPLAIN = {
  taken: 'another instance took it over',
  'row-gone': 'its row in the database is gone',
  expired: "no heartbeat reached the database within the lease's time to live",
  stalled: 'the event loop stood still for longer than maxEventLoopStallMs',
  buried: 'the database holds this instance for dead',
  refused: 'the database refused a write under its fencing token',
  released: 'it was released',
};

const REALLY_ABORTED = Symbol('the signal itself, without asking the native side');

/**
 * Makes `signal.aborted` and `signal.throwIfAborted()` ask first. Code that runs right after a
 * freeze, before any event, then sees the truth too.
 */
function watchSignal(signal, ask) {
  const { get } = Object.getOwnPropertyDescriptor(AbortSignal.prototype, 'aborted');
  Object.defineProperties(signal, {
    [REALLY_ABORTED]: { value: () => get.call(signal) },
    aborted: { get: () => get.call(signal) || !ask() },
    throwIfAborted: {
      value() {
        if (this.aborted) throw this.reason;
      },
    },
  });
}

function checkFields(fields) {
  if (fields === undefined || fields === null) {
    throw invalidArgument('fields', `must be an object, got ${describe(fields)}`);
  }
  const { status, phoneNumber, qrCode, isActive, lastConnected, ...unknown } = checkObject(
    fields,
    'fields',
  );
  const [stranger] = Object.keys(unknown);
  if (stranger !== undefined)
    throw invalidArgument(`fields.${stranger}`, 'is not a field of a session');
  if (status !== undefined && !STATUSES.includes(status)) {
    throw invalidArgument('fields.status', `must be one of ${STATUSES.join(', ')}`);
  }
  for (const [name, value] of Object.entries({ phoneNumber, qrCode })) {
    if (
      value !== undefined &&
      value !== null &&
      (typeof value !== 'string' || value.includes('\0'))
    ) {
      throw invalidArgument(`fields.${name}`, `must be a string or null, got ${describe(value)}`);
    }
  }
  checkOptionalBoolean(isActive, 'fields.isActive');
  return { status, phoneNumber, qrCode, isActive, lastConnected: toMs(lastConnected) };
}

function toMs(time) {
  if (time === undefined || time === null) return time;
  const ms = time instanceof Date || typeof time === 'string' ? new Date(time).getTime() : time;
  if (typeof ms !== 'number' || !Number.isFinite(ms) || Math.abs(ms) > 8.64e15) {
    throw invalidArgument(
      'fields.lastConnected',
      'must be a Date, an ISO string or Unix milliseconds',
    );
  }
  return Math.trunc(ms);
}

module.exports = { Claim };
