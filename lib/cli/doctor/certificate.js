'use strict';

// The certificate of a PostgreSQL server, looked at by a handshake of our own: until when it is
// valid, which a connection that does not check it never tells.
// https://www.postgresql.org/docs/current/protocol-message-formats.html (SSLRequest)

const net = require('node:net');
const tls = require('node:tls');

const { sqliteFile, tryUrl } = require('../database-url');
const { duration } = require('../output');

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
const TIMEOUT_MS = 5000;
const SOON_MS = 14 * 24 * 60 * 60 * 1000;

async function checkCertificate(findings, url, now = Date.now()) {
  const target = sqliteFile(url) === undefined ? tryUrl(url) : undefined;
  // A socket of this machine has no certificate.
  if (!target?.hostname || target.hostname.startsWith('%2F') || target.searchParams.has('host'))
    return;
  let certificate;
  try {
    certificate = await certificateOf(target.hostname.replace(/^\[|\]$/g, ''), target.port || 5432);
  } catch {
    return; // a server that cannot be reached is told by the check of the database
  }
  if (!certificate) return; // no TLS: told by the check of the connection
  const validFor = Date.parse(certificate.valid_to) - now;
  const day = new Date(certificate.valid_to).toISOString().slice(0, 10);
  const mend = 'renew the certificate of the database server';
  if (validFor < 0) findings.failure('certificate', `has expired on ${day}`, mend);
  else if (Date.parse(certificate.valid_from) > now) {
    findings.failure('certificate', `is valid from ${certificate.valid_from} only`, mend);
  } else if (validFor < SOON_MS) {
    findings.warning('certificate', `expires in ${duration(validFor)}, on ${day}`, mend);
  } else findings.ok('certificate', `valid until ${day}`);
}

/** The certificate that a server shows; undefined where it speaks no TLS. */
function certificateOf(host, port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port: Number(port) });
    const done = (settle, value) => {
      socket.destroy();
      settle(value);
    };
    socket.setTimeout(TIMEOUT_MS, () => done(reject, new Error('no answer')));
    socket.once('error', (error) => done(reject, error));
    socket.once('connect', () => socket.write(SSL_REQUEST));
    socket.once('close', () => reject(new Error('closed')));
    socket.once('data', (answer) => {
      if (answer[0] !== 0x53 /* S */) return done(resolve, undefined);
      const options = { socket, rejectUnauthorized: false };
      if (net.isIP(host) === 0) options.servername = host;
      // It is only looked at here; whether it is trusted, the guard's own connection decides.
      const secure = tls.connect(options, () => done(resolve, secure.getPeerCertificate()));
      secure.once('error', (error) => done(reject, error));
    });
  });
}

module.exports = { checkCertificate };
