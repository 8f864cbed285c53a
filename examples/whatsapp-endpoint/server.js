'use strict';

/**
 * The endpoint: a WebSocket server on this machine that plays WhatsApp for the real client. This file
 * listens, turns upgrades into connections, and offers what a test can ask for.
 */

const http = require('node:http');
const { once } = require('node:events');
const { WebSocketServer } = require('ws');

const { World } = require('./world');
const { makeControl } = require('./control');
const { toJid } = require('./addresses');

const HOST = '127.0.0.1';

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
  answerWithinMs = 1000,
} = {}) {
  const baileys = await import('baileys');
  const world = new World(baileys, { state, maxEvents, answerWithinMs });
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  const server = http.createServer((request, response) => {
    response.writeHead(426, { 'content-type': 'text/plain' }).end('a WebSocket endpoint\n');
  });

  let upgrades = 0;
  server.on('upgrade', (request, socket, head) => {
    const who = { id: ++upgrades, jid: whoseUpgrade(request.url) };
    const code = world.upgrade(who);
    if (code) refuse(socket, code);
    else sockets.handleUpgrade(request, socket, head, (ws) => world.connect(ws, who));
  });

  const endpoint = {
    stats: () => world.report(),
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
      await Promise.all([closeServer(server), closeServer(control)]);
      world.state.close();
    },
  };
  const control = makeControl(endpoint);
  try {
    endpoint.port = await listen(server, port);
    endpoint.url = `ws://${HOST}:${endpoint.port}`;
    endpoint.controlUrl = `http://${HOST}:${await listen(control, controlPort)}`;
  } catch (error) {
    await endpoint.close();
    throw error;
  }
  return endpoint;
}

async function listen(server, port) {
  server.listen(port, HOST);
  await once(server, 'listening');
  return server.address().port;
}

async function closeServer(server) {
  server.closeAllConnections();
  if (server.listening) await new Promise((resolve) => server.close(resolve));
}

/** The device that the URL names by `?jid=`, for faults that strike before the login tells. */
function whoseUpgrade(url) {
  const hint = new URL(url, 'ws://endpoint').searchParams.get('jid');
  return hint === null ? undefined : toJid(hint);
}

/** Answers an upgrade with an HTTP error, as a load balancer in front of the server does. */
function refuse(socket, code) {
  const status = `${code} ${http.STATUS_CODES[code] ?? 'Refused'}`;
  socket.on('error', () => {});
  const response = `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
  // Not half-closed: a frozen client would keep the server from closing.
  socket.end(response, () => socket.destroy());
}

module.exports.startEndpoint = startEndpoint;
