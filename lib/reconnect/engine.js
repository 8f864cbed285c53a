'use strict';

// Connects sessions: the native side says whose turn it is, this claims, calls the user's function
// and reports back what became of it. `scheduler.js` is its public face.

const { isNativeError } = require('node:util').types;

const { GuardError, settle } = require('../errors');
const native = require('../native');
const { withLimit } = require('../with-limit');
const { Attempt, sessionEnded } = require('./attempt');
const { factsOf, factsOfThrown } = require('./facts');
const { Resuming } = require('./resume');
const { giveBack, retireSession, showConflict } = require('./row');
const { ReconnectStats } = require('./stats');

/** The longest that a timer of Node can be set to. */
const FOREVER_MS = 2 ** 31 - 1;
/** How long a connect may take to see that it is not wanted any more. */
const LATE_MS = 1000;
/** How long WhatsApp may take to hear that a device is removed. */
const UNLINK_MS = 10_000;
/** How long the end of a scheduler waits for the database to take in what it has not heard. */
const REMEMBER_MS = 2000;

class Engine {
  #host;
  #options;
  #native;
  #resuming;
  #attempts = new Map(); // agent -> Attempt that connects or is connected
  #last = new Map(); // agent -> the Attempt before, until its socket is closed
  #taken = new Map(); // agent -> Claim that was taken here, and will be given back
  #finishing = new Map(); // agent -> its row being written and its claim being given back
  #tasks = new Set(); // what is under way
  #awake;
  #stopped;
  #unregister; // tells the guard that this has stopped

  stats = new ReconnectStats();
  /** Agent -> the user that its claim is made for. */
  users = new Map();
  /** Agent -> a way to connect of its own; `undefined` -> that of all others. */
  openers = new Map();

