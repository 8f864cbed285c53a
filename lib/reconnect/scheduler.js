'use strict';

// What users have of a scheduler: checks arguments and names, and hands over to the engine.

const {
  checkFunction,
  checkId,
  checkMs,
  checkObject,
  checkOptionalBoolean,
  checkOptionalFunction,
  checkOptionalId,
} = require('../arguments');
const { GuardError } = require('../errors');
const { Engine } = require('./engine');
const { errorOf, factsOf } = require('./facts');
const { checkSupervision } = require('./options');
const { SupervisedSession, supervised } = require('./supervise');

const WEEK_MS = 7 * 24 * 60 * 60 * 1000;

class ReconnectScheduler {
  #host;
  #supervision;
  #engine;
  #aliases = new Map(); // agent as it was named -> as the database names it

  /** Made by a guard only. */
  constructor(host, { connect, supervision, ...options }) {
    this.#host = host;
    this.#supervision = supervision;
    const renamed = (from, to) => this.#aliases.set(from, to);
    this.#engine = new Engine(host, { ...options, renamed });
    if (supervision) this.#engine.openers.set(undefined, this.#supervised(supervision));
    else if (connect) this.#engine.openers.set(undefined, (id, context) => connect(id, context));
  }

  /** Connects an agent when it is its turn; claims it first. */
  schedule(agentId, options) {
    const { userId, delayMs = 0, reset } = checkObject(options, 'options');
    const id = this.#named(agentId);
    const user = checkOptionalId(userId, 'userId');
    checkMs(delayMs, 'delayMs');
    checkOptionalBoolean(reset, 'reset');
    this.#checkRunning();
    if (user !== undefined) this.#engine.users.set(id, user);
    return this.#engine.schedule(id, delayMs, reset ?? false);
  }

  /** The connection of an agent is up. */
  connected(agentId) {
    this.#engine.connected(this.#named(agentId));
  }

  /** The connect of an agent shows life, such as a QR code to be scanned: it gets more time. */
  progress(agentId) {
    this.#engine.progress(this.#named(agentId));
  }

  /**
   * The connection of an agent ended, or came to nothing. Decides, and does what was decided.
   *
   * @param {unknown} lastDisconnect as Baileys gives it, or an error
   */
  disconnected(agentId, lastDisconnect) {
    const id = this.#named(agentId);
    return this.#engine.ended(id, factsOf(lastDisconnect), errorOf(lastDisconnect));
  }

  /**
   * Claims and connects every session that should run and that nobody owns; at once, and from now
   * on whenever there are some.
   */
  async resumeAll(options) {
    const { onProgress } = checkObject(options, 'options');
    checkOptionalFunction(onProgress, 'onProgress');
    this.#checkRunning();
    checkFunction(this.#engine.openers.get(undefined), 'connect');
    return this.#engine.resumeAll(onProgress);
  }

  /** Claims an agent, then connects it and keeps it connected. */
  async superviseSession(agentId, options) {
    const { userId, reset, pairAnew, ...rest } = checkObject(options, 'options');
    const named = this.#named(agentId);
    const user = checkOptionalId(userId, 'userId');
    checkOptionalBoolean(reset, 'reset');
    checkOptionalBoolean(pairAnew, 'pairAnew');
    const byDefault = rest.makeSocket === undefined && this.#supervision !== undefined;
    const supervision = byDefault ? this.#supervision : checkSupervision(rest);
    const opener =
      byDefault && !pairAnew ? undefined : this.#supervised({ ...supervision, pairAnew });
    this.#checkRunning();
    const claim = await this.#engine.claim(named, user);
    this.#checkRunning();
    const id = claim.agentId;
    if (id !== named) this.#aliases.set(named, id);
    if (opener) this.#engine.openers.set(id, opener);
    if (user !== undefined) this.#engine.users.set(id, user);
    if (reset) this.#engine.schedule(id, 0, true);
    else await this.#engine.enter(id);
    return new SupervisedSession(this, claim, () => this.#engine.attempt(id));
  }

  /** Forgets an agent, ends its socket and gives back the claim that was taken for it. */
  async cancel(agentId, options) {
    const { deactivate, logout } = checkObject(options, 'options');
    const id = this.#named(agentId);
    checkOptionalBoolean(deactivate, 'deactivate');
    checkOptionalBoolean(logout, 'logout');
    return this.#engine.cancel(id, { deactivate: deactivate || logout, logout });
  }

  /** Connects nobody any more, ends all sockets, and gives back the claims that were taken. */
  stop() {
    return this.#engine.stop({ release: true });
  }

  /** Sessions that connect or will: `[{ agentId, attempt, dueInMs, connecting, reason }]`. */
  pending() {
    return this.#engine.pending().map((one) => ({ ...one, reason: one.reason ?? null }));
  }

  /** Sessions that have not been connected for that long and that nobody runs. */
  async listInactive(options) {
    const { olderThanMs = WEEK_MS } = checkObject(options, 'options');
    checkMs(olderThanMs, 'olderThanMs');
    return this.#engine.inactive(olderThanMs);
  }

  stats() {
    return this.#engine.stats.toJSON();
  }

  #supervised(supervision) {
    return supervised(this.#engine, this.#host, supervision);
  }

  #named(agentId) {
    checkId(agentId, 'agentId');
    return this.#aliases.get(agentId) ?? agentId;
  }

  #checkRunning() {
    this.#host.checkOpen();
    if (this.#engine.stopped) {
      throw new GuardError('ERR_SHUT_DOWN', 'this scheduler has been stopped');
    }
  }
}

module.exports = { ReconnectScheduler };
