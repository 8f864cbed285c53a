'use strict';

// What a client is told: X-RateLimit-*, the three drafts of RateLimit-*, Retry-After.

const { hash } = require('node:crypto');

/** Seconds until `resetTime`, or the whole window when the store does not say. */
function resetSeconds(now, windowMs, resetTime) {
  if (!resetTime) return Math.ceil(windowMs / 1000);
  return Math.max(0, Math.ceil((resetTime.getTime() - now) / 1000));
}

// Formatting a date takes longer than deciding about a request, and it changes once a second.
let dateSecond = NaN;
let dateText = '';

function httpDate(now) {
  const second = Math.floor(now / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(now).toUTCString();
  }
  return dateText;
}

// The same for the second of a reset: it comes again for all hits of a window.
let resetAtSecond = NaN;
let resetAtText = '';

function epochSeconds(time) {
  const second = Math.ceil(time / 1000);
  if (second !== resetAtSecond) {
    resetAtSecond = second;
    resetAtText = second.toString();
  }
  return resetAtText;
}

// Hashing a key takes longer still. The keys that come are mostly those that came before.
const MAX_PARTITION_KEYS = 1000;
const partitionKeys = new Map();

/** A name for the client that does not tell who it is. */
function partitionKey(key) {
  let text = partitionKeys.get(key);
  if (text === undefined) {
    text = Buffer.from(hash('sha256', key, 'hex').slice(0, 12)).toString('base64');
    if (partitionKeys.size >= MAX_PARTITION_KEYS) partitionKeys.clear();
    if (typeof key === 'string') partitionKeys.set(key, text);
  }
  return text;
}

function setLegacyHeaders(response, info, now) {
  response.setHeader('X-RateLimit-Limit', info.limit.toString());
  response.setHeader('X-RateLimit-Remaining', info.remaining.toString());
  if (info.resetTime instanceof Date) {
    response.setHeader('Date', httpDate(now));
    response.setHeader('X-RateLimit-Reset', epochSeconds(info.resetTime.getTime()));
  }
}

function setDraft6Headers(response, info, now, windowMs) {
  const reset = resetSeconds(now, windowMs, info.resetTime);
  response.setHeader('RateLimit-Policy', `${info.limit};w=${Math.ceil(windowMs / 1000)}`);
  response.setHeader('RateLimit-Limit', info.limit.toString());
  response.setHeader('RateLimit-Remaining', info.remaining.toString());
  response.setHeader('RateLimit-Reset', reset.toString());
}

function setDraft7Headers(response, info, now, windowMs) {
  const reset = resetSeconds(now, windowMs, info.resetTime);
  response.setHeader('RateLimit-Policy', `${info.limit};w=${Math.ceil(windowMs / 1000)}`);
  response.setHeader(
    'RateLimit',
    `limit=${info.limit}, remaining=${info.remaining}, reset=${reset}`,
  );
}

/** Appends: several limiters on one route each tell theirs. */
function setDraft8Headers(response, info, now, windowMs, name) {
  const reset = resetSeconds(now, windowMs, info.resetTime);
  const partition = partitionKey(info.key);
  const window = Math.ceil(windowMs / 1000);
  response.append('RateLimit', `"${name}"; r=${info.remaining}; t=${reset}`);
  response.append('RateLimit-Policy', `"${name}"; q=${info.limit}; w=${window}; pk=:${partition}:`);
}

function setRetryAfter(response, info, now, windowMs, retryAfter) {
  const seconds = retryAfter ?? resetSeconds(now, windowMs, info.resetTime);
  response.setHeader('Retry-After', seconds.toString());
}

/** The window in words, as draft 8 names a policy by default. */
function windowName(windowMs) {
  const seconds = windowMs / 1000;
  if (seconds < 60) return `${seconds}sec`;
  const minutes = windowMs / 60_000;
  if (minutes < 60) return `${minutes}min`;
  const hours = windowMs / 3_600_000;
  if (hours < 24) return `${hours}hr${hours > 1 ? 's' : ''}`;
  const days = windowMs / 86_400_000;
  return `${days}day${days > 1 ? 's' : ''}`;
}

module.exports = {
  setLegacyHeaders,
  setDraft6Headers,
  setDraft7Headers,
  setDraft8Headers,
  setRetryAfter,
  windowName,
};
