'use strict';

/**
 * The parts of an endpoint, which reach each other through this object, and what concerns several of
 * them: which socket a device is logged in with, and the moment when a second login of a device takes
 * the first one's place.
 */

const { setImmediate: turn } = require('node:timers/promises');

const { EventLog } = require('./event-log');
const { StateFile } = require('./state-file');
const { Stats } = require('./stats');
const { Faults } = require('./faults');
const { Devices } = require('./devices');
const { Phones } = require('./phone');
const { Pairing } = require('./pairing');
const { Messages } = require('./messages');
const { Connection } = require('./connection');
const { makeServerIdentity } = require('./noise');
const { node } = require('./stanzas');

class World {
  /** Device address → the connection it is logged in with. */
  live = new Map();
  connections = new Set();
  stats = new Stats();
  #answerWithinMs;
  /** Kicked sockets of which it is not known yet whether their clients live. */
  #judging = 0;

  constructor(baileys, { state, maxEvents, answerWithinMs }) {
    this.baileys = baileys;
    this.identity = makeServerIdentity(baileys);
    this.state = new StateFile(state);
    this.log = new EventLog(maxEvents);
    this.faults = new Faults(this.log);
    this.devices = new Devices(this.state);
    this.phones = new Phones(baileys, this.state);
    this.pairing = new Pairing(this);
    this.messages = new Messages(this);
    this.#answerWithinMs = answerWithinMs;
  }

  /** Someone asks for a WebSocket: gives the HTTP status that refuses it, if a fault wants that. */
  upgrade({ id, jid }) {
    this.stats.count('upgrades');
    const fault = this.faults.at('upgrade', jid);
    if (!fault) {
      this.log.add('upgrade', { conn: id, jid });
      return undefined;
    }
    this.stats.count('refused');
    this.log.add('refused', { conn: id, jid, code: fault.code });
    return fault.code;
  }

  connect(socket, who) {
    const connection = new Connection(this, socket, who);
    this.connections.add(connection);
    connection.whenClosed(() => {
      this.connections.delete(connection);
      if (this.live.get(connection.jid) === connection) this.live.delete(connection.jid);
    });
  }

  /** Makes `connection` the one of its device, and kicks the one that is open, if any. */
  async takePlace(connection, device) {
    // The end of a socket that has already arrived at this machine may still wait to be read: two
    // turns of the event loop see to it that a clean handover is not taken for a conflict.
    await turn();
    await turn();
    if (!connection.isOpen) return;
    const other = this.live.get(device.jid);
    this.live.set(device.jid, connection);
    if (other?.isOpen) this.#kick(device.jid, other, connection);
  }

  /**
   * Kicks a socket whose place was taken, at once, as WhatsApp does, and judges when it is known what
   * became of its client. A process that is killed keeps its sockets until the kernel has cleared it
   * away, which takes a while on a busy machine: kicking a dead one is no conflict.
   */
  #kick(jid, kicked, by) {
    const moment = EventLog.now();
    const kickedHeardMsAgo = moment.monoMs - kicked.heardMs;
    this.#judging += 1;
    const probe = kicked.probe(this.#answerWithinMs);
    kicked.replaced();
    probe.then(({ life, afterMs }) => {
      this.#judging -= 1;
      const kickedAnswering = life === 'answering';
      if (life !== 'dead') this.stats.count('conflicts', jid);
      if (kickedAnswering) this.stats.count('conflictsAnswering', jid);
      const answeredAfterMs = kickedAnswering ? afterMs : null;
      const judged = life === 'dead' ? {} : { kickedAnswering, answeredAfterMs };
      const event = { jid, conn: by.id, kicked: kicked.id, ...judged, kickedHeardMsAgo };
      this.log.add(life === 'dead' ? 'kicked-dead' : 'conflict', event, moment);
    });
  }

  report() {
    return {
      ...this.stats.report(this.live, this.devices),
      conflictsJudging: this.#judging,
      connections: this.connections.size,
      faults: this.faults.list(),
      lastSeq: this.log.lastSeq,
    };
  }

  /** The client asks for what waits for it; the first time its phone introduces itself. */
  activated(connection) {
    const { device } = connection;
    connection.active = true;
    this.log.add('active', { conn: connection.id, jid: device.jid });
    this.messages.flush(connection);
    if (!device.record.synced) {
      device.update({ synced: true });
      this.messages.introduce(device).catch((error) => connection.broken(error));
    }
  }

  /** The client has logged out of its own accord. */
  loggedOut(connection) {
    this.log.add('logout', { conn: connection.id, jid: connection.jid });
    connection.device.update({ removed: true });
  }

  /** The phone's owner removes linked devices; gives their addresses. */
  removeDevice(target) {
    return this.devices.select(target).map((device) => {
      device.update({ removed: true });
      this.log.add('removed', { jid: device.jid });
      const reason = node('conflict', { type: 'device_removed' });
      this.live.get(device.jid)?.streamError({ code: '401' }, reason);
      return device.jid;
    });
  }
}

module.exports.World = World;
