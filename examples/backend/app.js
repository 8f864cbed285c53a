'use strict';

/**
 * A backend that shares its WhatsApp sessions with other instances of itself.
 *
 * Start as many as you like on one database: each agent is connected by one of them, and when that
 * one stops or dies, another goes on with it.
 */

const { once } = require('node:events');
const http = require('node:http');
const express = require('express');
const { migrate, startHeartbeat, watchOwnership } = require('baileys-guard');

const config = require('./src/config');
const { errorHandler } = require('./src/errors');
const agents = require('./src/routes/agents');
const baileysService = require('./src/services/baileysService');

/** Sessions left over by a missed notification or a database outage are looked for this often. */
const SWEEP_EVERY_MS = 30_000;

const app = express();
app.use(express.json());
app.use('/api/agents', agents);
app.use(errorHandler);

async function resume(agentIds) {
  try {
    await baileysService.resume(agentIds);
  } catch (error) {
    console.error(`[BACKEND] cannot resume sessions: ${error.message}`); // the next sweep tries again
  }
}

async function main() {
  await migrate();
  startHeartbeat();

  const server = http.createServer(app);
  const sweep = setInterval(resume, SWEEP_EVERY_MS);
  async function stop(signal) {
    console.info(`[BACKEND] ${signal}: closing sessions`);
    clearInterval(sweep);
    server.close();
    await baileysService.stop();
    process.exit(0);
  }
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);

  // First listen, then look: what becomes free in between is heard of.
  await watchOwnership(({ agentIds }) => resume(agentIds)).ready;
  await resume();

  server.listen(config.port, config.host);
  await once(server, 'listening');
  const { address, port } = server.address();
  console.info(`[BACKEND] listening on http://${address}:${port}`);
}

main().catch((error) => {
  console.error(`[BACKEND] cannot start: ${error.message}`);
  process.exit(1);
});
