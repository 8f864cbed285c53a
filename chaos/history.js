'use strict';

// What happened to one process, in its own file: a line an event, on the machine's monotonic clock
// (what is judged by) and on the process's wall clock (which a fault may have moved). Written at once and by the process itself, so that a SIGKILL takes nothing along.

const fs = require('node:fs');

class History {
  #file;

  constructor(path) {
    this.#file = fs.openSync(path, 'a');
  }

  /** Milliseconds, the same for all processes of the machine and for the endpoint. */
  static now() {
    return Number(process.hrtime.bigint()) / 1e6;
  }

  add(type, details = {}) {
    const line = { at: History.now(), wall: Date.now(), type, ...details };
    fs.writeSync(this.#file, `${JSON.stringify(line)}\n`);
  }

  /** The events in a file; a last line that a kill cut off is none. */
  static read(path) {
    if (!fs.existsSync(path)) return [];
    const lines = fs.readFileSync(path, 'utf8').split('\n');
    lines.pop();
    return lines.map((line) => JSON.parse(line));
  }
}

module.exports = { History };
