'use strict';

/**
 * What the page shows, as server-sent events: at once when something changes here, and every second,
 * since other instances change things too and times go on.
 */

const { createHash } = require('node:crypto');
const os = require('node:os');

const config = require('../config');
const baileysService = require('../services/baileysService');

const EVERY_MS = 1000;
/** What changes at the same time is told at once. */
const TOGETHER_MS = 50;
const MAX_CLIENTS = 100;

const clients = new Set();
let timer;
let soon;
let telling = false;

/** A QR code links a phone: the page gets a picture of it, and here only a sign that it is new. */
function withoutCode({ qrCode, ...agent }) {
  const qr = qrCode && createHash('sha256').update(qrCode).digest('base64url').slice(0, 12);
  return { ...agent, qr };
}

async function state() {
  const agents = await baileysService.list();
  agents.sort((a, b) => a.agentId.localeCompare(b.agentId, 'en', { numeric: true }));
  return {
    server: { name: process.env.INSTANCE_ID || os.hostname(), pid: process.pid },
    agents: agents.map(withoutCode),
    limits: {
      connects: config.whatsappInitLimit,
      messages: config.messageSendLimit,
      agentMessages: config.agentSendsPerMinute,
    },
    demo: Boolean(config.demoControlUrl),
  };
}

async function tell() {
  clearTimeout(soon);
  soon = undefined;
  if (telling) return; // a database that hangs is asked once; the next second tells what came
  telling = true;
  let event;
  try {
    event = `data: ${JSON.stringify(await state())}\n\n`;
  } catch (error) {
    event = `: ${error.code ?? 'failed'}\n\n`; // the next look may succeed
  }
  telling = false;
  for (const response of clients) {
    if (!response.writableNeedDrain) response.write(event); // who is slow gets the next one
  }
}

function changed() {
  if (clients.size > 0) soon ??= setTimeout(tell, TOGETHER_MS);
}

function live(request, response) {
  if (clients.size >= MAX_CLIENTS) {
    response.status(503).set('Retry-After', '10').json({ error: 'too many pages are open' });
    return;
  }
  response.set({ 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  response.flushHeaders();
  clients.add(response);
  timer ??= setInterval(tell, EVERY_MS);
  response.once('close', () => {
    clients.delete(response);
    if (clients.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  });
  changed();
}

/** Ends all streams, or the server would never be closed. */
function close() {
  for (const response of clients) response.end();
}

baileysService.changes.on('change', changed);

module.exports = { live, close };
