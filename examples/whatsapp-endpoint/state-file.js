'use strict';

/**
 * What the endpoint has to remember over a restart, as keys and JSON values.
 *
 * Without a path it lives in memory. With one, every change is appended as a line before `set`
 * returns, so a killed endpoint loses nothing that a client was told; loading takes the last line of
 * each key and drops a torn one at the end. The file is rewritten when most of it is outdated.
 * One endpoint per file: nothing keeps a second one out.
 */

const fs = require('node:fs');

const REWRITE_FROM_LINES = 10_000;

class StateFile {
  #path;
  #values = new Map();
  #fd = null;
  #lines = 0;

  constructor(path) {
    this.#path = path;
    if (!path) return;
    if (fs.existsSync(path)) this.#load();
    this.#rewrite();
  }

  get(key) {
    return this.#values.get(key);
  }

  /** The values whose key starts with `prefix`, with the rest of the key. */
  *entries(prefix) {
    for (const [key, value] of this.#values) {
      if (key.startsWith(prefix)) yield [key.slice(prefix.length), value];
    }
  }

  /** Stores a JSON value; null removes it. */
  set(key, value) {
    this.#apply(key, value);
    if (this.#fd === null) return;
    fs.writeSync(this.#fd, `${JSON.stringify([key, value])}\n`);
    this.#lines += 1;
    if (this.#lines > REWRITE_FROM_LINES && this.#lines > 4 * this.#values.size) this.#rewrite();
  }

  close() {
    if (this.#fd === null) return;
    fs.closeSync(this.#fd);
    this.#fd = null;
  }

  #apply(key, value) {
    if (value === null) this.#values.delete(key);
    else this.#values.set(key, value);
  }

  #load() {
    const lines = fs.readFileSync(this.#path, 'utf8').split('\n');
    lines.pop(); // empty after the last line feed, or a line that was never finished
    for (const [index, line] of lines.entries()) {
      try {
        this.#apply(...JSON.parse(line));
      } catch (cause) {
        throw new Error(`${this.#path}: line ${index + 1} is not an entry`, { cause });
      }
    }
  }

  #rewrite() {
    this.close();
    const fresh = `${this.#path}.new`;
    const lines = [...this.#values].map((entry) => `${JSON.stringify(entry)}\n`);
    fs.writeFileSync(fresh, lines.join(''));
    fs.renameSync(fresh, this.#path);
    this.#fd = fs.openSync(this.#path, 'a');
    this.#lines = this.#values.size;
  }
}

module.exports.StateFile = StateFile;
