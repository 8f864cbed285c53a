'use strict';

// The options of rateLimit(): defaults, old names, and what can be told of them at once.

const { isIPv6 } = require('node:net');
const { checkExtensions } = require('./extensions');
const { windowName } = require('./headers');
const { ipKeyGenerator } = require('./ip-key');
const { MemoryLimits } = require('./memory-limits');
const { MemoryStore } = require('./memory-store');
const { adoptStore } = require('./stores');
const { proceed } = require('./then');
const { Validations } = require('./validations');

/** `console` wants the message first. */
const consoleLogger = {
  warn: (error, ...message) => console.warn(...message, error),
  error: (error, ...message) => console.error(...message, error),
};

function checkLogger(logger) {
  const usable =
    typeof logger === 'object' &&
    typeof logger.error === 'function' &&
    typeof logger.warn === 'function';
  if (!usable) throw new TypeError('option logger: needs the functions error and warn');
}

function withoutUndefined(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/**
 * @param {object} passed what the user gave; it is not changed
 * @param {(options: object) => object} databaseLimits makes what `store: 'database'` counts with
 * @returns {{ options: object, validations: Validations, decides: boolean }}
 *   `decides` tells whether the store decides with the limit, or counts without
 */
function parseOptions(passed, databaseLimits) {
  const given = withoutUndefined(passed);
  const logger = passed.logger ?? consoleLogger;
  checkLogger(logger);
  const validations = new Validations(given.validate ?? true, logger);
  validations.run('validationsConfig', validations.enabled);
  validations.run('knownOptions', passed);
  validations.run('draftPolliHeaders', given.draft_polli_ratelimit_headers);
  validations.run('onLimitReached', given.onLimitReached);
  if (given.ipv6Subnet !== undefined && typeof given.ipv6Subnet !== 'function') {
    validations.run('ipv6Subnet', given.ipv6Subnet);
  }
  validations.run('keyGeneratorIpFallback', given.keyGenerator);
  validations.run('ipv6SubnetOrKeyGenerator', given);

  const standardHeaders = given.standardHeaders ?? false;
  const options = {
    windowMs: 60_000,
    limit: passed.max ?? 5,
    message: 'Too many requests, please try again later.',
    statusCode: 429,
    legacyHeaders: passed.headers ?? true,
    identifier: (request) =>
      `${request[options.requestPropertyName].limit}-in-${windowName(options.windowMs)}`,
    requestPropertyName: 'rateLimit',
    skipFailedRequests: false,
    skipSuccessfulRequests: false,
    requestWasSuccessful: (_request, response) => response.statusCode < 400,
    skip: () => false,
    keyGenerator: (request, response) => keyByIp(options, validations, request, response),
    ipv6Subnet: 56,
    handler: (request, response) => refuse(options, request, response),
    passOnStoreError: false,
    ...given,
    standardHeaders: standardHeaders === true ? 'draft-6' : standardHeaders,
    validate: validations.enabled,
    logger,
  };
  const decides = checkExtensions(options);
  options.store = storeOf(options, decides, databaseLimits);
  return { options, validations, decides };
}

function storeOf(options, decides, databaseLimits) {
  const { algorithm = 'fixed-window', store = 'memory' } = options;
  if (store === 'database') return databaseLimits({ ...options, algorithm });
  if (store !== 'memory') return adoptStore(store);
  return decides
    ? new MemoryLimits({ ...options, algorithm })
    : new MemoryStore({ maxKeys: options.maxKeys });
}

/** The default key: the client's IP address, or the network an IPv6 address is from. */
function keyByIp(options, validations, request, response) {
  const { ip } = request;
  const { pending } = validations;
  if (pending.ip) validations.run('ip', ip);
  if (pending.trustProxy) validations.run('trustProxy', request);
  if (pending.xForwardedForHeader) validations.run('xForwardedForHeader', request);
  if (pending.forwardedHeader) validations.run('forwardedHeader', request);
  if (typeof ip === 'string' && !ip.includes(':')) return ip;
  if (!isIPv6(ip) || typeof options.ipv6Subnet !== 'function') {
    return ipKeyGenerator(ip, options.ipv6Subnet);
  }
  return proceed(options.ipv6Subnet(request, response), (subnet) => {
    validations.run('ipv6Subnet', subnet);
    return ipKeyGenerator(ip, subnet);
  });
}

/** The default handler: status and message. */
function refuse(options, request, response) {
  response.status(options.statusCode);
  const { message } = options;
  if (typeof message !== 'function') return send(response, message);
  return proceed(message(request, response), (body) => send(response, body));
}

function send(response, body) {
  if (!response.writableEnded) response.send(body);
}

module.exports = { consoleLogger, parseOptions };
