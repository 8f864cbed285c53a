'use strict';

// Looks after sockets that say nothing when they die: every 30 s those that connect, every 60 s
// those that are connected. One timer for all of them, which keeps no process alive.

const CONNECTING_MS = 30_000;
const CONNECTED_EVERY = 2;

class HealthCheck {
  #sessions = new Set();
  #timer;
  #round = 0;
  #last;

  /** Watches a session until the function it returns is called. */
  add(session) {
    this.#sessions.add(session);
    if (!this.#timer) {
      this.#last = performance.now();
      this.#timer = setInterval(() => this.#look(), CONNECTING_MS);
      this.#timer.unref();
    }
    return () => this.#remove(session);
  }

  #remove(session) {
    this.#sessions.delete(session);
    if (this.#sessions.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look() {
    const now = performance.now();
    const lateMs = now - this.#last - CONNECTING_MS;
    this.#last = now;
    // The event loop stood still, or the machine slept: what came in meanwhile is not heard yet.
    if (lateMs > CONNECTING_MS / 2) return;
    this.#round += 1;
    for (const session of [...this.#sessions]) {
      if (session.isOpen() && this.#round % CONNECTED_EVERY !== 0) continue;
      const problem = session.problem();
      if (problem) session.report(problem);
    }
  }
}

module.exports = { HealthCheck };
