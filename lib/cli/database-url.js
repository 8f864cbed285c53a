'use strict';

// A database URL as it may be shown, and the file behind one.

const path = require('node:path');

/** Every password of a URL within a text, masked; one with an unescaped @ or / in it as well. */
function maskUrls(text) {
  return text
    .replace(/\b([a-z][a-z0-9+.-]*:\/\/[^\s:/?#@"']*):[^\s"']*@/gi, '$1:***@')
    .replace(/([?&](?:password|sslpassword)=)[^&\s"']*/gi, '$1***');
}

/** Where a database is, without anything secret. */
function describeDatabase(url) {
  const file = sqliteFile(url);
  if (file !== undefined) return `sqlite:${file}`;
  const parsed = tryUrl(url);
  if (!parsed) return `${url.split(':', 1)[0]}:…`;
  const user = parsed.username ? `${parsed.username}@` : '';
  return `${parsed.protocol}//${user}${parsed.host}${parsed.pathname}`;
}

function tryUrl(url) {
  try {
    return new URL(url);
  } catch {
    return undefined;
  }
}

/** Whether a password stands in it, for everybody on the machine to see in a command line. */
function holdsPassword(url) {
  return maskUrls(url) !== url;
}

/** The file of an SQLite URL, as `src/store/url.rs` reads it; undefined for other URLs. */
function sqliteFile(url) {
  const match = /^\s*(?:sqlite|file):(?:\/\/)?([^?]*)/i.exec(url);
  const file = match?.[1].trim();
  return file && file !== ':memory:' ? path.resolve(file) : undefined;
}

module.exports = { describeDatabase, holdsPassword, maskUrls, sqliteFile, tryUrl };
