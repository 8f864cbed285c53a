'use strict';

// Reconnecting of one guard: its schedulers, and what they share.

const { HealthCheck } = require('./health');
const { checkSchedulerOptions } = require('./options');
const { ReconnectScheduler } = require('./scheduler');
const { ReconnectStats } = require('./stats');
const { Uptime } = require('./uptime');
const { withLimit } = require('../with-limit');

class Reconnecting {
  #host;
  #schedulers = new Set(); // what each lends in return: drain, halt, stats, pendingCount
  #stopped = new ReconnectStats(); // of those that are no more: what was counted stays
  #sessions;

  /** How long agents have been connected, by whichever scheduler. */
  uptime = new Uptime();

  /**
   * @param {object} host what a guard lends to its schedulers: `guard`, `native`, `logger`,
   *   `listeners`, `claimOn(agentId)`, `clearAuthState(claim)`, `checkOpen()`, `isBeating()`,
   *   `claimFree(agentIds)`
   */
  constructor(host) {
    let warned = false;
    this.#host = {
      ...host,
      health: new HealthCheck(),
      uptime: this.uptime,
      register: (inside) => {
        this.#schedulers.add(inside);
        return () => this.#forget(inside);
      },
      checkHeartbeat: () => {
        if (warned || host.isBeating()) return;
        warned = true;
        host.logger.warn(
          '[BAILEYS] sessions are connected without a heartbeat: their claims run out after the ' +
            'time to live; call startHeartbeat()',
        );
      },
    };
  }

  createScheduler(options) {
    return new ReconnectScheduler(this.#host, checkSchedulerOptions(options));
  }

  /** Supervises with a scheduler of its own, made on first use. */
  superviseSession(agentId, options) {
    this.#sessions ??= new ReconnectScheduler(
      this.#host,
      checkSchedulerOptions({}, { forSessions: true }),
    );
    return this.#sessions.superviseSession(agentId, options);
  }

  /** Hands sessions over to other instances while there is time, then closes the rest. */
  async end({ timeoutMs, beforeRelease }) {
    const drains = [...this.#schedulers].map(({ drain }) => drain({ timeoutMs, beforeRelease }));
    await withLimit(Promise.all(drains), timeoutMs); // whatever hangs, all of them are halted
    await Promise.all([...this.#schedulers].map(({ halt }) => halt()));
  }

  /** What happened to connections, by scheduler; those that were stopped are one. */
  stats() {
    return [this.#stopped, ...[...this.#schedulers].map(({ stats }) => stats)];
  }

  /** How many sessions connect, or wait to. */
  pendingCount() {
    let count = 0;
    for (const { pendingCount } of this.#schedulers) count += pendingCount();
    return count;
  }

  /** A scheduler has stopped: a program may make and stop any number of them. */
  #forget(inside) {
    if (this.#schedulers.delete(inside)) this.#stopped.add(inside.stats);
  }
}

module.exports = { Reconnecting };
