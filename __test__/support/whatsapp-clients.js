'use strict';

/** Starts the process of `whatsapp-client.js` and speaks with it; the test's side of the IPC. */

const { fork } = require('node:child_process');
const { EventEmitter, once } = require('node:events');
const path = require('node:path');

/** How long something may take on a busy machine: each client that pairs has 812 pre-keys to make. */
const WAIT_MS = 30_000;

/** Those that run; a test that fails must not leave one behind, since it would keep jest alive. */
const running = new Set();

class ClientProcess {
  #child;
  #events = [];
  #arrived = new EventEmitter().setMaxListeners(0);
  #waiting = new Map();
  #lastId = 0;

  /** @param {string} url of the endpoint that its sockets connect to */
  static async start(url) {
    const client = new ClientProcess();
    client.url = url;
    client.#child = fork(path.join(__dirname, 'whatsapp-client.js'), {
      env: { ...process.env, WA_WEBSOCKET_URL: url },
    });
    running.add(client);
    client.#child.once('exit', () => running.delete(client));
    client.#child.on('message', (message) => client.#receive(message));
    await client.waitFor(({ event }) => event === 'ready');
    return client;
  }

  get pid() {
    return this.#child.pid;
  }

  /** Runs a command of `whatsapp-client.js`. */
  call(command, args = {}) {
    const id = ++this.#lastId;
    this.#child.send({ id, command, ...args });
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  /** Opens a socket; give a `file` for one whose credentials outlive the process. */
  connect(name, options = {}) {
    return this.call('connect', { name, url: this.url, ...options });
  }

  events(name) {
    return this.#events.filter((event) => event.name === name);
  }

  /** Where the events stand now, to wait for one that comes later. */
  mark() {
    return this.#events.length;
  }

  /**
   * The first event that matches; with `after`, one that came after that mark.
   * @param {((event: object) => boolean)} matches
   */
  waitFor(matches, { after = 0, timeoutMs = WAIT_MS } = {}) {
    const present = this.#events.slice(after).find(matches);
    if (present) return Promise.resolve(present);
    return new Promise((resolve, reject) => {
      const listener = (event) => {
        if (matches(event)) finish(() => resolve(event));
      };
      const finish = (settle) => {
        clearTimeout(timer);
        this.#arrived.off('event', listener);
        settle();
      };
      const timer = setTimeout(() => {
        const seen = JSON.stringify(this.#events.map(({ name, event }) => `${name} ${event}`));
        finish(() => reject(new Error(`no such event in ${timeoutMs} ms; there were ${seen}`)));
      }, timeoutMs);
      this.#arrived.on('event', listener);
    });
  }

  /** The next event of this kind from this socket. */
  next(name, event, options) {
    return this.waitFor((one) => one.name === name && one.event === event, options);
  }

  kill(signal) {
    this.#child.kill(signal);
  }

  /** Ends it, frozen or not. */
  async stop() {
    if (!running.has(this)) return;
    const exited = once(this.#child, 'exit');
    if (this.#child.connected) this.#child.disconnect();
    this.#child.kill('SIGCONT');
    await exited;
  }

  static async stopAll() {
    await Promise.all([...running].map((client) => client.stop()));
  }

  #receive({ id, value, error, ...event }) {
    if (id === undefined) {
      this.#events.push(event);
      this.#arrived.emit('event', event);
      return;
    }
    const { resolve, reject } = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) resolve(value);
    else reject(new Error(error));
  }
}

/**
 * Pairs a client and brings it to `open`, as an application does: scan, 515, connect again.
 * @returns {Promise<{ jid: string, lid: string, phone: string }>}
 */
async function pair(endpoint, client, name, { phone, ...options } = {}) {
  await client.connect(name, options);
  const { qr } = await client.next(name, 'qr');
  const linked = await endpoint.scan(qr, { phone });
  const close = await client.next(name, 'close');
  if (close.statusCode !== 515) throw new Error(`${name}: ${close.statusCode} ${close.message}`);
  await client.connect(name, options);
  await client.next(name, 'open');
  return linked;
}

module.exports.ClientProcess = ClientProcess;
module.exports.pair = pair;
