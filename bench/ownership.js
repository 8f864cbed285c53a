'use strict';

// Ownership on PostgreSQL against what the audit report recommends: a loop of one UPDATE a
// session, and select-then-upsert, through node-postgres on the JavaScript thread.

const { execFileSync } = require('node:child_process');
const { Pool } = require('pg');

const { createGuard } = require('..');
const { startChild } = require('../__test__/support/child');
const { startPostgres } = require('../__test__/support/postgres');

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

async function timed(action) {
  const cpu = process.cpuUsage();
  const start = performance.now();
  await action();
  const spent = process.cpuUsage(cpu);
  return { ms: performance.now() - start, cpuMs: (spent.user + spent.system) / 1000 };
}

/** Bytes of WAL that `action` writes. */
async function wal(pool, action) {
  const position = async () =>
    (await pool.query('SELECT pg_current_wal_insert_lsn() AS at')).rows[0].at;
  const before = await position();
  await action();
  const { rows } = await pool.query(
    'SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1) AS bytes',
    [before],
  );
  return Number(rows[0].bytes);
}

/** The table of the report, with its index on the heartbeat column, in a schema of its own. */
async function reportTable(pool, agents) {
  await pool.query(`
    DROP SCHEMA IF EXISTS report CASCADE; CREATE SCHEMA report;
    CREATE TABLE report.whatsapp_sessions (
      id uuid PRIMARY KEY DEFAULT gen_random_uuid(), agent_id text UNIQUE, is_active boolean,
      instance_id varchar(255), instance_hostname varchar(255), instance_pid integer,
      last_heartbeat timestamp, session_data jsonb, updated_at timestamp);
    CREATE INDEX ON report.whatsapp_sessions (instance_id);
    CREATE INDEX ON report.whatsapp_sessions (last_heartbeat) WHERE is_active`);
  await pool.query(
    `INSERT INTO report.whatsapp_sessions (agent_id, is_active, instance_id, last_heartbeat, session_data)
     SELECT agent, true, 'me', now(), jsonb_build_object('creds', repeat('x', 1500))
     FROM unnest($1::text[]) AS agent`,
    [agents],
  );
}

async function heartbeats(pool, url) {
  const rows = [];
  for (const count of [100, 1000, 10_000]) {
    const agents = Array.from({ length: count }, (_, n) => `agent-${n}`);
    await reportTable(pool, agents);
    const loop = async () => {
      for (const agent of agents) {
        await pool.query(
          'UPDATE report.whatsapp_sessions SET last_heartbeat = now() WHERE agent_id = $1 AND instance_id = $2',
          [agent, 'me'],
        );
      }
    };
    await loop();
    const theirs = await timed(loop);
    const theirWal = await wal(pool, loop);

    const guard = createGuard({ databaseUrl: url, leaseTtlMs: 2000, logger: SILENT });
    const heartbeat = guard.startHeartbeat({ intervalMs: 3_600_000 });
    await guard.claimInstances(agents);
    const trips = [];
    let cpuMs;
    const before = heartbeat.stats().beats;
    const ourWal = await wal(pool, async () => {
      const spent = await timed(async () => {
        for (let n = 0; n < 20; n++) {
          await new Promise((resolve) => setTimeout(resolve, 410));
          trips.push(heartbeat.stats().lastRoundTripMs);
        }
      });
      cpuMs = spent.cpuMs;
    });
    const beats = heartbeat.stats().beats - before;
    await guard.shutdown();
    rows.push(
      {
        what: `renewing ${count} claims, wall time`,
        ours: median(trips),
        peer: theirs.ms,
        unit: 'ms',
        ratio: theirs.ms / median(trips),
        note: `1 statement against ${count}`,
      },
      {
        what: `renewing ${count} claims, WAL`,
        ours: ourWal / beats,
        peer: theirWal,
        unit: 'bytes',
        ratio: theirWal / (ourWal / beats),
      },
      {
        what: `renewing ${count} claims, CPU of the process`,
        ours: cpuMs / beats,
        peer: theirs.cpuMs,
        unit: 'ms',
        ratio: theirs.cpuMs / (cpuMs / beats),
        note: 'ours not on the JavaScript thread, and with everything else the process did',
      },
    );
  }
  return rows;
}

