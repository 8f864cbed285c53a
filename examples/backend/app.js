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
const { healthHandler, migrate, startHeartbeat } = require('baileys-guard');

const config = require('./src/config');
const { errorHandler } = require('./src/errors');
const { headers, sameSite } = require('./src/headers');
const agents = require('./src/routes/agents');
const live = require('./src/routes/live');
const page = require('./src/routes/page');
const baileysService = require('./src/services/baileysService');

const app = express();
app.set('trust proxy', config.trustProxy || false);
app.use(headers, sameSite);
app.use(express.json());
app.use('/api/agents', agents);
app.get('/live', live.live);
app.get('/health', healthHandler());
if (config.demoControlUrl) app.use('/demo', require('./src/routes/demo'));
app.use(page);
app.use(errorHandler);

async function main() {
  await migrate();
  startHeartbeat();

  const server = http.createServer(app);
  async function stop(signal) {
    console.info(`[BACKEND] ${signal}: closing sessions`);
    server.close();
    live.close();
    await baileysService.stop();
    process.exit(0);
  }
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);

  // It connects one after another, which takes its time.
  baileysService.start().catch((error) => {
    if (error.code !== 'ERR_SHUT_DOWN') fail(error); // stopped before it was done
  });

  server.listen(config.port, config.host);
  await once(server, 'listening');
  const { address, port } = server.address();
  console.info(`[BACKEND] listening on http://${address}:${port}`);
}

function fail(error) {
  console.error(`[BACKEND] cannot start: ${error.message}`);
  process.exit(1);
}

main().catch(fail);
