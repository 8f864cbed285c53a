'use strict';

// The metrics as Prometheus knows them: one row each, with its name, type, meaning, and where its
// values are in what `metrics()` gives. Labels take few values, but for `agent`, which is asked for.

const PREFIX = 'baileys_guard_';

const one = (value) => [{ labels: {}, value }];
const by = (label, counts) =>
  Object.entries(counts).map(([name, value]) => ({ labels: { [label]: name }, value }));
const seconds = (ms) => ms / 1000;

/** A status code, or the reason where there was none; whatever else an application makes up. */
const codeOf = (key) => (/^(\d{3}|[A-Za-z]{1,32})$/.test(key) ? key : 'other');

/** The two to be woken for are there from the start: an alert sees the first of them, too. */
function byCode(disconnects) {
  const counts = { 401: 0, 440: 0 };
  for (const [key, count] of Object.entries(disconnects)) {
    counts[codeOf(key)] = (counts[codeOf(key)] ?? 0) + count;
  }
  return by('code', counts);
}

/** Buckets, sum and count of a histogram in milliseconds. */
function histogram({ bucketsMs, counts, sumMs, count }) {
  const buckets = bucketsMs.map((bound, index) => ({
    suffix: '_bucket',
    labels: { le: String(seconds(bound)) },
    value: counts[index],
  }));
  return [
    ...buckets,
    { suffix: '_bucket', labels: { le: '+Inf' }, value: count },
    { suffix: '_sum', labels: {}, value: seconds(sumMs) },
    { suffix: '_count', labels: {}, value: count },
  ];
}