  constructor(host, options) {
    this.#host = host;
    this.#options = options;
    this.#native = native.NativeScheduler.create(host.native, options.numbers, (call) =>
      this.#called(call),
    );
    this.#resuming = new Resuming({
      host,
      native: this.#native,
      options,
      took: (claim) => this.#taken.set(claim.agentId, claim),
      unwanted: (claim) => this.#finish(claim.agentId, () => this.#giveBack(claim.agentId, claim)),
      enter: async (agentIds) => {
        this.stats.resumed += agentIds.length;
        this.tell({ type: 'resuming', agentIds });
        return this.#enter(agentIds); // but for what was cancelled when this was told
      },
      idle: () => this.#idleSession(),
      handOver: (agentId) => this.#handOver(agentId),
    });
    this.#unregister = host.register({
      drain: (how) => this.#drain(how),
      halt: () => this.stop({ release: false }),
      stats: this.stats,
      pendingCount: () => (this.stopped ? 0 : this.#native.pendingCount()),
    });
  }

  get stopped() {
    return this.#stopped !== undefined;
  }

  schedule(id, delayMs, reset) {
    this.#native.welcome(id);
    const scheduled = this.#native.schedule(id, delayMs, reset);
    this.#stayAwake();
    return scheduled;
  }

  /** Enters an agent that is claimed, for a person. */
  async enter(id) {
    this.#native.welcome(id);
    await this.#enter([id]);
  }

  /** Enters agents that are claimed; returns how long each has to wait, as far as is known. */
  async #enter(ids) {
    try {
      return await settle(this.#native.resume(ids));
    } catch {
      // The database does not say how they fared before; it is asked again when it is their turn.
      for (const id of ids) if (!this.#native.passes(id)) this.#native.schedule(id, 0, false);
      return ids.map(() => 0);
    } finally {
      this.#stayAwake();
    }
  }

  connected(id) {
    if (this.stopped) return;
    const tookMs = this.#native.connected(id) ?? null;
    this.stats.connected += 1;
    if (tookMs !== null) this.stats.tookMs(tookMs);
    if (this.#attempts.has(id)) this.#host.uptime.up(id);
    this.tell({ type: 'connected', agentId: id, tookMs });
    this.#settled(id);
  }

  progress(id) {
    if (this.stopped) return;
    this.#native.progress(id);
    this.#settled(id);
  }

  /** A connection ended, or came to nothing; `told` is what is told of it, where that differs. */
  ended(id, facts, error, told = facts) {
    if (this.stopped) {
      return { action: 'none', delayMs: 0, attempt: 0, reason: 'ended', code: null };
    }
    return this.#decided(id, this.#native.disconnected(id, facts), told, error);
  }

  resumeAll(onProgress) {
    return this.#resuming.run(onProgress);
  }

  inactive(olderThanMs) {
    return this.#resuming.inactive(olderThanMs);
  }

  pending() {
    return this.stopped ? [] : this.#native.pending();
  }

  /** The attempt of an agent that connects or is connected. */
  attempt(id) {
    return this.#attempts.get(id);
  }

  /** True if there was something to end: a session that runs or will, or a claim on it. */
  async cancel(id, options) {
    if (this.stopped) return false;
    this.#native.pass(id);
    const deactivates = Boolean(options?.deactivate);
    let claim = this.#taken.get(id) ?? (deactivates ? this.#host.claimOn(id) : undefined);
    const known = this.#native.cancel(id) || Boolean(claim?.held) || this.#resuming.takes(id);
    this.#openerOf(id)?.disarm?.();
    const attempt = this.#attempts.get(id);
    const ended = sessionEnded(id, 'it was cancelled');
    if (!options?.logout) this.#end(id, ended);
    let failure;
    await this.#finish(id, async () => {
      if (options?.logout) await this.#unlink(id, attempt);
      await this.#close(id, ended);
      try {
        if (known && deactivates && !claim?.held) claim = await this.#claimToEnd(id);
      } catch (error) {
        failure = error; // for the caller alone
      }
      if (options?.logout && claim?.held) {
        await (attempt?.forget ? attempt.forget() : this.#openerOf(id)?.forget?.(claim));
      }
      await this.#giveBack(id, claim, options);
    });
    this.#settled(id);
    if (known) this.tell({ type: 'cancelled', agentId: id });
    if (failure) throw failure;
    return known;
  }

  /** A session that waits without a claim, such as one in conflict, is still in the host's table. */
  async #claimToEnd(id) {
    try {
      return await this.#host.guard.claimInstance(id, { userId: this.users.get(id) });
    } catch (error) {
      if (error.code === 'ERR_USER_ID_REQUIRED') return undefined; // it has no row yet
      if (error.code === 'ERR_AGENT_IN_USE') this.#native.welcome(id); // not this one's to end
      throw error;
    }
  }

  /** @param {{ release: boolean }} how whether claims are given back here, or by the guard */
  stop(how) {
    this.#stopped ??= this.#stop(how).finally(this.#unregister);
    return this.#stopped;
  }

  /** A held claim on an agent; taken, unless the user or this scheduler has it already. */
  async claim(agentId, userId) {
    await this.#finishing.get(agentId); // the claim there is now is about to be given back
    const had = this.#host.claimOn(agentId);
    if (had) return had;
    const claim = await this.#host.guard.claimInstance(agentId, { userId });
    if (this.stopped) {
      if (claim.held) await giveBack(claim, this.#host);
      throw new GuardError('ERR_SHUT_DOWN', 'this scheduler has been stopped');
    }
    this.#taken.set(claim.agentId, claim);
    this.#host.checkHeartbeat();
    return claim;
  }

  tell(event) {
    this.#host.listeners.call(this.#options.onEvent, event);
  }

  async #stop({ release }) {
    const remembered = withLimit(settle(this.#native.remember()), REMEMBER_MS).catch(() => {});
    this.#native.stop();
    const left = release ? this.#resuming.leave() : this.#resuming.stopTaking();
    for (const id of [...this.#attempts.keys()]) {
      this.#end(id, sessionEnded(id, 'its scheduler was stopped'));
    }
    clearInterval(this.#awake);
    await Promise.all([...this.#last.values()].map((attempt) => attempt.closed()));
    await Promise.all([remembered, ...this.#tasks]);
    if (!release) return;
    await left; // what was being claimed is given back, too
    await Promise.all([...this.#taken].map(([id, claim]) => this.#giveBack(id, claim)));
  }

  /**
   * Hands sessions over to peers that are there to take them, one by one at the pace at which a
   * single one may connect: whoever has the fewest takes most of them, and is to have no line.
   */
  async #drain({ timeoutMs, beforeRelease }) {
    if (this.stopped) return;
    const peers = await this.#resuming.leave(); // so that the others share without this one
    const agents = [...this.#attempts.keys()].filter((id) => this.#attempts.get(id).claim.held);
    if (!peers || agents.length === 0) return;
    const pace = this.#options.numbers.connectsPerSecond;
    const gapMs = Math.min(1000 / pace, (0.8 * timeoutMs) / agents.length);
    const started = performance.now();
    const under = [];
    for (const [index, id] of agents.entries()) {
      await pause(started + index * gapMs - performance.now());
      under.push(this.#handOver(id, beforeRelease));
    }
    await Promise.all(under);
  }

  #called({ kind, agentId, turn }) {
    if (this.stopped) return;
    if (kind === 'turn') this.#track(this.#turn(agentId, turn));
    if (kind === 'stable') this.tell({ type: 'stable', agentId });
    if (kind === 'timedOut') this.#timedOut(agentId, turn);
  }

  /** Decided here and now: while this was on its way, the connection may have come up. */
  #timedOut(id, turn) {
    const decision = this.#native.timedOut(id, turn);
    if (!decision) return;
    const limit = this.#options.numbers.connectTimeoutMs;
    const error = new GuardError(
      'ERR_CONNECT_TIMEOUT',
      `agent ${id} was not connected within ${limit} ms`,
      { agentId: id },
    );
    this.#decided(id, decision, {}, error);
  }

  /** Claims, asks the database how it went before, and connects. */
  async #turn(named, turn) {
    let id = named;
    let attempt;
    try {
      const claim = await this.claim(named, this.users.get(named));
      id = claim.agentId;
      if (id !== named) this.#rename(named, id);
      await this.#last.get(id)?.closed(); // two sockets of one agent would throw each other out
      const admitted = await settle(this.#native.admit(id, turn));
      if (!admitted || this.stopped) return await this.#unneeded(id, claim);
      const { waitMs, attempt: number } = admitted;
      if (waitMs > 0) {
        this.tell({ type: 'waiting', agentId: id, delayMs: waitMs, attempt: number });
        return undefined;
      }
      if (!this.#native.isTurn(id, turn)) return await this.#unneeded(id, claim);
      if (!claim.held) throw claim.signal.reason;
      attempt = this.#begin(id, claim, turn, number);
      await this.#open(id, attempt);
    } catch (error) {
      if (attempt?.over || this.stopped) return undefined; // its end was told already
      const facts = { ...factsOfThrown(error), found: 'connectFailed', ended: false };
      const decision = this.#native.failed(id, turn, facts);
      if (decision) this.#decided(id, decision, facts, error);
      else if (attempt) {
        this.#host.listeners.trouble(`agent ${id} is connected, but its connect failed`, error);
      }
      // Neither WhatsApp nor the network nor another instance: a key, an argument, a fault. It may
      // last for ever, and nobody else tells of it.
      if (decision?.reason === 'connectFailed') {
        this.#host.listeners.trouble(`agent ${id} could not be connected`, error);
      }
    } finally {
      this.#settled(id);
    }
    return undefined;
  }

  #begin(id, claim, turn, number) {
    const attempt = new Attempt({ claim, turn, attempt: number }, (reason) =>
      this.#lost(id, reason),
    );
    this.#attempts.set(id, attempt);
    this.stats.connects += 1;
    this.tell({ type: 'connecting', agentId: id, attempt: number });
    return attempt;
  }

  async #open(id, attempt) {
    const opener = this.#openerOf(id);
    const { claim, signal } = attempt;
    const connecting = (async () => {
      attempt.opened(await opener(id, { claim, attempt: attempt.attempt, signal }, attempt));
    })();
    // A connect that hangs is not waited for when its attempt is over; it may still come back, and
    // is given a moment before the next one.
    attempt.closesWith(attempt.ended.then(() => withLimit(connecting, LATE_MS)));
    await Promise.race([connecting, attempt.ended]);
    if (!attempt.over) this.#native.opened(id, attempt.turn);
    else connecting.catch(() => {});
  }

  #openerOf(id) {
    return this.openers.get(id) ?? this.openers.get(undefined);
  }

  /** A claim whose turn was over before it came. */
  async #unneeded(id, claim) {
    const wanted = !this.stopped && this.#native.pending().some(({ agentId }) => agentId === id);
    if (!wanted && this.#taken.get(id) === claim) await this.#giveBack(id, claim);
  }

  #lost(id, reason) {
    if (this.stopped) return;
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
    this.stats.decided(told);
    this.#attempts.get(id)?.decided?.(told);
    this.#end(id, isNativeError(error) ? error : sessionEnded(id, decision.reason));
    const over = decision.action === 'stop' || decision.action === 'giveUp';
    // Begun before anybody is told: whoever connects it anew from there waits for the end of it.
    if (over) {
      this.#retire(id, (claim) => retireSession(claim, told, this.#host));
    } else if (decision.action === 'quarantine' && decision.reason === 'connectionReplaced') {
      this.#retire(id, (claim) => showConflict(claim, this.#host));
    }
    this.tell({ type: decision.action, agentId: id, ...told, error });
    this.#alert(id, told, error);
    if (over) this.#over(id, told, error);
    this.#settled(id);
    return told;
  }

  /** Tells the guard's listeners what somebody may want to be woken for. */
  #alert(agentId, { action, reason, code }, error) {
    const { listeners } = this.#host;
    if (reason === 'connectionReplaced') {
      listeners.tell('conflict', { agentId, kind: 'connectionReplaced', owner: null });
    }
    if (reason === 'loggedOut') listeners.tell('loggedOut', { agentId, code, error });
    if (action === 'giveUp') listeners.tell('gaveUp', { agentId, reason, code, error });
  }

  /** A person has to act. */
  #over(id, told, error) {
    const code = told.code === null ? '' : ` (${told.code})`;
    this.#host.logger.warn(
      `[BAILEYS] agent ${id} is not connected any more: ${told.reason}${code}`,
    );
    this.#host.listeners.call(this.#options.onGiveUp, id, { ...told, error });
  }

  /** Writes the session row and gives the claim back, once the socket is closed. */
  #retire(id, write) {
    this.#openerOf(id)?.disarm?.();
    this.#finish(id, async () => {
      await this.#last.get(id)?.closed();
      const claim = this.#host.claimOn(id);
      if (!claim) return;
      await settle(this.#native.remember()).catch(() => {}); // under the fence, so before the release
      await write(claim);
      this.#taken.delete(id);
      this.tell({ type: 'released', agentId: id });
    });
  }

  /** The end of a session's time here. Whoever wants it again waits for that, see `claim`. */
  #finish(id, work) {
    const before = this.#finishing.get(id);
    const done = (async () => {
      await before;
      await work();
    })();
    const finishing = this.#track(done);
    this.#finishing.set(id, finishing);
    finishing.finally(() => {
      if (this.#finishing.get(id) === finishing) this.#finishing.delete(id);
    });
    return done;
  }

  /** Ends the attempt of an agent, if there is one. */
  #end(id, reason) {
    const attempt = this.#attempts.get(id);
    if (!attempt) return;
    this.#attempts.delete(id);
    this.#host.uptime.down(id);
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

  /** Without the device on the other side its credentials are of no use, and the other way round. */
  async #unlink(id, attempt) {
    try {
      await withLimit(attempt?.unlink?.(), UNLINK_MS);
    } catch (error) {
      this.#host.listeners.trouble(`agent ${id} has to be removed from the phone by hand`, error);
    }
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
    await this.#finish(id, async () => {
      await beforeRelease?.(attempt.claim);
      await this.#close(id, sessionEnded(id, 'it was handed over to another instance'));
      await this.#giveBack(id, attempt.claim);
    });
    this.stats.handedOver += 1;
    this.tell({ type: 'handedOver', agentId: id });
  }

  /** A session that nobody would miss for a moment. */
  #idleSession() {
    const pending = new Set(this.#native.pending().map(({ agentId }) => agentId));
    for (const [id, attempt] of this.#attempts) {
      if (!pending.has(id) && (attempt.isIdle?.() ?? true)) return id;
    }
    return undefined;
  }

  #rename(from, to) {
    this.#native.rename(from, to);
    this.#options.renamed(from, to);
    for (const map of [this.users, this.openers]) {
      if (map.has(from)) map.set(to, map.get(from));
      map.delete(from);
    }
  }

  /** Something came of an agent: there may be room for more, or nothing left to stay awake for. */
  #settled(id) {
    this.#stayAwake();
    this.#resuming.settled(id);
  }

  /** A wait keeps the process alive, as a timer of one's own would. */
  #stayAwake() {
    if (!this.stopped && this.#native.hasPending()) {
      this.#awake ??= setInterval(() => {}, FOREVER_MS);
    } else {
      clearInterval(this.#awake);
      this.#awake = undefined;
    }
  }

  #track(task) {
    const tracked = task.catch((error) => this.#host.listeners.trouble('reconnecting', error));
    this.#tasks.add(tracked);
    tracked.finally(() => this.#tasks.delete(tracked));
    return tracked;
  }
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}

module.exports = { Engine };
