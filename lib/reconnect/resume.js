'use strict';

// Resumes what should run and nobody owns: at start, when somebody dies or releases, and every
// now and then in case nobody told. How much to take is decided by the native side.

const { settle } = require('../errors');

/** How often to look without being told … */
const SWEEP_MS = 15_000;
/** … and while there is something that nobody has. */
const LEFT_MS = 1000;
/** Sessions that are handed over for balance go this far apart. */
const BALANCE_MS = 1000;
/** How long an agent that could not be claimed is left alone. */
const REFUSED_MS = 60_000;
/** Sessions are taken as far ahead as they can be connected in this time: in good batches … */
const AHEAD_MS = 5000;
/** … and little by little at first, when others may be about to start. */
const FIRST_AHEAD_MS = 1000;
const FIRST_MS = 10_000;
/** Those who start in the same moment get to know of each other before anything is taken. */
const MEET_MS = 300;

class Resuming {
  #deps;
  #perMs;
  #startedAt;
  #running = false;
  #starting; // until it has met the others, and from then on
  #hasMet = false;
  #stopWatching;
  #sweep;
  #looking;
  #again = false;
  #balancedAt = -Infinity;
  #leftThere = 0;
  #taking = new Set(); // agents that are being claimed, to be entered
  #run; // the call of resumeAll() that is under way

  constructor(deps) {
    this.#deps = deps;
    this.#perMs = deps.options.numbers.connectsPerSecond / 1000;
  }

