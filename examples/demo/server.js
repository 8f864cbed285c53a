'use strict';

/** One process of the reference backend, and how the demo speaks with it. */

const { spawn } = require('node:child_process');
const { setTimeout: sleep } = require('node:timers/promises');
const path = require('node:path');

const APP = path.join(__dirname, '..', 'backend', 'app.js');
const PRELOAD = path.join(__dirname, 'end-with-parent.js');
const PATIENCE_MS = 20_000;

class Server {
  log = '';
  #child;

  constructor(name, env) {
    this.name = name;
    this.#child = spawn(process.execPath, ['--require', PRELOAD, APP], {
      env: { ...process.env, ...env, INSTANCE_ID: name, HOST: '127.0.0.1', PORT: '0' },
      // A group of its own: Ctrl-C is for the demo, which ends its servers in order.
      detached: true,
    });
    this.exited = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => resolve(signal ?? code));
    });
    const listening = new Promise((resolve) => {
      const read = (text) => {
        this.log += text;
        const match = /listening on (\S+)\n/.exec(this.log);
        if (match) resolve(match[1]);
      };
      this.#child.stdout.setEncoding('utf8').on('data', read);
      this.#child.stderr.setEncoding('utf8').on('data', read);
    });
    const failed = this.exited.then((how) => {
      throw new Error(`${name} ended with ${how} before it listened`);
    });
    this.ready = Promise.race([listening, failed]).then((url) => (this.url = url));
    this.ready.catch(() => {}); // whoever awaits it hears of it
  }

  get pid() {
    return this.#child.pid;
  }

  /** Sends a signal and waits for the end of the process; gives its exit code or signal. */
  async end(signal) {
    this.#child.kill(signal);
    const stuck = setTimeout(() => this.#child.kill('SIGKILL'), PATIENCE_MS);
    const how = await this.exited;
    clearTimeout(stuck);
    return how;
  }

  /** One of the routes of an agent; gives the HTTP status and the body. */
  async call(agentId, route, body) {
    const response = await fetch(`${this.url}/api/agents/${agentId}/${route}`, {
      method: body ? 'POST' : 'GET',
      headers: { 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    return { http: response.status, ...(await response.json()) };
  }

  /** The first answer of whatsapp-status that matches. */
  async statusWhere(agentId, matches, what) {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const status = await this.call(agentId, 'whatsapp-status');
      if (matches(status)) return status;
      if (performance.now() > deadline) {
        throw new Error(
          `${this.name} shows no ${what} after ${PATIENCE_MS / 1000} s: ${JSON.stringify(status)}`,
        );
      }
      await sleep(50);
    }
  }

  connected(agentId) {
    return this.statusWhere(agentId, ({ status }) => status === 'connected', 'connection');
  }
}

module.exports = { Server };
