'use strict';

/**
 * `node -r ./examples/whatsapp-endpoint/preload.js app.js` makes an unchanged application trust the
 * endpoint when WA_WEBSOCKET_URL points to this machine, and does nothing at all otherwise.
 *
 * It patches the copy of Baileys that the application will load, not the one next to this file.
 */

const { createRequire } = require('node:module');
const path = require('node:path');
const { trustEndpoint, isLoopback } = require('./trust');

if (isLoopback(process.env.WA_WEBSOCKET_URL)) {
  const application = process.argv[1] ? path.resolve(process.argv[1]) : path.resolve('repl.js');
  trustEndpoint(createRequire(application)('baileys'));
}
