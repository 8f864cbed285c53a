'use strict';

// What happened to connections, counted; they only grow.

/** Upper bounds of the histogram of connect times, in milliseconds. */
const BUCKETS_MS = [100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000];

class ReconnectStats {
  connects = 0;
  connected = 0;
  timedOut = 0;
  gaveUp = 0;
  resumed = 0;
  handedOver = 0;
  /** Connections that another one with the same credentials has replaced (440). */
  conflicts = 0;
  loggedOut = 0;
  /** Disconnects by status code, or by reason where there is no code. */
  disconnects = new Map();
  /** Decisions by action. */
  decisions = new Map();
  connectTime = { bucketsMs: BUCKETS_MS, counts: BUCKETS_MS.map(() => 0), sumMs: 0, count: 0 };

  decided({ action, reason, code }) {
    add(this.decisions, action);
    add(this.disconnects, String(code ?? reason));
    if (reason === 'connectTimeout') this.timedOut += 1;
    if (reason === 'connectionReplaced') this.conflicts += 1;
    if (reason === 'loggedOut') this.loggedOut += 1;
    if (action === 'giveUp') this.gaveUp += 1;
  }

  tookMs(ms) {
    const { bucketsMs, counts } = this.connectTime;
    bucketsMs.forEach((bound, index) => {
      if (ms <= bound) counts[index] += 1;
    });
    this.connectTime.sumMs += ms;
    this.connectTime.count += 1;
  }

  /** Those of several schedulers together. */
  static sum(all) {
    const total = new ReconnectStats();
    for (const one of all) total.add(one);
    return total.toJSON();
  }

  /** Counts what another scheduler has counted, too. */
  add(one) {
    for (const [name, value] of Object.entries(one)) {
      if (typeof value === 'number') this[name] += value;
    }
    for (const [key, count] of one.disconnects) add(this.disconnects, key, count);
    for (const [key, count] of one.decisions) add(this.decisions, key, count);
    one.connectTime.counts.forEach((count, index) => {
      this.connectTime.counts[index] += count;
    });
    this.connectTime.sumMs += one.connectTime.sumMs;
    this.connectTime.count += one.connectTime.count;
  }

  toJSON() {
    const { disconnects, decisions, connectTime, ...counters } = this;
    return {
      ...counters,
      disconnects: Object.fromEntries(disconnects),
      decisions: Object.fromEntries(decisions),
      connectTime: { ...connectTime, counts: [...connectTime.counts] },
    };
  }
}

function add(map, key, count = 1) {
  map.set(key, (map.get(key) ?? 0) + count);
}

module.exports = { ReconnectStats };
