'use strict';

// A server program that a test runs: PostgreSQL, PgBouncer. It has a folder of its own, runs as a
// user without rights where the tests run as root (both programs refuse root), and never outlives
// the tests, however those end (`tether.js`).

const { execFileSync, spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

/** Ids to run servers with: `{}` unless this is root, else those of an existing user. */
function unprivileged() {
  if (process.getuid?.() !== 0) return {};
  for (const user of ['postgres', 'nobody']) {
    try {
      const id = (flag) =>
        Number(execFileSync('id', [flag, user], { stdio: ['ignore', 'pipe', 'ignore'] }));
      return { uid: id('-u'), gid: id('-g') };
    } catch {
      // no such user here
    }
  }
  throw new Error('servers refuse to run as root, and neither user postgres nor nobody exists');
}

/** Whether the server's user can reach the file through all folders above it. */
function reachable(file) {
  if (process.getuid?.() !== 0) return fs.existsSync(file);
  return spawnSync('test', ['-r', file], { ...unprivileged() }).status === 0;
}

/** A new folder that belongs to the server's user. */
function serverFolder(name) {
  const base = [os.tmpdir(), '/tmp', '/var/tmp'].find(reachable);
  if (!base) throw new Error(`no temporary folder that a server's user can reach (${os.tmpdir()})`);
  const folder = fs.mkdtempSync(path.join(fs.realpathSync(base), `baileys-guard-${name}-`));
  giveAway(folder);
  return folder;
}

/** Hands a file or folder to the server's user, unreadable for others. */
function giveAway(file) {
  const { uid, gid } = unprivileged();
  if (uid !== undefined) fs.chownSync(file, uid, gid);
}

/** A loopback port that was free a moment ago. */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Starts something on a free port; on another one where somebody else was quicker to take it. */
async function onFreePort(start) {
  for (let tries = 1; ; tries++) {
    try {
      return await start(await freePort());
    } catch (error) {
      if (tries === 3 || !/address already in use/i.test(error.message)) throw error;
    }
  }
}

class ServerProcess {
  #child;
  #log = '';
  #watchers = new Set();

  /** @param {{ command: string, args: string[], env?: object, folder: string }} program */
  constructor(program) {
    const spec = JSON.stringify({ ...program, ...unprivileged() });
    // A group of its own: Ctrl-C goes to the tests, and those stop their servers in order.
    this.#child = spawn(process.execPath, [path.join(__dirname, 'tether.js'), spec], {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    this.#child.stdin.on('error', () => {}); // the program ended before it read the signal
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.#log = (this.#log + text).slice(-100_000);
        for (const watcher of this.#watchers) watcher();
      });
    }
    this.exited = new Promise((resolve) => this.#child.once('close', resolve));
    this.exited.then(() => {
      this.ended = true;
      for (const watcher of this.#watchers) watcher();
    });
    this.ended = false;
  }

  /** The last 100,000 characters of what the server wrote. */
  get log() {
    return this.#log;
  }

  /** Resolves when the server has written what the pattern looks for. */
  async said(pattern, timeoutMs = 30_000) {
    const seen = () => pattern.test(this.#log);
    await new Promise((resolve, reject) => {
      const settle = (outcome, value) => {
        clearTimeout(timer);
        this.#watchers.delete(watcher);
        outcome(value);
      };
      const fail = (what) =>
        settle(reject, new Error(`the server ${what}; its log:\n${this.#log}`));
      const watcher = () => {
        if (seen()) settle(resolve);
        else if (this.ended) fail('ended');
      };
      const timer = setTimeout(() => fail(`did not say ${pattern} in ${timeoutMs} ms`), timeoutMs);
      this.#watchers.add(watcher);
      watcher();
    });
  }

  signal(name) {
    if (!this.ended) this.#child.stdin.write(`${name}\n`);
  }
}

module.exports = { ServerProcess, serverFolder, giveAway, onFreePort, reachable, unprivileged };
