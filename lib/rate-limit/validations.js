'use strict';

// Checks that tell of likely misconfigurations, with express-rate-limit's names and codes.
//
// Each runs once for a limiter and then turns itself off. None of them changes what is admitted:
// what a check finds, or throws, is logged and that is all.

const { isIP } = require('node:net');

const DRAFTS = ['draft-6', 'draft-7', 'draft-8'];
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Every option that is known; the last three are express-slow-down's. */
const KNOWN_OPTIONS = new Set(
  (
    'windowMs limit max message statusCode legacyHeaders headers standardHeaders identifier ' +
    'retryAfter requestPropertyName skipFailedRequests skipSuccessfulRequests keyGenerator ' +
    'ipv6Subnet handler skip requestWasSuccessful store validate passOnStoreError logger ' +
    'algorithm burst name maxKeys insurance ' +
    'draft_polli_ratelimit_headers delayAfter delayMs maxDelayMs'
  ).split(' '),
);

class ValidationError extends Error {
  constructor(code, message) {
    const help = `https://express-rate-limit.github.io/${code}/`;
    super(`${message} (${help})`);
    this.name = new.target.name;
    this.code = code;
    this.help = help;
  }
}

/** Logged as a warning: something that works otherwise than in earlier versions. */
class ChangeWarning extends ValidationError {}

function problem(code, message) {
  const Class = code.startsWith('WRN_') ? ChangeWarning : ValidationError;
  throw new Class(code, message);
}

// These two look across limiters, so they belong to the process. They hold nothing alive.
const usedStores = new WeakSet();
const countedByRequest = new WeakMap();

