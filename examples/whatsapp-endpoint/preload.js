'use strict';

/**
 * `node -r ./examples/whatsapp-endpoint/preload.js app.js` makes an unchanged application trust the
 * endpoint when WA_WEBSOCKET_URL points to this machine, and does nothing at all otherwise.
 *
 * It patches the copy of Baileys that the application will load, not the one next to this file, and
 * needs a Node that can `require` an ES module: 20.19, 22.12 or newer.
 */

const { createRequire } = require('node:module');
const path = require('node:path');
const { trustEndpoint, isLoopback } = require('./trust');

/** The copy of Baileys that a file would load; undefined if there is none. */
function baileysOf(file) {
  const load = createRequire(path.resolve(file));
  try {
    load.resolve('baileys');
  } catch {
    return undefined;
  }
  return load('baileys');
}

if (isLoopback(process.env.WA_WEBSOCKET_URL)) {
  const baileys = baileysOf(process.argv[1] ?? 'eval');
  if (baileys) trustEndpoint(baileys);
}
