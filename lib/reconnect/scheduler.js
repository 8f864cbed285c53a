'use strict';

// Connects sessions: the native side says whose turn it is, this claims, calls the user's function
// and reports back what became of it.

const {
  checkId,
  checkMs,
  checkObject,
  checkOptionalBoolean,
  checkOptionalId,
} = require('../arguments');
const { checkFunction, checkOptionalFunction } = require('../arguments');
const { GuardError, settle } = require('../errors');
const native = require('../native');
const { Attempt, sessionEnded } = require('./attempt');
const { factsOf } = require('./facts');
const { checkSupervision } = require('./options');
const { Resuming } = require('./resume');
const { giveBack, retireSession, showConflict } = require('./row');
const { ReconnectStats } = require('./stats');
const { SupervisedSession, supervised } = require('./supervise');

/** The longest that a timer of Node can be set to. */
const FOREVER_MS = 2 ** 31 - 1;

class ReconnectScheduler {
  #host;
  #options;
  #native;
  #stats = new ReconnectStats();
  #attempts = new Map(); // agent -> Attempt that connects or is connected
  #last = new Map(); // agent -> the Attempt before, until its socket is closed
  #taken = new Map(); // agent -> Claim that this scheduler has taken, and will give back
  #users = new Map(); // agent -> the user that its claim is made for
  #openers = new Map(); // agent -> a way to connect of its own
  #aliases = new Map(); // agent as it was named -> as the database names it
  #left = new Set(); // agents that are not to be resumed here
  #tasks = new Set(); // what is under way after a decision
  #resuming;
  #awake;
  #stopped;
  /** What a supervised session tells its scheduler. */
  #control = {
    connected: (id) => this.connected(id),
    progress: (id) => this.progress(id),
    ended: (id, facts, error) => this.#ended(id, facts, error),
    tell: (event) => this.#emit(event),
  };

  /** Made by a guard only. */
  constructor(host, options) {
    this.#host = host;
    this.#options = options;
    const { numbers, connect, supervision } = options;
    this.#native = native.NativeScheduler.create(host.native, numbers, (call) =>
      this.#called(call),
    );
    if (supervision) this.#openers.set(undefined, supervised(this.#control, host, supervision));
    else if (connect) this.#openers.set(undefined, (id, context) => connect(id, context));
    host.register(this, {
      halt: () => (this.#stopped ??= this.#stop({ release: false })),
      drain: (how) => this.#drain(how),
      stats: this.#stats,
    });
    this.#resuming = new Resuming({
      host,
      native: this.#native,
      options,
      skipped: this.#left,
      took: (claim) => this.#taken.set(claim.agentId, claim),
      resumed: (agentIds) => {
        this.#stats.resumed += agentIds.length;
        this.#stayAwake();
        this.#emit({ type: 'resuming', agentIds });
      },
      idle: () => this.#idleSession(),
      handOver: (agentId) => this.#handOver(agentId),
    });
  }

  /** Connects an agent when it is its turn; claims it first. */
  schedule(agentId, options) {
    const { userId, delayMs = 0, reset } = checkObject(options, 'options');
    checkId(agentId, 'agentId');
    const user = checkOptionalId(userId, 'userId');
    checkMs(delayMs, 'delayMs');
    checkOptionalBoolean(reset, 'reset');
    this.#checkRunning();
    const id = this.#named(agentId);
    this.#left.delete(id);
    if (user !== undefined) this.#users.set(id, user);
    const scheduled = this.#native.schedule(id, delayMs, reset ?? false);
    this.#stayAwake();
    return scheduled;
  }

  /** The connection of an agent is up. */
  connected(agentId) {
    const id = this.#named(checkId(agentId, 'agentId'));
    if (this.#stopped) return;
    const tookMs = this.#native.connected(id) ?? null;
    this.#stats.connected += 1;
    if (tookMs !== null) this.#stats.tookMs(tookMs);
    this.#emit({ type: 'connected', agentId: id, tookMs });
    this.#settled();
  }

  /** The connect of an agent shows life, such as a QR code to be scanned: it gets more time. */
  progress(agentId) {
    const id = this.#named(checkId(agentId, 'agentId'));
    if (this.#stopped) return;
    this.#native.progress(id);
    this.#settled();
  }

  /**
   * The connection of an agent ended, or came to nothing. Decides, and does what was decided.
   *
   * @param {unknown} lastDisconnect as Baileys gives it, or an error
   */
  disconnected(agentId, lastDisconnect) {
    const id = this.#named(checkId(agentId, 'agentId'));
    return this.#ended(id, factsOf(lastDisconnect), lastDisconnect?.error ?? lastDisconnect);
  }

  /**
   * Claims and connects every session that should run and that nobody owns; at once, and from now
   * on whenever there are some.
   */
  async resumeAll(options) {
    const { onProgress } = checkObject(options, 'options');
    checkOptionalFunction(onProgress, 'onProgress');
    this.#checkRunning();
    checkFunction(this.#openers.get(undefined), 'connect');
    return this.#resuming.run(onProgress);
  }

  /** Claims an agent, then connects it and keeps it connected. */
  async superviseSession(agentId, options) {
    const { userId, reset, ...supervision } = checkObject(options, 'options');
    checkId(agentId, 'agentId');
    const user = checkOptionalId(userId, 'userId');
    checkOptionalBoolean(reset, 'reset');
    const opener =
      supervision.makeSocket === undefined && this.#options.supervision
        ? undefined
        : supervised(this.#control, this.#host, checkSupervision(supervision));
    this.#checkRunning();
    const claim = await this.#claim(this.#named(agentId), user);
    this.#checkRunning();
    const id = claim.agentId;
    if (id !== agentId) this.#aliases.set(agentId, id);
    if (opener) this.#openers.set(id, opener);
    if (user !== undefined) this.#users.set(id, user);
    this.#left.delete(id);
    if (reset) this.#native.schedule(id, 0, true);
    else await settle(this.#native.resume([id]));
    this.#stayAwake();
    return new SupervisedSession(this, claim, () => this.#attempts.get(id));
  }

  /** Forgets an agent, ends its socket and gives back the claim that was taken for it. */
  async cancel(agentId, options) {
    const { deactivate } = checkObject(options, 'options');
    const id = this.#named(checkId(agentId, 'agentId'));
    checkOptionalBoolean(deactivate, 'deactivate');
    if (this.#stopped) return false;
    const known = this.#native.cancel(id);
    this.#left.add(id);
    const claim = this.#taken.get(id) ?? (deactivate ? this.#host.claimOn(id) : undefined);
    await this.#close(id, sessionEnded(id, 'it was cancelled'));
    await this.#giveBack(id, claim, { deactivate });
    this.#settled();
    if (known) this.#emit({ type: 'cancelled', agentId: id });
    return known;
  }

  /** Sessions that connect or will: `[{ agentId, attempt, dueInMs, connecting, reason }]`. */
  pending() {
    return this.#stopped
      ? []
      : this.#native.pending().map((one) => ({ ...one, reason: one.reason ?? null }));
  }

  /** Sessions that have not been connected for that long and that nobody runs. */
  async listInactive({ olderThanMs = 7 * 24 * 60 * 60 * 1000 } = {}) {
    checkMs(olderThanMs, 'olderThanMs');
    return this.#resuming.inactive(olderThanMs);
  }

  stats() {
    return this.#stats.toJSON();
  }

  /** Connects nobody any more, ends all sockets, and gives back the claims that were taken. */
  stop() {
    this.#stopped ??= this.#stop({ release: true });
    return this.#stopped;
  }

  /**
   * Hands sessions over to peers that are there to take them, one by one at the pace at which
   * those can connect, so that none is without a socket for long. What is left when the time is
   * over is closed with the rest.
   */
  async #drain({ timeoutMs, beforeRelease }) {
    if (this.#stopped) return;
    const agents = [...this.#attempts.keys()].filter((id) => this.#attempts.get(id).claim.held);
    const peers = await this.#resuming.leave(); // so that the others count without this one
    if (!peers || agents.length === 0) return;
    const pace = this.#options.numbers.connectsPerSecond * peers;
    const gapMs = Math.min(1000 / pace, (0.8 * timeoutMs) / agents.length);
    const started = performance.now();
    const under = [];
    for (const [index, id] of agents.entries()) {
      await delay(started + index * gapMs - performance.now());
      under.push(this.#handOver(id, beforeRelease));
    }
    await Promise.all(under);
  }

  async #stop({ release }) {
    this.#native.stop();
    const leaving = release ? this.#resuming.leave() : this.#resuming.stopTaking();
    const agents = [...this.#attempts.keys()];
    for (const id of agents) this.#end(id, sessionEnded(id, 'its scheduler was stopped'));
    clearTimeout(this.#awake);
    this.#awake = undefined;
    await Promise.all([...this.#last.values()].map((attempt) => attempt.closed()));
    await Promise.all(this.#tasks);
    if (release) {
      await Promise.all([...this.#taken].map(([id, claim]) => this.#giveBack(id, claim)));
      await leaving.catch(() => {}); // it is dead to the others soon
    }
  }

  #ended(id, facts, error) {
    if (this.#stopped)
      return { action: 'none', delayMs: 0, attempt: 0, reason: 'ended', code: null };
    return this.#decided(id, this.#native.disconnected(id, facts), facts, error);
  }

  #called({ kind, agentId, turn, attempt, decision }) {
    if (this.#stopped) return;
    switch (kind) {
      case 'turn':
        this.#track(this.#turn(agentId, turn, attempt));
        break;
      case 'timedOut': {
        const error = new GuardError(
          'ERR_CONNECT_TIMEOUT',
          `agent ${agentId} was not connected within ${this.#options.numbers.connectTimeoutMs} ms`,
          { agentId },
        );
        this.#decided(agentId, decision, {}, error);
        break;
      }
      case 'stable':
        this.#emit({ type: 'stable', agentId });
        break;
    }
  }

  /** Claims, asks the database how it went before, and connects. */
  async #turn(named, turn) {
    let id = named;
    let attempt;
    try {
      const claim = await this.#claim(named, this.#users.get(named));
      id = claim.agentId;
      if (id !== named) this.#rename(named, id);
      const admitted = await settle(this.#native.admit(id, turn));
      if (!admitted || this.#stopped) return this.#unneeded(id, claim);
      if (admitted.waitMs > 0) {
        this.#emit({
          type: 'waiting',
          agentId: id,
          delayMs: admitted.waitMs,
          attempt: admitted.attempt,
        });
        return undefined;
      }
      await this.#last.get(id)?.closed(); // two sockets of one agent would throw each other out
      if (!claim.held) throw claim.signal.reason;
      attempt = this.#begin(id, claim, turn, admitted.attempt);
      await this.#open(id, attempt);
    } catch (error) {
      if (attempt?.over) return undefined; // it ended by something that was told already
      const facts = { ...factsOf(error), found: 'connectFailed', ended: false };
      const decision = this.#stopped ? undefined : this.#native.failed(id, turn, facts);
      if (decision) this.#decided(id, decision, facts, error);
    } finally {
      this.#resuming.tried(id);
      this.#settled();
    }
    return undefined;
  }

  async #claim(agentId, userId) {
    const had = this.#host.claimOn(agentId);
    if (had) return had;
    const claim = await this.#host.guard.claimInstance(agentId, { userId });
    if (!this.#taken.has(claim.agentId)) this.#host.checkHeartbeat();
    this.#taken.set(claim.agentId, claim);
    return claim;
  }

  #begin(id, claim, turn, number) {
    const attempt = new Attempt({ claim, turn, attempt: number }, (reason) =>
      this.#lost(id, reason),
    );
    this.#attempts.set(id, attempt);
    this.#stats.connects += 1;
    this.#emit({ type: 'connecting', agentId: id, attempt: number });
    return attempt;
  }

  async #open(id, attempt) {
    const opener = this.#openers.get(id) ?? this.#openers.get(undefined);
    const { claim, signal } = attempt;
    const connecting = (async () => {
      attempt.opened(await opener(id, { claim, attempt: attempt.attempt, signal }, attempt));
    })();
    // A connect that hangs is not waited for when its attempt is over; it may still come back.
    await Promise.race([connecting, attempt.ended]);
    if (!attempt.over) this.#native.opened(id, attempt.turn);
    else connecting.catch(() => {});
  }

  /** A claim whose turn was over before it came. */
  #unneeded(id, claim) {
    const wanted = !this.#stopped && this.#native.pending().some((one) => one.agentId === id);
    return wanted
      ? undefined
      : this.#giveBack(id, this.#taken.get(id) === claim ? claim : undefined);
  }

  #lost(id, reason) {
    if (this.#stopped) return;
    const facts = factsOf(reason);
    const decision = this.#native.lost(id, facts);
    this.#taken.delete(id);
    if (decision) this.#decided(id, decision, facts, reason);
    else this.#end(id, reason);
  }

  /** Does what was decided, and tells it. */
  #decided(id, { news, ...decision }, { code }, error) {
    const told = { ...decision, code: code ?? null };
    if (!news) return told;
    this.#stats.decided(told);
    this.#attempts.get(id)?.decided?.(told);
    this.#end(id, error instanceof Error ? error : sessionEnded(id, decision.reason));
    this.#emit({ type: decision.action, agentId: id, ...told, error });
    if (decision.reason === 'connectionReplaced' && decision.action === 'quarantine') {
      this.#track(this.#afterwards(id, showConflict));
    } else if (decision.action === 'stop' || decision.action === 'giveUp') {
      this.#host.logger.warn(
        `[BAILEYS] agent ${id} is not connected any more: ${decision.reason}` +
          (told.code === null ? '' : ` (${told.code})`),
      );
      this.#track(this.#afterwards(id, (claim) => retireSession(claim, decision)));
      this.#host.call(this.#options.onGiveUp, id, { ...told, error });
    }
    this.#resuming.tried(id);
    this.#settled();
    return told;
  }

  /** Writes the session row and gives the claim back, once the socket is closed. */
  async #afterwards(id, write) {
    await this.#last.get(id)?.closed();
    const claim = this.#taken.get(id) ?? this.#host.claimOn(id);
    if (!claim?.held) return;
    await settle(this.#native.remember()).catch(() => {}); // under the fence, so before the release
    await write(claim, this.#host);
    this.#taken.delete(id);
  }

  /** Ends the attempt of an agent, if there is one. */
  #end(id, reason) {
    const attempt = this.#attempts.get(id);
    if (!attempt) return;
    this.#attempts.delete(id);
    this.#last.set(id, attempt);
    attempt.end(reason);
    attempt.closed().then(() => {
      if (this.#last.get(id) === attempt) this.#last.delete(id);
    });
  }

  async #close(id, reason) {
    this.#end(id, reason);
    await this.#last.get(id)?.closed();
  }

  async #giveBack(id, claim, options) {
    this.#taken.delete(id);
    if (claim?.held) await giveBack(claim, this.#host, options);
  }

  /** Gives a session to whoever will take it. */
  async #handOver(id, beforeRelease) {
    const attempt = this.#attempts.get(id);
    if (!attempt) return;
    this.#native.cancel(id);
    await beforeRelease?.(attempt.claim);
    await this.#close(id, sessionEnded(id, 'it was handed over to another instance'));
    await this.#giveBack(id, attempt.claim);
    this.#stats.handedOver += 1;
    this.#emit({ type: 'handedOver', agentId: id });
  }

  /** A session that nobody would miss for a moment. */
  #idleSession() {
    const pending = new Set(this.#native.pending().map(({ agentId }) => agentId));
    for (const [id, attempt] of this.#attempts) {
      if (!pending.has(id) && (attempt.isIdle?.() ?? true)) return id;
    }
    return undefined;
  }

  #named(agentId) {
    return this.#aliases.get(agentId) ?? agentId;
  }

  #rename(from, to) {
    this.#native.rename(from, to);
    this.#aliases.set(from, to);
    for (const map of [this.#users, this.#openers]) {
      if (map.has(from)) map.set(to, map.get(from));
      map.delete(from);
    }
  }

  /** Something came to an end: there may be room for more, or nothing left to stay awake for. */
  #settled() {
    this.#stayAwake();
    this.#resuming.roomMade();
  }

  /** A wait keeps the process alive, as a timer of one's own would. */
  #stayAwake() {
    const needed = !this.#stopped && this.#native.hasPending();
    if (needed) this.#awake ??= setTimeout(() => {}, FOREVER_MS);
    else {
      clearTimeout(this.#awake);
      this.#awake = undefined;
    }
  }

  #track(task) {
    const tracked = task.catch((error) => this.#host.trouble('reconnecting', error));
    this.#tasks.add(tracked);
    tracked.finally(() => this.#tasks.delete(tracked));
  }

  #emit(event) {
    this.#host.call(this.#options.onEvent, event);
  }

  #checkRunning() {
    this.#host.checkOpen();
    if (this.#stopped) throw new GuardError('ERR_SHUT_DOWN', 'this scheduler has been stopped');
  }
}

function delay(ms) {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}

module.exports = { ReconnectScheduler };
