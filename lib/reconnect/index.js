'use strict';

// Reconnecting of one guard: its schedulers, and what they share.

const { HealthCheck } = require('./health');
const { checkSchedulerOptions } = require('./options');
const { ReconnectScheduler } = require('./scheduler');

class Reconnecting {
  #host;
  #schedulers = new Map(); // ReconnectScheduler -> { halt, drain, stats }
  #sessions;

  /**
   * @param {object} host what a guard lends to its schedulers: `guard`, `native`, `logger`,
   *   `claimOn(agentId)`, `call(callback, ...args)`, `trouble(what, error)`, `checkOpen()`,
   *   `isBeating()`
   */
  constructor(host) {
    let warned = false;
    this.#host = {
      ...host,
      health: new HealthCheck(),
      register: (scheduler, inside) => this.#schedulers.set(scheduler, inside),
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
    const all = [...this.#schedulers.values()];
    await Promise.all(all.map(({ drain }) => drain({ timeoutMs, beforeRelease })));
    await Promise.all(all.map(({ halt }) => halt()));
  }

  /** What happened to the connections of each scheduler. */
  stats() {
    return [...this.#schedulers.values()].map(({ stats }) => stats);
  }
}

module.exports = { Reconnecting };
