'use strict';

// Options of a guard: explicit ones, then the environment, then the defaults.

const { randomBytes } = require('node:crypto');
const os = require('node:os');

const { checkBooleanOption, describe, problemOfId } = require('./arguments');
const { invalidOption } = require('./errors');

const MIN_TTL_MS = 100;
const MAX_TTL_MS = 24 * 60 * 60 * 1000;
const KNOWN = new Set([
  'databaseUrl',
  'instanceId',
  'instanceHostname',
  'leaseTtlMs',
  'encryptionKey',
  'previousEncryptionKeys',
  'acceptPlaintext',
  'acceptLegacy',
  'onStoreLost',
  'maxConnections',
  'logger',
]);

/** Fresh for every process: two containers with one host name and pid 1 never share it. */
function freshInstanceId(hostname) {
  const started = Math.round(Date.now() - process.uptime() * 1000);
  return `${hostname}-${process.pid}-${started}-${randomBytes(4).toString('hex')}`;
}

function number(value, option, { min, max, integer = false }) {
  if (typeof value !== 'number' || !(value >= min && value <= max)) {
    throw invalidOption(
      option,
      `must be a number from ${min} to ${max}, got ${typeof value === 'number' ? value : describe(value)}`,
    );
  }
  if (integer && !Number.isInteger(value)) {
    throw invalidOption(option, `must be a whole number, got ${value}`);
  }
  return value;
}

/** From the environment everything is text; an option given as text is a mistake. */
function numberFromText(text, option, variable) {
  if (/^\s*-?\d+(\.\d+)?\s*$/.test(text)) return Number(text);
  throw invalidOption(option, `must be a number, got ${JSON.stringify(text)} from ${variable}`);
}

function id(value, option) {
  const problem = problemOfId(value);
  if (problem) throw invalidOption(option, problem);
  return value;
}

function checkLogger(logger) {
  for (const level of ['debug', 'info', 'warn', 'error']) {
    if (typeof logger?.[level] !== 'function') {
      throw invalidOption('logger', `must have the methods debug, info, warn and error`);
    }
  }
  return logger;
}

/**
 * @param {object} [given]
 * @param {Record<string, string | undefined>} [env]
 * @returns every option with a usable value, or undefined where there is none
 */
function resolveOptions(given = {}, env = process.env) {
  if (given === null || typeof given !== 'object' || Array.isArray(given)) {
    throw invalidOption('options', `must be an object, got ${describe(given)}`);
  }
  for (const name of Object.keys(given)) {
    if (!KNOWN.has(name)) throw invalidOption(name, 'is not an option of baileys-guard');
  }
  // An empty variable is how compose files and shells write "not set".
  const from = (option, variable, parse = (text) => text) =>
    given[option] ?? (env[variable] ? parse(env[variable], option, variable) : undefined);

  const instanceHostname = id(given.instanceHostname ?? os.hostname(), 'instanceHostname');
  const databaseUrl = from('databaseUrl', 'DATABASE_URL') ?? 'sqlite:baileys-guard.db';
  if (typeof databaseUrl !== 'string' || databaseUrl.trim() === '') {
    throw invalidOption('databaseUrl', `must be a URL, got ${describe(databaseUrl)}`);
  }
  const onStoreLost = given.onStoreLost ?? 'release';
  if (onStoreLost !== 'release' && onStoreLost !== 'keep') {
    throw invalidOption('onStoreLost', "must be 'release' or 'keep'");
  }
  return {
    databaseUrl,
    instanceHostname,
    // Fits VARCHAR(255) of the host's table even where a host name is very long.
    instanceId: id(
      from('instanceId', 'INSTANCE_ID') ?? freshInstanceId(instanceHostname.slice(0, 200)),
      'instanceId',
    ),
    leaseTtlMs: number(from('leaseTtlMs', 'LEASE_TTL_MS', numberFromText) ?? 60_000, 'leaseTtlMs', {
      min: MIN_TTL_MS,
      max: MAX_TTL_MS,
    }),
    maxConnections: number(
      from('maxConnections', 'DATABASE_MAX_CONNECTIONS', numberFromText) ?? 5,
      'maxConnections',
      { min: 1, max: 1000, integer: true },
    ),
    encryptionKey: from('encryptionKey', 'CREDENTIALS_ENCRYPTION_KEY'),
    previousEncryptionKeys:
      from('previousEncryptionKeys', 'CREDENTIALS_ENCRYPTION_PREVIOUS_KEYS', (text) =>
        text.split(',').filter((key) => key.trim() !== ''),
      ) ?? [],
    acceptPlaintext: checkBooleanOption(given.acceptPlaintext ?? true, 'acceptPlaintext'),
    acceptLegacy: checkBooleanOption(given.acceptLegacy ?? true, 'acceptLegacy'),
    onStoreLost,
    logger: checkLogger(given.logger ?? console),
  };
}

module.exports = { resolveOptions };
