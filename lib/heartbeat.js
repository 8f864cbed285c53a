'use strict';

// The handle of a running heartbeat. The heart itself beats on a native thread.

class Heartbeat {
  #native;
  #options;
  #onStop;

  /** Made by a guard only. */
  constructor(native, options, onStop) {
    this.#native = native;
    this.#options = options;
    this.#onStop = onStop;
  }

  /** The options it runs with. */
  get options() {
    return this.#options;
  }

  /** Stops renewing: claims run out after what is left of their time to live. */
  stop() {
    if (this.#onStop === undefined) return;
    this.#native.stopHeartbeat();
    this.#onStop();
    this.#onStop = undefined;
  }

  stats() {
    const stats = this.#native.stats();
    return {
      running: this.#onStop !== undefined,
      beats: stats.beats,
      failures: stats.beatFailures,
      consecutiveFailures: stats.beatFailuresInARow,
      lastBeatAgeMs: stats.lastBeatAgeMs ?? null,
      lastRoundTripMs: stats.lastRoundTripMs,
    };
  }
}

module.exports = { Heartbeat };