async function claims(pool, url) {
  const agents = Array.from({ length: 1000 }, (_, n) => `claim-${n}`);
  await reportTable(pool, []);
  const selectThenUpsert = await timed(async () => {
    for (const agent of agents) {
      const { rows } = await pool.query(
        'SELECT instance_id, last_heartbeat FROM report.whatsapp_sessions WHERE agent_id = $1',
        [agent],
      );
      if (rows.length === 0 || rows[0].instance_id === null) {
        await pool.query(
          `INSERT INTO report.whatsapp_sessions (agent_id, instance_id, last_heartbeat) VALUES ($1, 'me', now())
           ON CONFLICT (agent_id) DO UPDATE SET instance_id = 'me', last_heartbeat = now()`,
          [agent],
        );
      }
    }
  });
  const guard = createGuard({ databaseUrl: url, logger: SILENT });
  await guard.claimInstance('warm-up');
  const one = await timed(async () => {
    for (const agent of agents) await guard.claimInstance(agent);
  });
  const others = agents.map((agent) => `batch-${agent}`);
  const batch = await timed(() => guard.claimInstances(others));
  const refused = createGuard({ databaseUrl: url, logger: SILENT });
  await refused.claimInstances(['warm-up']);
  const refusal = await timed(() => refused.claimInstances(others));
  await refused.shutdown();
  await guard.shutdown();
  return [
    {
      what: 'claiming 1,000 agents one by one',
      ours: one.ms,
      peer: selectThenUpsert.ms,
      unit: 'ms',
      ratio: selectThenUpsert.ms / one.ms,
      note: 'ours claims, shows and waits for the disk; theirs has two winners under a race',
    },
    {
      what: 'claiming 1,000 agents in a batch',
      ours: batch.ms,
      peer: selectThenUpsert.ms,
      unit: 'ms',
      ratio: selectThenUpsert.ms / batch.ms,
    },
    { what: 'being refused 1,000 agents in a batch', ours: refusal.ms, unit: 'ms' },
  ];
}

const HANDOVERS = 100;
const KILLS = 20;

async function takeovers(url) {
  const open = async () => {
    const child = await startChild('instance.js');
    await child.call('open', { databaseUrl: url, leaseTtlMs: 60_000 }, { intervalMs: 60_000 });
    return child;
  };
  const successor = await open();
  await successor.call('watch');
  const handovers = [];
  const takeovers = [];
  for (let round = 0; round < HANDOVERS + KILLS; round++) {
    const agent = `moved-${round}`;
    const owner = await open();
    await owner.call('claim', agent);
    const waiting = successor.call('claim', agent, { waitMs: 30_000 });
    await successor.call('stats'); // it has been asked
    const start = performance.now();
    if (round < HANDOVERS) await owner.call('shutdown');
    else owner.kill('SIGKILL');
    await waiting;
    (round < HANDOVERS ? handovers : takeovers).push(performance.now() - start);
    await owner.end();
  }
  await successor.end();
  const last = (values) => values.sort((a, b) => a - b).at(Math.ceil(values.length * 0.99) - 1);
  return [
    {
      what: `hand-over at shutdown, median of ${HANDOVERS}`,
      ours: median(handovers),
      unit: 'ms',
      note: `99th percentile ${Math.round(last(handovers))} ms; LISTEN/NOTIFY`,
    },
    {
      what: `takeover after SIGKILL on this machine, median of ${KILLS}`,
      ours: median(takeovers),
      unit: 'ms',
      note: `slowest ${Math.round(Math.max(...takeovers))} ms; time to live 60 s`,
    },
  ];
}

function loading() {
  const script = (code) =>
    JSON.parse(
      execFileSync(process.execPath, ['-e', code], { cwd: `${__dirname}/..`, encoding: 'utf8' }),
    );
  const measure = (what) => `
    const rss = process.memoryUsage().rss, start = performance.now();
    ${what};
    console.log(JSON.stringify({ ms: performance.now() - start, rss: process.memoryUsage().rss - rss }))`;
  const runs = Array.from({ length: 5 }, () => script(measure("require('./index.js')")));
  const peers = Array.from({ length: 5 }, () => script(measure("require('pg')")));
  const of = (list, key) => median(list.map((run) => run[key]));
  return [
    {
      what: 'require(), against require("pg")',
      ours: of(runs, 'ms'),
      peer: of(peers, 'ms'),
      unit: 'ms',
      ratio: of(peers, 'ms') / of(runs, 'ms'),
    },
    {
      what: 'RSS after require()',
      ours: of(runs, 'rss') / 1048576,
      peer: of(peers, 'rss') / 1048576,
      unit: 'MiB',
      ratio: of(peers, 'rss') / of(runs, 'rss'),
    },
  ];
}

exports.run = async ({ log }) => {
  const server = await startPostgres({ settings: { fsync: 'on', autovacuum: 'off' } });
  const url = server.url();
  const setup = createGuard({ databaseUrl: url, logger: SILENT });
  await setup.migrate();
  await setup.shutdown();
  const pool = new Pool({ connectionString: url, max: 1 });
  try {
    log('heartbeats');
    const rows = await heartbeats(pool, url);
    log('claims');
    rows.push(...(await claims(pool, url)));
    log('takeovers');
    rows.push(...(await takeovers(url)), ...loading());
    return rows;
  } finally {
    await pool.end();
  }
};