  /** Starts it; resolves when what there was at the start is taken care of. */
  async run(onProgress) {
    const run = (this.#run ??= new Run());
    if (onProgress) run.listeners.add(onProgress);
    await (this.#starting ??= this.#start());
    this.#look();
    return run.finished;
  }

  /** Something came of an agent: its first connect is over, and another may be begun. */
  settled(agentId) {
    if (this.#run?.tried(agentId)) this.#progress();
    if (this.#running && this.#leftThere > 0 && this.#room() >= this.#ahead() / 3) this.#look();
  }

  /** Whether an agent is being taken at this moment. */
  takes(agentId) {
    return this.#taking.has(agentId);
  }

  /** Sessions not connected for that long and that nobody runs. */
  async inactive(olderThanMs) {
    const before = Date.now() - olderThanMs;
    const sessions = await this.#deps.host.guard.listSessions();
    return sessions
      .filter(
        ({ owner, lastConnected, updatedAt }) =>
          !owner && (lastConnected ?? updatedAt ?? 0) < before,
      )
      .map(({ agentId, userId, lastConnected, isActive, status }) => ({
        agentId,
        userId,
        lastConnected,
        isActive,
        status,
      }));
  }

  /** Leaves it to the others, of which it returns the number. */
  async leave() {
    if (!this.stopTaking()) return 0;
    await this.#looking;
    try {
      // The last look may be of before they came.
      const { peers } = await settle(this.#deps.native.look(0));
      await settle(this.#deps.native.leave());
      return peers;
    } catch {
      return 0; // the database cannot be told: this instance is dead to the others soon
    }
  }

  /** Takes nothing from now on. Returns whether it did until now. */
  stopTaking() {
    const took = this.#running;
    this.#running = false;
    this.#stopWatching?.();
    clearTimeout(this.#sweep);
    this.#run?.finish();
    return took;
  }

  async #start() {
    this.#running = true;
    const { host } = this.#deps;
    this.#stopWatching = host.guard.watchOwnership(() => this.#look());
    try {
      await this.#stopWatching.ready;
      await this.#meet();
      this.#hasMet = true;
    } catch (error) {
      this.#stopWatching();
      this.#running = false;
      this.#starting = undefined;
      this.#run?.fail(error);
      this.#run = undefined;
    }
  }

  /** Takes part without taking, if there is anything to take. */
  async #meet() {
    this.#startedAt = performance.now();
    const { orphans } = await settle(this.#deps.native.look(0));
    if (orphans > 0) await new Promise((resolve) => setTimeout(resolve, MEET_MS));
  }

  /** One look at a time; one that is asked for meanwhile follows. */
  #look() {
    if (!this.#running || !this.#hasMet) return;
    if (this.#looking) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#sweep);
    this.#looking = this.#lookUntilDone().finally(() => {
      this.#looking = undefined;
      if (!this.#running) return;
      this.#sweep = setTimeout(() => this.#look(), this.#leftThere > 0 ? LEFT_MS : SWEEP_MS);
      this.#sweep.unref();
    });
  }

  async #lookUntilDone() {
    do {
      this.#again = false;
      try {
        await this.#lookOnce();
      } catch (error) {
        if (error.code === 'ERR_SHUT_DOWN') return;
        this.#deps.host.listeners.trouble('looking for sessions to resume', error);
        if (error.code === 'ERR_MIGRATION_REQUIRED') this.#run?.fail(error);
      }
    } while (this.#again && this.#running);
  }

  async #lookOnce() {
    const { native, options } = this.#deps;
    const look = await settle(native.look(this.#room()));
    this.#run?.saw(look);
    const taken = look.take.length > 0 && this.#running ? await this.#take(look.take) : 0;
    this.#leftThere = look.orphans - taken;
    if (options.balance && look.surplus > 0) await this.#balance();
    this.#progress();
  }

  /** Returns how many are no orphans any more, or none of this one's. */
  async #take(agentIds) {
    for (const agentId of agentIds) this.#taking.add(agentId);
    try {
      const { claims, refused } = await this.#claim(agentIds);
      const taken = [];
      for (const claim of claims) {
        // One may have been cancelled while it was claimed.
        const wanted = !this.#deps.native.passes(claim.agentId);
        this.#deps[wanted ? 'took' : 'unwanted'](claim);
        if (wanted) taken.push(claim.agentId);
      }
      if (taken.length > 0) await this.#enter(taken);
      return claims.length + refused;
    } finally {
      for (const agentId of agentIds) this.#taking.delete(agentId);
    }
  }

  async #enter(agentIds) {
    this.#run?.took(agentIds);
    const waits = await this.#deps.enter(agentIds);
    agentIds.forEach((agentId, index) => {
      if (waits[index] > 0) this.#run?.tried(agentId); // in quarantine, for a while yet
    });
  }

  /** All at once; one that the host's table refuses must not keep the others from being taken. */
  async #claim(agentIds) {
    // Two instances that resume at once are no conflict: whoever comes second is not told of one.
    const { claimFree } = this.#deps.host;
    try {
      return { claims: (await claimFree(agentIds)).claims, refused: 0 };
    } catch (error) {
      if (!REFUSALS.has(error.code)) throw error;
    }
    const claims = [];
    let refused = 0;
    for (const agentId of agentIds) {
      try {
        claims.push(...(await claimFree([agentId])).claims);
      } catch (error) {
        this.#deps.native.pass(agentId, REFUSED_MS);
        refused += 1;
        this.#deps.host.listeners.trouble(`cannot resume agent ${agentId}`, error);
      }
    }
    return { claims, refused };
  }

  /** One at a time, and the next when somebody has taken it: until then there are orphans. */
  async #balance() {
    const now = performance.now();
    if (now - this.#balancedAt < BALANCE_MS) return;
    const agentId = this.#deps.idle();
    if (agentId === undefined) return;
    this.#balancedAt = now;
    await this.#deps.handOver(agentId);
  }

  #room() {
    return Math.max(0, this.#ahead() - this.#deps.native.inLine());
  }

  /** How many are to stand in line. */
  #ahead() {
    const isFirst = performance.now() - this.#startedAt < FIRST_MS;
    return Math.ceil(this.#perMs * (isFirst ? FIRST_AHEAD_MS : AHEAD_MS));
  }

  #progress() {
    const run = this.#run;
    if (!run?.started) return;
    const progress = run.progress(this.#leftThere);
    for (const listener of run.listeners) this.#deps.host.listeners.call(listener, progress);
    if (run.complete(this.#leftThere)) {
      this.#run = undefined;
      run.finish();
    }
  }
}

/** Errors of one agent's row, not of the database. */
const REFUSALS = new Set([
  'ERR_USER_ID_REQUIRED',
  'ERR_SESSION_ROW_REFUSED',
  'ERR_INVALID_ARGUMENT',
]);

/** One call of `resumeAll()`: what it found, and what became of it. */
class Run {
  listeners = new Set();
  started = false;
  #total = 0;
  #taken = 0;
  #untried = new Set();
  #settle;

  constructor() {
    this.finished = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.finished.catch(() => {}); // whoever called resumeAll() has a promise of his own
  }

  saw({ orphans }) {
    if (!this.started) this.#total = orphans;
    this.started = true;
  }

  took(agentIds) {
    this.#taken += agentIds.length;
    for (const agentId of agentIds) this.#untried.add(agentId);
  }

  tried(agentId) {
    return this.#untried.delete(agentId);
  }

  complete(left) {
    return left === 0 && this.#untried.size === 0;
  }

  progress(left) {
    const tried = this.#taken - this.#untried.size;
    return { total: Math.max(this.#total, this.#taken + left), taken: this.#taken, tried, left };
  }

  finish() {
    this.#settle.resolve(this.progress(0));
  }

  fail(error) {
    this.#settle.reject(error);
  }
}

module.exports = { Resuming };
