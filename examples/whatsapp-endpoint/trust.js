'use strict';

/**
 * Makes a client trust the endpoint: Baileys checks the server's certificate against
 * `WA_CERT_DETAILS.PUBLIC_KEY`, which is replaced here, in this process only, by the test root.
 *
 * The test root's private key is public knowledge, so it is set for a loopback address only; with any
 * other address, or none, this throws and nothing changes.
 */

const { rootKey } = require('./keys');

const LOOPBACK = new Set(['localhost', '[::1]']);

/** Whether `url` is a WebSocket address of this machine. */
function isLoopback(url) {
  if (!URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  if (protocol !== 'ws:' && protocol !== 'wss:') return false;
  return LOOPBACK.has(hostname) || /^127(\.\d{1,3}){3}$/.test(hostname);
}

/**
 * @param {object} baileys what `require('baileys')` or `await import('baileys')` gave
 * @param {string} [url] where the client will connect to
 */
function trustEndpoint(baileys, url = process.env.WA_WEBSOCKET_URL) {
  if (!isLoopback(url)) {
    throw new Error(
      `the test root is trusted for a loopback WebSocket address only, not for ${url}; ` +
        'set WA_WEBSOCKET_URL to the address of the offline endpoint',
    );
  }
  baileys.WA_CERT_DETAILS.PUBLIC_KEY = rootKey.public;
}

module.exports.trustEndpoint = trustEndpoint;
module.exports.isLoopback = isLoopback;
