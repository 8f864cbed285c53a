'use strict';

/** Makes and closes WhatsApp sockets. */

const baileys = require('baileys');

const { waWebSocketUrl } = require('../config');
const logger = require('./logger');

/** How long WhatsApp may take to answer the closing of a socket. */
const CLOSE_TIMEOUT_MS = 2_000;

// For tests and the demo only: drop this when you copy the file.
if (waWebSocketUrl) {
  require('../../../whatsapp-endpoint/trust').trustEndpoint(baileys, waWebSocketUrl);
}

function makeSocket(auth) {
  const sock = baileys.makeWASocket({
    auth,
    logger,
    markOnlineOnConnect: false,
    syncFullHistory: false,
    // A write refused once is refused for good; by default Baileys tries for 27 s.
    transactionOpts: { maxCommitRetries: 1, delayBetweenTriesMs: 100 },
    ...(waWebSocketUrl && { waWebSocketUrl }),
  });
  // Baileys tells nobody when the upgrade to a WebSocket is answered with an HTTP error.
  sock.ws.on('unexpected-response', (request, response) => {
    sock.end(new Error(`WhatsApp answered with HTTP ${response.statusCode}`));
  });
  return sock;
}

/**
 * Ends a socket at once and cuts the connection when WhatsApp does not answer.
 * @param {Promise<void>} closed resolves with the 'close' of its `connection.update`
 */
async function closeSocket(sock, closed) {
  const cut = setTimeout(() => sock.ws.socket?.terminate(), CLOSE_TIMEOUT_MS);
  sock.end(undefined);
  await closed;
  clearTimeout(cut);
}

module.exports = { makeSocket, closeSocket };