/** [name, type, help, values] */
const ROWS = [
  ['claims_held', 'gauge', 'Agents that this instance owns now.', (m) => one(m.claims.held)],
  ['claims_granted_total', 'counter', 'Claims granted.', (m) => one(m.claims.granted)],
  [
    'claims_released_total',
    'counter',
    'Claims released one by one; shutdown() releases all at once and is not counted.',
    (m) => one(m.claims.released),
  ],
  [
    'claims_lost_total',
    'counter',
    'Claims that ended without being released, by reason.',
    (m) => by('reason', m.claims.lost),
  ],
  [
    'takeovers_total',
    'counter',
    'Claims granted on agents whose owner had died.',
    (m) => one(m.claims.takeovers),
  ],
  [
    'instances_buried_total',
    'counter',
    'Other instances that this one found dead.',
    (m) => one(m.instancesBuried),
  ],
  [
    'conflicts_total',
    'counter',
    'Conflicts: claims refused because of a live owner, connections replaced by another (440).',
    (m) =>
      by('kind', {
        claim_refused: m.conflicts.claimRefused,
        connection_replaced: m.conflicts.connectionReplaced,
      }),
  ],
  [
    'heartbeat_running',
    'gauge',
    'Whether claims are being renewed.',
    (m) => one(Number(m.heartbeat.running)),
  ],
  ['heartbeats_total', 'counter', 'Renewals that succeeded.', (m) => one(m.heartbeat.beats)],
  [
    'heartbeat_failures_total',
    'counter',
    'Renewals, or looks at the other instances, that failed.',
    (m) => one(m.heartbeat.failures),
  ],
  [
    'heartbeat_consecutive_failures',
    'gauge',
    'Failures since the last success.',
    (m) => one(m.heartbeat.consecutiveFailures),
  ],
  [
    'heartbeat_age_seconds',
    'gauge',
    'Time since the last good renewal was sent; absent before the first.',
    (m) => (m.heartbeat.ageMs === null ? [] : one(seconds(m.heartbeat.ageMs))),
  ],
  [
    'heartbeat_duration_seconds',
    'histogram',
    'Round trips of good renewals.',
    (m) => histogram(m.heartbeat.duration),
  ],
  ['sessions_connected', 'gauge', 'Sessions that are connected.', (m) => one(m.sessions.connected)],
  [
    'sessions_pending',
    'gauge',
    'Sessions that connect, or wait to.',
    (m) => one(m.sessions.pending),
  ],
  [
    'sessions_connected_seconds_total',
    'counter',
    'Time that sessions have been connected, all together.',
    (m) => one(seconds(m.sessions.connectedMs)),
  ],
  [
    'sessions_resumed_total',
    'counter',
    'Sessions resumed that nobody owned.',
    (m) => one(m.reconnects.resumed),
  ],
  [
    'sessions_handed_over_total',
    'counter',
    'Sessions given to another instance.',
    (m) => one(m.reconnects.handedOver),
  ],
  [
    'sessions_given_up_total',
    'counter',
    'Sessions that failed as often as maxAttempts allows.',
    (m) => one(m.reconnects.gaveUp),
  ],
  ['connect_attempts_total', 'counter', 'Connects begun.', (m) => one(m.reconnects.connects)],
  [
    'connect_timeouts_total',
    'counter',
    'Connects that took longer than connectTimeoutMs.',
    (m) => one(m.reconnects.timedOut),
  ],
  [
    'connect_duration_seconds',
    'histogram',
    'From the call of connect until the connection was up.',
    (m) => histogram(m.reconnects.connectTime),
  ],
  [
    'disconnects_total',
    'counter',
    'Ends of connections and failed connects, by status code, or by reason where there is none.',
    (m) => byCode(m.reconnects.disconnects),
  ],
  [
    'disconnect_decisions_total',
    'counter',
    'What was done about them.',
    (m) => by('action', m.reconnects.decisions),
  ],
  [
    'rate_limit_decisions_total',
    'counter',
    'Decisions of rate limiters, by the name or else the rule of the limiter.',
    (m) =>
      Object.entries(m.rateLimits).flatMap(([limiter, counts]) =>
        by('decision', counts).map(({ labels, value }) => ({
          labels: { limiter, ...labels },
          value,
        })),
      ),
  ],
  [
    'encryption_operations_total',
    'counter',
    'Values sealed, opened, and those that did not open.',
    (m) => by('operation', m.encryption),
  ],
  [
    'auth_state_reads_total',
    'counter',
    'Reads of signal keys; one for each call, whatever the number of keys.',
    (m) => one(m.authState.reads),
  ],
  [
    'fenced_writes_total',
    'counter',
    'Writes under the fence of a claim, refused ones among them.',
    (m) => by('kind', { session_row: m.sessionRow.writes, auth_state: m.authState.writes }),
  ],
  [
    'fenced_writes_refused_total',
    'counter',
    'Writes that the fence refused: another instance has the agent.',
    (m) => by('kind', { session_row: m.sessionRow.refused, auth_state: m.authState.refused }),
  ],
  [
    'pool_connections',
    'gauge',
    'Connections to the database that calls share.',
    (m) => by('state', { idle: m.pool.idle, in_use: m.pool.inUse }),
  ],
  ['pool_connections_max', 'gauge', 'How many of them there may be.', (m) => one(m.pool.max)],
];

const PER_AGENT = [
  [
    'agent_connected_seconds',
    'gauge',
    'How long the present connection of an agent has lasted; 0 while it has none.',
    (m) =>
      Object.entries(m.sessions.byAgent).map(([agent, { connectedMs }]) => ({
        labels: { agent },
        value: seconds(connectedMs),
      })),
  ],
];

/** Where the sum over the workers of a cluster says nothing. */
const AGGREGATORS = { heartbeat_age_seconds: 'max', heartbeat_consecutive_failures: 'max' };

/** All metrics: `[{ name, type, help, aggregator, read(metrics) }]`. */
function familiesOf({ perAgent = false } = {}) {
  return [...ROWS, ...(perAgent ? PER_AGENT : [])].map(([name, type, help, read]) => ({
    name: PREFIX + name,
    type,
    help,
    aggregator: AGGREGATORS[name] ?? 'sum', // prom-client's, see AggregatorRegistry
    read,
  }));
}

module.exports = { familiesOf };
