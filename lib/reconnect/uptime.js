'use strict';

// How long agents have been connected here.

/** Agents that were connected once and are not now, of which the time is kept. */
const MAX_FORMER = 10_000;

class Uptime {
  #connected = new Map(); // agent -> when its connection came up
  #former = new Map(); // agent -> how long it was connected before, in milliseconds
  #endedMs = 0; // of all connections that have ended
  #now;

  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  up(agentId) {
    if (!this.#connected.has(agentId)) this.#connected.set(agentId, this.#now());
  }

  down(agentId) {
    const since = this.#connected.get(agentId);
    if (since === undefined) return;
    this.#connected.delete(agentId);
    const lastedMs = this.#now() - since;
    const beforeMs = this.#former.get(agentId) ?? 0;
    this.#endedMs += lastedMs;
    this.#former.delete(agentId); // to the end of the line
    this.#former.set(agentId, beforeMs + lastedMs);
    if (this.#former.size > MAX_FORMER) this.#former.delete(this.#former.keys().next().value);
  }

  /** How many are connected. */
  get size() {
    return this.#connected.size;
  }

  /** All connections together, in milliseconds. */
  totalMs() {
    const now = this.#now();
    let running = 0;
    for (const since of this.#connected.values()) running += now - since;
    return this.#endedMs + running;
  }

  /** `{ [agentId]: { connected, connectedMs, totalMs } }`; `connectedMs` of this connection. */
  byAgent() {
    const now = this.#now();
    const agents = new Map();
    for (const [agentId, totalMs] of this.#former) {
      agents.set(agentId, { connected: false, connectedMs: 0, totalMs });
    }
    for (const [agentId, since] of this.#connected) {
      const connectedMs = now - since;
      const totalMs = (this.#former.get(agentId) ?? 0) + connectedMs;
      agents.set(agentId, { connected: true, connectedMs, totalMs });
    }
    return Object.fromEntries(agents);
  }
}

module.exports = { Uptime };
