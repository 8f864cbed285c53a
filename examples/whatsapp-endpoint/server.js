'use strict';

/**
 * The endpoint: a WebSocket server on this machine that plays WhatsApp for the real client.
 *
 * It owns the parts (the "world" that they reach each other through), which socket a device is
 * logged in with, and the moment when a second login of a device takes the first one's place.
 */

const http = require('node:http');
const { once } = require('node:events');
const { setImmediate: turn } = require('node:timers/promises');
const { WebSocketServer } = require('ws');

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
const { startControl } = require('./control');
const { node } = require('./stanzas');

const HOST = '127.0.0.1';

class World {
  /** Device address → the connection it is logged in with. */
  live = new Map();
  connections = new Set();
  stats = new Stats();
  #answerWithinMs;

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

  connect(socket, who) {
    const connection = new Connection(this, socket, who);
    this.connections.add(connection);
    connection.whenClosed(() => {
      this.connections.delete(connection);
      if (this.live.get(connection.jid) === connection) this.live.delete(connection.jid);
    });
  }

  /**
   * Makes `connection` the one of its device. If another is open, that is a conflict: it is counted
   * at once and the other is kicked; the event follows when it is known whether its client answers.
   */
  async takePlace(connection, device) {
    // The end of a socket that has already arrived at this machine may still wait to be read: two
    // turns of the event loop see to it that a clean handover is not taken for a conflict.
    await turn();
    await turn();
    const { jid } = device;
    const other = this.live.get(jid);
    if (connection.isOpen) this.live.set(jid, connection);
    if (connection.isOpen && other?.isOpen) this.#conflict(jid, other, connection);
  }

  #conflict(jid, kicked, by) {
    const moment = EventLog.now();
    const kickedHeardMsAgo = moment.monoMs - kicked.heardMs;
    this.stats.count('conflicts', jid);
    const probe = kicked.probe(this.#answerWithinMs);
    kicked.replaced();
    probe.then((answeredAfterMs) => {
      const kickedAnswering = answeredAfterMs !== null;
      if (kickedAnswering) this.stats.count('conflictsAnswering', jid);
      const seen = { kickedAnswering, answeredAfterMs, kickedHeardMsAgo };
      this.log.add('conflict', { jid, conn: by.id, kicked: kicked.id, ...seen }, moment);
    });
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

/**
 * @param {object} [options]
 * @param {number} [options.port] of the WebSocket; any free one by default
 * @param {number} [options.controlPort] of the HTTP control interface; any free one by default
 * @param {string} [options.state] file that keeps linked devices over a restart
 * @param {number} [options.maxEvents] how many events the log keeps
 * @param {number} [options.answerWithinMs] how soon a kicked client must be heard of to count as live
 */
async function startEndpoint({
  port = 0,
  controlPort = 0,
  state,
  maxEvents = 200_000,
  answerWithinMs = 500,
} = {}) {
  const baileys = await import('baileys');
  const world = new World(baileys, { state, maxEvents, answerWithinMs });
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  const server = http.createServer((request, response) => {
    response.writeHead(426, { 'content-type': 'text/plain' }).end('a WebSocket endpoint\n');
  });

  let upgrades = 0;
  server.on('upgrade', (request, socket, head) => {
    const id = ++upgrades;
    const jid = new URL(request.url, 'ws://endpoint').searchParams.get('jid') ?? undefined;
    world.stats.count('upgrades');
    const fault = world.faults.at('upgrade', jid);
    if (fault) {
      world.stats.count('refused');
      world.log.add('refused', { conn: id, jid, code: fault.code });
      refuse(socket, fault.code);
      return;
    }
    world.log.add('upgrade', { conn: id, jid });
    sockets.handleUpgrade(request, socket, head, (ws) => world.connect(ws, { id, jid }));
  });

  server.listen(port, HOST);
  await once(server, 'listening');
  const endpoint = {
    port: server.address().port,
    url: `ws://${HOST}:${server.address().port}`,
    stats: () => ({
      ...world.stats.report(world.live, world.devices),
      connections: world.connections.size,
      faults: world.faults.list(),
      lastSeq: world.log.lastSeq,
    }),
    events: (filter) => world.log.list(filter),
    waitFor: (matches, options) => world.log.waitFor(matches, options),
    scan: (qr, options) => world.pairing.scan(qr, options),
    fail: (mode, options) => world.faults.add(mode, options, world.connections),
    heal: (id) => world.faults.heal(id, world.connections),
    removeDevice: (jid) => world.removeDevice(jid),
    sendText: (jid, text, options) =>
      world.messages.sendText(world.devices.select(jid), text, options),
    async close() {
      for (const connection of world.connections) connection.terminate('endpoint closed');
      control.close();
      await new Promise((resolve) => server.close(resolve));
      world.state.close();
    },
  };
  const control = await startControl(endpoint, { host: HOST, port: controlPort });
  endpoint.controlUrl = control.url;
  return endpoint;
}

/** Answers an upgrade with an HTTP error, as a load balancer in front of the server does. */
function refuse(socket, code) {
  const status = `${code} ${http.STATUS_CODES[code] ?? 'Refused'}`;
  socket.on('error', () => {});
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

module.exports.startEndpoint = startEndpoint;