const CHECKS = {
  ip(ip) {
    if (ip === undefined) {
      problem(
        'ERR_ERL_UNDEFINED_IP_ADDRESS',
        'request.ip is undefined: the connection may be gone, or the server is set up wrongly.',
      );
    }
    if (!isIP(ip)) {
      problem(
        'ERR_ERL_INVALID_IP_ADDRESS',
        `request.ip is ${ip}, which is no IP address. A keyGenerator of your own may help.`,
      );
    }
  },

  trustProxy(request) {
    if (request.app.get('trust proxy') === true) {
      problem(
        'ERR_ERL_PERMISSIVE_TRUST_PROXY',
        "Express' trust proxy is true, so anybody can choose the address they are counted by.",
      );
    }
  },

  xForwardedForHeader(request) {
    if (request.headers['x-forwarded-for'] && request.app.get('trust proxy') === false) {
      problem(
        'ERR_ERL_UNEXPECTED_X_FORWARDED_FOR',
        "A request has X-Forwarded-For, but Express' trust proxy is false (the default): " +
          'behind a proxy all users are counted as one.',
      );
    }
  },

  forwardedHeader(request) {
    if (request.headers.forwarded && request.ip === request.socket?.remoteAddress) {
      problem(
        'ERR_ERL_FORWARDED_HEADER',
        'A request has a Forwarded header, which Express does not read. ' +
          'A keyGenerator of your own can.',
      );
    }
  },

  positiveHits(hits) {
    if (typeof hits !== 'number' || hits < 1 || hits !== Math.round(hits)) {
      problem(
        'ERR_ERL_INVALID_HITS',
        `The store returned ${hits} as totalHits, which has to be a whole number from 1 on.`,
      );
    }
  },

  unsharedStore(store) {
    if (usedStores.has(store)) {
      const prefix = store?.localKeys ? '' : ' with a prefix of its own';
      problem(
        'ERR_ERL_STORE_REUSE',
        `Two limiters share one store. Make each its own ${store.constructor.name}${prefix}.`,
      );
    }
    usedStores.add(store);
  },

  singleCount(request, store, key) {
    let counted = countedByRequest.get(request);
    if (!counted) countedByRequest.set(request, (counted = new Map()));
    const where = store.localKeys ? store : store.constructor.name;
    if (!counted.has(where)) counted.set(where, new Set());
    const prefixed = `${store.prefix ?? ''}${key}`;
    if (counted.get(where).has(prefixed)) {
      problem('ERR_ERL_DOUBLE_COUNT', `One request counted ${key} more than once.`);
    }
    counted.get(where).add(prefixed);
  },

  limit(limit) {
    if (limit === 0) {
      problem(
        'WRN_ERL_MAX_ZERO',
        'A limit of 0 blocks every request; before version 7 it let all pass.',
      );
    }
  },

  draftPolliHeaders(value) {
    if (value) {
      problem(
        'WRN_ERL_DEPRECATED_DRAFT_POLLI_HEADERS',
        "draft_polli_ratelimit_headers does nothing any more; use standardHeaders: 'draft-6'.",
      );
    }
  },

  onLimitReached(value) {
    if (value) {
      problem(
        'WRN_ERL_DEPRECATED_ON_LIMIT_REACHED',
        'onLimitReached does nothing any more; a handler can look at used === limit + 1.',
      );
    }
  },

  headersDraftVersion(version) {
    if (!DRAFTS.includes(version)) {
      problem(
        'ERR_ERL_HEADERS_UNSUPPORTED_DRAFT_VERSION',
        `standardHeaders: no headers are set for ${String(version)}; use ${DRAFTS.join(', ')}.`,
      );
    }
  },

  headersResetTime(resetTime) {
    if (!resetTime) {
      problem(
        'ERR_ERL_HEADERS_NO_RESET',
        'The store gave no resetTime, which standardHeaders needs: windowMs is told instead, ' +
          'and clients may wait longer than they have to.',
      );
    }
  },

  knownOptions(passed) {
    if (!passed) return;
    const unknown = Object.keys(passed).find((name) => !KNOWN_OPTIONS.has(name));
    if (unknown !== undefined) {
      problem('ERR_ERL_UNKNOWN_OPTION', `There is no option ${unknown}.`);
    }
  },

  validationsConfig(enabled) {
    const known = [...Object.keys(CHECKS), 'default'];
    const unknown = Object.keys(enabled).find((name) => !known.includes(name));
    if (unknown !== undefined) {
      problem(
        'ERR_ERL_UNKNOWN_VALIDATION',
        `options.validate.${unknown} is no validation; there are ${known.join(', ')}.`,
      );
    }
  },

  creationStack(store) {
    const { stack } = new Error('where was this limiter made?');
    // Express 4 and Express 5 call handlers from a function of this name.
    if (/Layer\.handle \[as handle_request\]|Layer\.handleRequest/.test(stack ?? '')) {
      const usually = store.localKeys ? '' : 'usually ';
      problem(
        'ERR_ERL_CREATED_IN_REQUEST_HANDLER',
        `A limiter was made while a request was handled. It should ${usually}be made once, ` +
          'with the app: each new one starts to count anew. ' +
          '(validate: { creationStack: false } turns this check off.)',
      );
    }
  },

  ipv6Subnet(bits) {
    if (bits === false) return;
    if (!Number.isInteger(bits) || bits < 32 || bits > 64) {
      problem('ERR_ERL_IPV6_SUBNET', `ipv6Subnet is ${bits}; expected 32 to 64 bits, or false.`);
    }
  },

  ipv6SubnetOrKeyGenerator(options) {
    if (options.ipv6Subnet !== undefined && options.keyGenerator) {
      problem(
        'ERR_ERL_IPV6SUBNET_OR_KEYGENERATOR',
        'With a keyGenerator the option ipv6Subnet does nothing: pass it to ipKeyGenerator there.',
      );
    }
  },

  keyGeneratorIpFallback(keyGenerator) {
    if (!keyGenerator) return;
    const source = keyGenerator.toString();
    if (/req\.ip|request\.ip/.test(source) && !source.includes('ipKeyGenerator')) {
      problem(
        'ERR_ERL_KEY_GEN_IPV6',
        'The keyGenerator seems to use the IP address as it is. Pass it through ipKeyGenerator, ' +
          'or who has an IPv6 network gets a new limit with each of its addresses.',
      );
    }
  },

  windowMs(windowMs) {
    if (typeof windowMs !== 'number' || Number.isNaN(windowMs) || windowMs < 1) {
      problem('ERR_ERL_WINDOW_MS', `windowMs is ${windowMs} (${typeof windowMs}), not 1 or more.`);
    }
    if (windowMs > MAX_TIMEOUT_MS) {
      problem(
        'ERR_ERL_WINDOW_MS',
        `windowMs is ${windowMs}, longer than ${MAX_TIMEOUT_MS} ms. This store counts it as it ` +
          "is, but express-rate-limit's own MemoryStore cannot, so code that still uses that " +
          'one would not be limited. (validate: { windowMs: false } turns this check off.)',
      );
    }
  },
};

const NAMES = Object.keys(CHECKS);

class Validations {
  /**
   * @param {boolean | Record<string, boolean>} validate
   * @param {{ error: Function, warn: Function }} logger
   */
  constructor(validate, logger) {
    /** What users see as `optionsUsed.validate`: what was asked for, and what has run. */
    this.enabled =
      typeof validate === 'boolean' ? { default: validate } : { default: true, ...validate };
    /** Which have still to run, so that a request asks with one property read. */
    this.pending = { ...CHECKS };
    for (const name of NAMES)
      this.pending[name] = Boolean(this.enabled[name] ?? this.enabled.default);
    this.logger = logger;
  }

  /** Runs a check, if it has not run yet. */
  run(name, ...args) {
    if (!this.pending[name]) return;
    this.pending[name] = false;
    this.enabled[name] = false;
    try {
      CHECKS[name](...args);
    } catch (error) {
      if (error instanceof ChangeWarning) this.logger.warn(error);
      else this.logger.error(error);
    }
  }
}

module.exports = { Validations, ValidationError, ChangeWarning };
