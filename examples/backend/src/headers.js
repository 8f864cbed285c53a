'use strict';

/** What every answer says to a browser, and which requests of a browser are not answered. */

const config = require('./config');
const { HttpError } = require('./errors');

/** Nothing from elsewhere, nothing inline. Only the demo shows two servers in one page. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  `frame-ancestors ${config.demoControlUrl ? 'http://127.0.0.1:*' : "'none'"}`,
].join('; ');

function headers(request, response, next) {
  response.set({
    'Content-Security-Policy': POLICY,
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
  });
  next();
}

/** A page of somebody else's must not connect or disconnect anything in its visitor's name. */
function sameSite(request, response, next) {
  const from = request.get('sec-fetch-site') ?? 'none'; // no browser says none
  const reads = request.method === 'GET' || request.method === 'HEAD';
  if (reads || from === 'none' || from === 'same-origin') return next();
  throw new HttpError(403, 'requests of other sites are not answered');
}

module.exports = { headers, sameSite };
