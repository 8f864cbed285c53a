'use strict';

/** Makes WhatsApp sockets. */

const baileys = require('baileys');

const { waWebSocketUrl } = require('../config');
const logger = require('./logger');

// For tests and the demo only: drop this when you copy the file.
if (waWebSocketUrl) {
  require('../../../whatsapp-endpoint/trust').trustEndpoint(baileys, waWebSocketUrl);
}

function makeSocket(auth) {
  return baileys.makeWASocket({
    auth,
    logger,
    markOnlineOnConnect: false,
    syncFullHistory: false,
    // A write refused once is refused for good; by default Baileys tries for 27 s.
    transactionOpts: { maxCommitRetries: 1, delayBetweenTriesMs: 100 },
    ...(waWebSocketUrl && { waWebSocketUrl }),
  });
}

module.exports = { makeSocket };
