'use strict';

/**
 * The endpoint's remote control: HTTP with JSON bodies, on this machine only. Each route is one call
 * of the endpoint; what the call throws for wrong arguments is answered with 400 and `{ error }`.
 */

const http = require('node:http');

const MAX_BODY = 64 * 1024;
/** Longest wait of GET /events; longer than any test should need, shorter than a stuck connection. */
const MAX_WAIT_MS = 60_000;

/** Method and path → what is called with the endpoint and the query or body. */
const ROUTES = {
  'GET /stats': (endpoint) => endpoint.stats(),
  'GET /events': listEvents,
  'POST /scan': (endpoint, { qr, ...options }) => endpoint.scan(qr, options),
  'POST /fail': (endpoint, { mode, ...options }) => endpoint.fail(mode, options),
  'POST /heal': (endpoint, { id }) => endpoint.heal(id),
  'POST /remove-device': (endpoint, { jid }) => ({ removed: endpoint.removeDevice(jid) }),
  'POST /send-text': (endpoint, { jid, text, ...options }) => endpoint.sendText(jid, text, options),
};

/**
 * Events after `since`, of `type`, about the device `jid`. With `waitMs`, the answer comes as soon as
 * there is at least one, or empty when that time has passed.
 */
async function listEvents(endpoint, { since = '0', type, jid, waitMs = '0' }) {
  const after = numberFrom('since', since);
  const timeoutMs = Math.min(numberFrom('waitMs', waitMs), MAX_WAIT_MS);
  const matches = (event) =>
    (type === undefined || event.type === type) && (jid === undefined || event.jid === jid);
  const find = () => endpoint.events({ since: after, type }).filter(matches);
  let events = find();
  if (events.length === 0 && timeoutMs > 0) {
    await endpoint.waitFor(matches, { since: after, timeoutMs });
    events = find();
  }
  return { events, lastSeq: endpoint.stats().lastSeq };
}

function numberFrom(name, text) {
  const value = Number(text);
  if (!(value >= 0)) throw new TypeError(`${name} is not a number: ${text}`);
  return value;
}

async function readBody(request) {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk;
    if (text.length > MAX_BODY) throw new RangeError(`the body is over ${MAX_BODY} characters`);
  }
  const body = text === '' ? {} : JSON.parse(text);
  if (body === null || typeof body !== 'object') throw new TypeError('the body is not an object');
  return body;
}

async function answer(endpoint, request) {
  const { pathname, searchParams } = new URL(request.url, 'http://control');
  const route = `${request.method} ${pathname}`;
  if (!Object.hasOwn(ROUTES, route)) {
    return {
      status: 404,
      body: { error: `no ${route}; there is ${Object.keys(ROUTES).join(', ')}` },
    };
  }
  try {
    const input =
      request.method === 'GET' ? Object.fromEntries(searchParams) : await readBody(request);
    return { status: 200, body: (await ROUTES[route](endpoint, input)) ?? {} };
  } catch (error) {
    return { status: 400, body: { error: error.message } };
  }
}

/** The HTTP server of the remote control, not listening yet. */
function makeControl(endpoint) {
  return http.createServer(async (request, response) => {
    const { status, body } = await answer(endpoint, request);
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(`${JSON.stringify(body)}\n`);
  });
}

module.exports.makeControl = makeControl;
