'use strict';

/** Counters, in total and for each device. They only grow, and outlive the events they stand for. */

const TOTALS = [
  'upgrades', // WebSocket upgrades that were asked for
  'refused', // … and answered with an HTTP error
  'registrations', // connections of a client that is not paired
  'pairings',
  'logins', // logins answered with <success>
  'loginFailures', // … and with <failure>
  'conflicts', // logins of a device that had another open socket, of a process that was not dead
  'conflictsAnswering', // … whose client was still answering: a live client was kicked
  'messages',
  'pings',
  'errors', // stanzas the endpoint could not handle: a bug in it, or a client it does not know
];

const PER_DEVICE = [
  'logins',
  'loginFailures',
  'conflicts',
  'conflictsAnswering',
  'messages',
  'pings',
];

class Stats {
  #totals = Object.fromEntries(TOTALS.map((name) => [name, 0]));
  #devices = new Map();

  count(name, jid) {
    this.#totals[name] += 1;
    if (jid !== undefined) this.#of(jid)[name] += 1;
  }

  /** @param {Map<string, object>} live the connection of each device that is logged in */
  report(live, devices) {
    const perDevice = {};
    for (const { jid, removed } of devices) {
      perDevice[jid] = { ...this.#of(jid), online: live.has(jid), removed };
    }
    return { ...this.#totals, online: live.size, devices: perDevice };
  }

  #of(jid) {
    let counters = this.#devices.get(jid);
    if (!counters) {
      counters = Object.fromEntries(PER_DEVICE.map((name) => [name, 0]));
      this.#devices.set(jid, counters);
    }
    return counters;
  }
}

module.exports.Stats = Stats;
