'use strict';

// What `metrics()` gives: everything that is counted, in one plain object. Times are in
// milliseconds here; Prometheus gets seconds.

const { ReconnectStats } = require('../reconnect/stats');

/**
 * @param {object} parts what a guard lends: `native`, `credentials`, `reconnecting`, `tallies`,
 *   `authStats()`, `isBeating()`, `refusedClaims()`
 * @param {boolean} perAgent whether agents are listed one by one
 */
function snapshot(parts, perAgent) {
  const { native, credentials, reconnecting, tallies } = parts;
  const counted = native.stats();
  const { claimsHeld, claimsLost, roundTrips, pool } = native.metrics();
  const auth = parts.authStats() ?? { reads: 0, writes: 0, refused: 0 };
  const { sealed, opened, refused: failed } = credentials.stats();
  const { conflicts, loggedOut, ...reconnects } = ReconnectStats.sum(reconnecting.stats());
  const { uptime } = reconnecting;
  return {
    claims: {
      held: claimsHeld,
      granted: counted.claimsGranted,
      released: counted.releases,
      takeovers: counted.takeovers,
      lost: Object.fromEntries(claimsLost.map(({ reason, count }) => [reason, count])),
    },
    conflicts: { claimRefused: parts.refusedClaims(), connectionReplaced: conflicts },
    instancesBuried: counted.burials,
    heartbeat: {
      running: parts.isBeating(),
      beats: counted.beats,
      failures: counted.beatFailures,
      consecutiveFailures: counted.beatFailuresInARow,
      ageMs: counted.lastBeatAgeMs ?? null,
      lastDurationMs: counted.lastRoundTripMs,
      duration: roundTrips,
    },
    sessions: {
      connected: uptime.size,
      pending: reconnecting.pendingCount(),
      loggedOut,
      connectedMs: uptime.totalMs(),
      byAgent: perAgent ? uptime.byAgent() : {},
    },
    reconnects,
    rateLimits: tallies.read(),
    encryption: { sealed, opened, failed },
    sessionRow: { writes: counted.rowWrites, refused: counted.rowWritesRefused },
    authState: { reads: auth.reads, writes: auth.writes, refused: auth.refused },
    pool,
  };
}

module.exports = { snapshot };
