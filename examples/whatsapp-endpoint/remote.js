'use strict';

/**
 * An endpoint in another process, driven through its control interface.
 *
 * Needs nothing but Node, no Baileys: this is how a jest test has an endpoint, since jest cannot load
 * an ES module on Node 20. It has the calls of an endpoint in this process, each giving a promise.
 */

const { spawn } = require('node:child_process');
const readline = require('node:readline');

const NEWEST_WAIT_MS = 30_000;

async function call(base, method, path, body) {
  const response = await fetch(new URL(path, base), {
    method,
    headers: { 'content-type': 'application/json' },
    body: body && JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${method} ${path}: ${answer.error}`);
  return answer;
}

/**
 * The endpoint with this control address.
 * @param {string} controlUrl `http://127.0.0.1:PORT`
 */
function connectEndpoint(controlUrl) {
  const get = (path, query) => call(controlUrl, 'GET', `${path}?${new URLSearchParams(query)}`);
  const post = (path, body) => call(controlUrl, 'POST', path, body);
  const events = async (query = {}) => (await get('/events', query)).events;
  return {
    controlUrl,
    stats: () => get('/stats', {}),
    events,
    scan: (qr, options) => post('/scan', { qr, ...options }),
    fail: (mode, options) => post('/fail', { mode, ...options }),
    heal: (id) => post('/heal', { id }),
    removeDevice: async (jid) => (await post('/remove-device', { jid })).removed,
    sendText: (jid, text, options) => post('/send-text', { jid, text, ...options }),

    /** The first event that matches, past or to come; null when `timeoutMs` passed without one. */
    async waitFor(matches, { since = 0, timeoutMs = 10_000 } = {}) {
      const deadline = performance.now() + timeoutMs;
      let seen = since;
      for (;;) {
        const left = Math.max(0, deadline - performance.now());
        const waitMs = Math.ceil(Math.min(left, NEWEST_WAIT_MS));
        const found = await events({ since: seen, waitMs });
        const match = found.find(matches);
        if (match) return match;
        if (left === 0) return null;
        seen = found.at(-1)?.seq ?? seen;
      }
    },
  };
}

/**
 * Starts an endpoint as a child process; it ends when this process does, however that ends.
 * @param {object} [options] as for startEndpoint: port, controlPort, state, maxEvents, answerWithinMs
 */
async function spawnEndpoint(options = {}) {
  const flags = Object.entries(options).map(
    ([name, value]) => `--${name.replace(/[A-Z]/g, (upper) => `-${upper.toLowerCase()}`)}=${value}`,
  );
  const child = spawn(process.execPath, [__dirname, '--json', '--until-stdin-ends', ...flags], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) =>
    child.once('exit', (code, signal) => resolve(signal ?? code)),
  );
  const lines = readline.createInterface({ input: child.stdout });
  const ready = new Promise((resolve) => lines.once('line', resolve));
  const first = await Promise.race([ready, ended]);
  if (typeof first !== 'string' || !first.startsWith('{')) {
    throw new Error(`the endpoint did not start: it ended with ${first}`);
  }
  const { url, controlUrl } = JSON.parse(first);
  return {
    ...connectEndpoint(controlUrl),
    url,
    port: Number(new URL(url).port),
    pid: child.pid,
    async close() {
      child.stdin.end();
      await ended;
    },
  };
}

module.exports.connectEndpoint = connectEndpoint;
module.exports.spawnEndpoint = spawnEndpoint;
