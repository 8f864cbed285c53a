'use strict';

// Processes of a test's own: another server instance to be killed, frozen and thawed. A fixture
// (`fixture.js`) answers calls and tells events; any other script can be watched by its output.
// Whatever was started is killed when the test file is through.

const { spawn } = require('node:child_process');
const path = require('node:path');

const { defer } = require('./cleanup');
const { speak } = require('./wire');

const FIXTURES = path.join(__dirname, '..', 'fixtures');

/** What a process may take on a busy machine, to start or to say something. */
const PATIENCE = 30_000;

class Child {
  #process;
  #send;
  #calls = new Map();
  #lastCall = 0;
  #events = [];
  #watchers = new Set();

  stdout = '';
  stderr = '';
  /** `{ code, signal }` once it has ended. */
  ended = null;

  constructor(command, args, { env, cwd, fixture }) {
    this.name = path.basename(args[0] ?? command);
    this.#process = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe', ...(fixture ? ['pipe'] : [])],
    });
    this.pid = this.#process.pid;
    for (const name of ['stdout', 'stderr']) {
      this.#process[name].setEncoding('utf8').on('data', (text) => {
        this[name] += text;
        this.#changed();
      });
    }
    if (fixture) {
      const pipe = this.#process.stdio[3].on('error', () => {}); // it died; 'close' tells
      this.#send = speak(pipe, (message) => this.#receive(message));
    }
    this.#process.on('error', (error) => (this.stderr += error.message));
    this.exited = new Promise((resolve) => {
      this.#process.on('close', (code, signal) => {
        this.ended = { code, signal };
        this.#changed();
        resolve(this.ended);
      });
    });
    defer(() => this.end());
  }

  /** Calls a method of the fixture; rejects with what it threw. */
  call(method, ...args) {
    const id = ++this.#lastCall;
    return new Promise((resolve, reject) => {
      if (this.ended) return reject(this.#failure(`is gone, ${method}() was called`));
      this.#calls.set(id, { method, resolve, reject });
      this.#send({ id, method, args });
    });
  }

  /**
   * The oldest event of that name that was not asked for yet, or the next one.
   *
   * @param {string} name as the fixture emits it
   * @param {{ timeoutMs?: number, where?: (data: any) => boolean }} [options]
   */
  event(name, { timeoutMs = PATIENCE, where = () => true } = {}) {
    return this.#until(`told no event ${name}`, timeoutMs, () => {
      const index = this.#events.findIndex((event) => event.event === name && where(event.data));
      return index === -1 ? undefined : { value: this.#events.splice(index, 1)[0].data };
    });
  }

  /** The match of a pattern in what it wrote to standard output or error. */
  output(pattern, { timeoutMs = PATIENCE } = {}) {
    return this.#until(`wrote nothing like ${pattern}`, timeoutMs, () => {
      const value = pattern.exec(this.stdout) ?? pattern.exec(this.stderr);
      return value ? { value } : undefined;
    });
  }

  /** Resolves with `{ code, signal }` when it has ended by itself. */
  async exit({ timeoutMs = PATIENCE } = {}) {
    return this.#until('did not end', timeoutMs, () => this.ended && { value: this.ended });
  }

  /** Sends a signal: SIGKILL and SIGTERM to end it, SIGSTOP to freeze it, SIGCONT to thaw it. */
  kill(signal = 'SIGKILL') {
    if (!this.ended) this.#process.kill(signal);
  }

  /** Ends it, frozen or not. */
  async end() {
    this.kill('SIGKILL');
    await this.exited;
  }

  #receive({ id, event, data, result, error }) {
    if (event) {
      this.#events.push({ event, data });
      this.#changed();
      return;
    }
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (error) call.reject(error);
    else call.resolve(result);
  }

  #changed() {
    for (const watcher of [...this.#watchers]) watcher();
    if (!this.ended) return;
    for (const { method, reject } of this.#calls.values()) {
      reject(this.#failure(`ended before it answered ${method}()`));
    }
    this.#calls.clear();
  }

  /** Waits until `look` finds something; fails with the child's last words. */
  #until(otherwise, timeoutMs, look) {
    return new Promise((resolve, reject) => {
      const settle = (outcome, value) => {
        clearTimeout(timer);
        this.#watchers.delete(watcher);
        outcome(value);
      };
      const watcher = () => {
        const found = look();
        if (found) settle(resolve, found.value);
        else if (this.ended) settle(reject, this.#failure(`${otherwise} and ended`));
      };
      const timer = setTimeout(
        () => settle(reject, this.#failure(`${otherwise} within ${timeoutMs} ms`)),
        timeoutMs,
      );
      this.#watchers.add(watcher);
      watcher();
    });
  }

  #failure(what) {
    const state = this.ended ? `, ended with ${this.ended.signal ?? this.ended.code}` : '';
    return new Error(
      `child ${this.name} (pid ${this.pid}${state}) ${what}\n` +
        `--- its stderr\n${this.stderr}--- its stdout\n${this.stdout}`,
    );
  }
}

/**
 * Starts a fixture and waits until it serves.
 *
 * @param {string} script in __test__/fixtures/
 * @param {{ args?: string[], env?: object, cwd?: string, execArgv?: string[], timeoutMs?: number }} [options]
 */
async function startChild(script, { args = [], execArgv = [], timeoutMs, ...options } = {}) {
  const file = path.resolve(FIXTURES, script);
  const child = new Child(process.execPath, [...execArgv, file, ...args].filter(Boolean), {
    ...options,
    fixture: true,
  });
  await child.event('ready', { timeoutMs });
  return child;
}

/** Starts any Node script, to be watched by what it writes. */
function startScript(file, { args = [], execArgv = [], ...options } = {}) {
  return new Child(process.execPath, [...execArgv, file, ...args], { ...options, fixture: false });
}

module.exports = { startChild, startScript };
