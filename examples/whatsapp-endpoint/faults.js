'use strict';

/**
 * What goes wrong, on request of a test.
 *
 * A fault is a mode and a moment. Those of the moment `now` strike the sockets that stand, once; a
 * stanza only those whose handshake is done. The others wait for sockets that reach a stage: `upgrade`
 * (the HTTP request), `connect` (the socket stands, nothing was said), `login` (the client has proved
 * who it is), `open` (after `<success>`); each strikes `count` times, or until healed.
 */

const { parseTarget, targets } = require('./addresses');

/** Mode → the moments it can strike at, the default first, and its default code. */
const MODES = {
  http: { moments: ['upgrade'], code: 503 },
  silence: { moments: ['connect', 'login', 'open', 'now'] },
  drop: { moments: ['now', 'connect', 'login', 'open'] },
  conflict: { moments: ['now', 'open'], stanza: true },
  'stream-error': { moments: ['now', 'login', 'open'], code: 503, stanza: true },
  failure: { moments: ['login'], code: 503 },
};

class Faults {
  #standing = [];
  #log;
  #lastId = 0;

  constructor(log) {
    this.#log = log;
  }

  /**
   * @param {string} mode http, silence, drop, conflict, stream-error or failure
   * @param {object} [options]
   * @param {string} [options.when] the moment; see MODES
   * @param {string} [options.jid] strike this device only (number, phone or device address); before
   *   `login` a socket is known by `?jid=` in its URL alone
   * @param {number} [options.count] how often to strike; until healed by default
   * @param {number} [options.code] HTTP status, stream error code or failure reason
   * @param {number} [options.afterMs] at `open`: how long after the login
   * @param {Iterable<object>} connections those open now
   * @returns {{ id: number, struck: number }}
   */
  add(mode, options, connections) {
    const fault = this.#check(mode, options);
    this.#log.add('fault', { ...fault, count: fault.count === Infinity ? undefined : fault.count });
    if (fault.when === 'now') {
      const needsHandshake = MODES[mode].stanza;
      for (const connection of [...connections]) {
        const ready = needsHandshake ? connection.isEstablished : connection.isOpen;
        if (ready && this.#strikes(fault, connection.jid)) connection.suffer(fault);
      }
    } else {
      this.#standing.push(fault);
    }
    return { id: fault.id, struck: fault.struck };
  }

  /** The fault that strikes a socket at this moment, if any; the one asked for first wins. */
  at(when, jid) {
    return this.#standing.find((fault) => fault.when === when && this.#strikes(fault, jid));
  }

  /** Ends one fault, or all. What was struck by silence is answered again. */
  heal(id, connections) {
    const healed = (fault) => id === undefined || fault.id === id;
    this.#standing = this.#standing.filter((fault) => !healed(fault));
    for (const connection of [...connections]) {
      if (connection.silencedBy && healed(connection.silencedBy)) connection.unmute();
    }
    this.#log.add('heal', { id });
  }

  list() {
    return this.#standing.map((fault) => ({
      ...fault,
      count: fault.count === Infinity ? null : fault.count,
    }));
  }

  #strikes(fault, jid) {
    if (fault.struck >= fault.count) return false;
    if (fault.jid !== undefined && !(jid && targets(fault.jid, jid))) return false;
    fault.struck += 1;
    return true;
  }

  #check(mode, options = {}) {
    if (!Object.hasOwn(MODES, mode)) {
      throw new TypeError(`unknown fault ${mode}; known: ${Object.keys(MODES).join(', ')}`);
    }
    const { moments, code: defaultCode } = MODES[mode];
    const { when = moments[0], jid, count = Infinity, code = defaultCode, afterMs } = options;
    const unknown = Object.keys(options).find((name) => !KNOWN_OPTIONS.has(name));
    if (unknown) throw new TypeError(`unknown option ${unknown} of fault ${mode}`);
    if (!moments.includes(when)) {
      throw new TypeError(`fault ${mode} cannot strike at ${when}, only at ${moments.join(', ')}`);
    }
    if (count !== Infinity && !(Number.isInteger(count) && count > 0)) {
      throw new TypeError(`count of fault ${mode} is not a positive integer: ${count}`);
    }
    if (options.code !== undefined && (!defaultCode || !isCode(code))) {
      throw new TypeError(`fault ${mode} does not take the code ${code}`);
    }
    if (afterMs !== undefined && (when !== 'open' || !(afterMs >= 0))) {
      throw new TypeError(`afterMs (${afterMs}) goes with the moment open, and is not negative`);
    }
    if (jid !== undefined) parseTarget(jid);
    return { id: ++this.#lastId, mode, when, jid, count, code, afterMs, struck: 0 };
  }
}

const KNOWN_OPTIONS = new Set(['when', 'jid', 'count', 'code', 'afterMs']);

function isCode(code) {
  return Number.isInteger(code) && code >= 100 && code <= 999;
}

module.exports.Faults = Faults;
