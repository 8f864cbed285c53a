'use strict';

// For tests of reconnecting: events that can be waited for, and a socket with the face of Baileys'.

const { EventEmitter } = require('node:events');

/**
 * How long something may take on a busy machine. Shorter than the 15 s after which an instance looks
 * by itself: what it should be told of has to be told.
 */
const WAIT_MS = 10_000;

/** Keeps what it was told; `next()` waits for something that was not asked for yet. */
class Recorder {
  all = [];
  #unread = [];
  #arrived = new EventEmitter().setMaxListeners(0);

  tell = (event) => {
    this.all.push(event);
    this.#unread.push(event);
    this.#arrived.emit('event');
  };

  /**
   * The oldest unread event that matches, now or later.
   *
   * @param {string | ((event: any) => boolean)} what its type, or what it is like
   */
  next(what, { timeoutMs = WAIT_MS } = {}) {
    const matches = typeof what === 'function' ? what : ({ type }) => type === what;
    const take = () => {
      const index = this.#unread.findIndex(matches);
      return index === -1 ? undefined : this.#unread.splice(index, 1)[0];
    };
    const present = take();
    if (present) return Promise.resolve(present);
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = take();
        if (!found) return;
        clearTimeout(timer);
        this.#arrived.off('event', look);
        resolve(found);
      };
      const timer = setTimeout(() => {
        this.#arrived.off('event', look);
        const seen = this.all.map(({ type, agentId, reason }) => [type, agentId, reason].join(' '));
        reject(new Error(`no ${what} within ${timeoutMs} ms; there were:\n${seen.join('\n')}`));
      }, timeoutMs);
      this.#arrived.on('event', look);
    });
  }

  types(agentId) {
    return this.all.filter((event) => event.agentId === agentId).map(({ type }) => type);
  }
}

/** What `makeWASocket` gives, as far as a supervised session uses it. */
class FakeSocket {
  ev = new EventEmitter();
  ended = [];

  constructor({ auth, claim, signal, agentId, attempt }) {
    Object.assign(this, { auth, claim, signal, agentId, attempt });
    this.ws = new EventEmitter();
    Object.assign(this.ws, { isOpen: false, isClosed: false, isClosing: false });
    this.ws.socket = { terminate: () => this.#gone() };
  }

  update(update) {
    this.ev.emit('connection.update', update);
  }

  /** Logged in. */
  opens() {
    this.ws.isOpen = true;
    this.update({ connection: 'open' });
  }

  /** Closed from the other side. */
  closes(statusCode, message = 'Stream Errored') {
    this.#gone();
    this.update({
      connection: 'close',
      lastDisconnect: { error: boom(statusCode, message), date: new Date() },
    });
  }

  async end(error) {
    this.ended.push(error);
    await null;
    this.#gone();
    this.update({ connection: 'close', lastDisconnect: { error, date: new Date() } });
  }

  /** Listeners that are left on it. */
  get listeners() {
    const count = (emitter) =>
      emitter.eventNames().reduce((sum, name) => sum + emitter.listenerCount(name), 0);
    return count(this.ev) + count(this.ws);
  }

  #gone() {
    Object.assign(this.ws, { isOpen: false, isClosed: true });
  }
}

/** An error as `@hapi/boom`, which Baileys uses, makes it. */
function boom(statusCode, message = 'Stream Errored', extra) {
  const output = { statusCode, payload: { statusCode, message }, headers: {} };
  return Object.assign(new Error(message), { isBoom: true, output, data: null, ...extra });
}

/** Waits until `look` gives something; for what no event tells. */
async function until(look, { timeoutMs = WAIT_MS } = {}) {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (performance.now() > end) throw new Error(`not so within ${timeoutMs} ms: ${look}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Delays that fit a test. */
const QUICK = {
  initialDelayMs: 20,
  maxDelayMs: 200,
  jitter: 0,
  connectsPerSecond: 500,
  maxConcurrent: 50,
};

module.exports = { FakeSocket, QUICK, Recorder, boom, until };
