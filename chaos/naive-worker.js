'use strict';

// The same server as backends of this kind have it after an audit: it looks who has a session, writes
// its own name, and renews that with setInterval. For comparison; PostgreSQL only.

const path = require('node:path');
const baileys = require('baileys');
const { Pool } = require('pg');
const { trustEndpoint } = require('../examples/whatsapp-endpoint/trust');
const { serve } = require('../__test__/support/fixture');
const { History } = require('./history');

const BEAT_MS = 1000;
const WRITE_EVERY_MS = 200;
const RECONNECT_MS = 1000;
const SILENT = { level: 'silent', child: () => SILENT };
for (const level of ['trace', 'debug', 'info', 'warn', 'error']) SILENT[level] = () => {};
console.info = () => {};

let pool;
let history;
let how;
const owned = new Map(); // agent → token, which is when it was taken

const query = (sql, values) => pool.query(sql, values);
const ignore = () => {}; // as such code does: the next interval tries again

async function take(agent) {
  const { rows } = await query(
    "SELECT instance_id, last_heartbeat > now() AT TIME ZONE 'utc' - $2 * interval '1 ms' AS fresh FROM whatsapp_sessions WHERE agent_id = $1",
    [agent, how.guard.leaseTtlMs],
  );
  if (rows[0].instance_id && rows[0].fresh) return;
  await query(
    "UPDATE whatsapp_sessions SET instance_id = $2, last_heartbeat = now() AT TIME ZONE 'utc' WHERE agent_id = $1",
    [agent, how.guard.instanceId],
  );
  const token = String(process.hrtime.bigint());
  owned.set(agent, token);
  history.add('granted', { agent, token });
  await connect(agent, token);
}

async function connect(agent, token) {
  const folder = path.join(how.folders, agent);
  const { state, saveCreds } = await baileys.useMultiFileAuthState(folder);
  const jid = state.creds.me.id;
  const socket = baileys.makeWASocket({
    auth: state,
    waWebSocketUrl: `${how.line}/?jid=${jid.split(/[:@]/)[0]}`,
    logger: SILENT,
    connectTimeoutMs: 5000,
  });
  socket.ev.on('creds.update', saveCreds);
  socket.ev.on('connection.update', ({ connection, lastDisconnect }) => {
    if (connection === 'open') history.add('open', { agent, token, jid });
    if (connection !== 'close') return;
    history.add('close', { agent, token, jid });
    if (lastDisconnect?.error?.output?.statusCode === 401) return;
    setTimeout(() => connect(agent, token).catch(ignore), RECONNECT_MS);
  });
}

async function look() {
  const { rows } = await query('SELECT agent_id FROM whatsapp_sessions WHERE is_active');
  for (const { agent_id: agent } of rows) if (!owned.has(agent)) await take(agent);
}

async function beat() {
  for (const agent of owned.keys()) {
    await query(
      "UPDATE whatsapp_sessions SET last_heartbeat = now() AT TIME ZONE 'utc' WHERE agent_id = $1 AND instance_id = $2",
      [agent, how.guard.instanceId],
    );
  }
}

async function write(agent, token) {
  const sent = History.now();
  await query('UPDATE whatsapp_sessions SET qr_code = $2 WHERE agent_id = $1', [agent, token]);
  history.add('write', { agent, token, sent, accepted: true });
}

process.on('unhandledRejection', ignore);
process.once('SIGTERM', async () => {
  await query('UPDATE whatsapp_sessions SET instance_id = NULL WHERE instance_id = $1', [
    how.guard.instanceId,
  ]).catch(ignore);
  for (const [agent, token] of owned) history.add('ended', { agent, token, reason: 'released' });
  process.exit(0);
});

serve({
  open(options) {
    how = options;
    history = new History(how.history);
    pool = new Pool({ connectionString: how.databaseUrl, max: 5 }).on('error', ignore);
    trustEndpoint(baileys, how.endpoint);
    setInterval(() => look().catch(ignore), BEAT_MS);
    setInterval(() => beat().catch(ignore), BEAT_MS);
    setInterval(
      () => owned.forEach((token, agent) => write(agent, token).catch(ignore)),
      WRITE_EVERY_MS,
    );
    history.add('started', { instanceId: how.guard.instanceId });
  },
  resume() {},
  stall(ms) {
    setImmediate(() => {
      history.add('stalled');
      const end = performance.now() + ms;
      while (performance.now() < end);
      history.add('runs again');
    });
  },
});
