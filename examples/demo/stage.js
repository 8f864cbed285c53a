'use strict';

const { randomBytes, randomUUID } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { spawnEndpoint } = require('../whatsapp-endpoint');
const { Server } = require('./server');
const { showSideBySide } = require('./side-by-side');

/** Everything the demo runs, and the end of it. */
class Stage {
  #folder = fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-guard-demo-'));
  #servers = [];
  #page;
  #key = process.env.CREDENTIALS_ENCRYPTION_KEY || randomBytes(32).toString('hex');

  agentId = randomUUID();
  database = process.env.DATABASE_URL || `sqlite:${path.join(this.#folder, 'demo.db')}`;

  async openEndpoint() {
    this.endpoint = await spawnEndpoint();
  }

  async start(name) {
    const server = new Server(name, {
      DATABASE_URL: this.database,
      CREDENTIALS_ENCRYPTION_KEY: this.#key,
      WA_WEBSOCKET_URL: this.endpoint.url,
      DEMO_CONTROL_URL: this.endpoint.controlUrl,
      // Where no lock file proves a death, as on macOS, a takeover waits for this long.
      LEASE_TTL_MS: process.env.LEASE_TTL_MS || '10000',
      // In a database that stays, another demo within 15 minutes would be one attempt too many.
      WHATSAPP_INIT_LIMIT: process.env.WHATSAPP_INIT_LIMIT || '1000',
    });
    this.#servers.push(server);
    await server.ready;
    return server;
  }

  /** One page that shows these servers; gives its address. */
  async show(...servers) {
    this.#page = await showSideBySide(servers);
    return this.#page.url;
  }

  /** The last lines that each server wrote. */
  logs() {
    const tail = ({ name, log }) => `--- ${name}\n${log.split('\n').slice(-15).join('\n')}`;
    return this.#servers.map(tail).join('\n');
  }

  /** Ends all that runs and removes the folder. */
  async end() {
    this.#page?.close();
    // In a database that stays, nobody must find a session to resume. Only its owner can end it.
    await Promise.allSettled(
      this.#servers.map((server) => server.call(this.agentId, 'disconnect', {})),
    );
    await Promise.all(this.#servers.map((server) => server.end('SIGTERM')));
    await this.endpoint?.close();
    fs.rmSync(this.#folder, { recursive: true, force: true });
  }
}

module.exports = { Stage };
