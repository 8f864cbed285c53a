'use strict';

// Whether a guard can do its work: the database answers and, where claims are held, they are
// being renewed.

const { settle } = require('../errors');

class Health {
  #parts;
  #probe; // under way: one at a time, however many ask
  #isAway = false;

  /**
   * @param {object} parts what a guard lends: `native`, `reconnecting`, `leaseTtlMs`,
   *   `isBeating()`, `isShutDown()`, `listeners`
   */
  constructor(parts) {
    this.#parts = parts;
  }

  /** Never rejects because of what it finds. */
  async check(timeoutMs) {
    const database = await this.#database(timeoutMs);
    const heartbeat = this.#heartbeat();
    const shutDown = this.#parts.isShutDown();
    const { native, reconnecting } = this.#parts;
    return {
      ok: database.ok && heartbeat.ok && !shutDown,
      shutDown,
      database,
      heartbeat,
      claims: { held: native.metrics().claimsHeld },
      sessions: { connected: reconnecting.uptime.size, pending: reconnecting.pendingCount() },
    };
  }

  /** A call to the database failed. */
  failed(error) {
    if (error.code !== 'ERR_DATABASE_UNAVAILABLE' || this.#isAway) return;
    this.#isAway = true;
    this.#parts.listeners.tell('databaseUnavailable', { error });
  }

  /** A call to the database succeeded. */
  answered() {
    if (!this.#isAway) return;
    this.#isAway = false;
    this.#parts.listeners.tell('databaseRecovered', {});
  }

  async #database(timeoutMs) {
    this.#probe ??= this.#ask(timeoutMs).finally(() => (this.#probe = undefined));
    return this.#probe;
  }

  /** A heartbeat knows better how the database is: only without one this look is told. */
  async #ask(timeoutMs) {
    const started = performance.now();
    try {
      await settle(this.#parts.native.ping(timeoutMs));
    } catch (error) {
      if (!this.#parts.isBeating()) this.failed(error);
      const { code, message } = error;
      return { ok: false, latencyMs: null, error: { code, message } };
    }
    if (!this.#parts.isBeating()) this.answered();
    return { ok: true, latencyMs: performance.now() - started };
  }

  #heartbeat() {
    const { native, isBeating, leaseTtlMs } = this.#parts;
    const { lastBeatAgeMs, beatFailuresInARow } = native.stats();
    const running = isBeating();
    const ageMs = lastBeatAgeMs ?? null;
    // One that has just been started has not beaten yet; claims that nobody renews run out.
    const isFresh = ageMs === null ? beatFailuresInARow === 0 : ageMs <= leaseTtlMs;
    const ok = running ? isFresh : native.metrics().claimsHeld === 0;
    return { ok, running, ageMs, consecutiveFailures: beatFailuresInARow };
  }
}

/**
 * The answer of a health check, for Express or `node:http`. Anybody may read it: an error's
 * message, which may name the database's host or file, is left out.
 */
function healthHandler(check) {
  return function health(request, response, next) {
    check().then(
      ({ database: { error, ...database }, ...rest }) => {
        const shown = { ...rest, database: error ? { ...database, code: error.code } : database };
        response.statusCode = rest.ok ? 200 : 503;
        response.setHeader('Content-Type', 'application/json; charset=utf-8');
        response.setHeader('Cache-Control', 'no-store');
        response.end(JSON.stringify(shown));
      },
      (error) => next?.(error),
    );
  };
}

module.exports = { Health, healthHandler };
