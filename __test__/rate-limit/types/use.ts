// Compiled by 37.rate-limit.types.test.js, once against express-rate-limit and once against us.

import express = require('express');
import limit, {
  rateLimit,
  MemoryStore,
  ipKeyGenerator,
  type AugmentedRequest,
  type ClientRateLimitInfo,
  type DraftHeadersVersion,
  type EnabledValidations,
  type IncrementResponse,
  type LegacyStore,
  type Logger,
  type Options,
  type RateLimitExceededEventHandler,
  type RateLimitInfo,
  type RateLimitRequestHandler,
  type Store,
  type ValueDeterminingMiddleware,
} from 'the-library';

class Counting implements Store {
  localKeys = true;
  windowMs!: number;
  init(options: Options): void {
    this.windowMs = options.windowMs;
  }
  async get(_key: string): Promise<ClientRateLimitInfo | undefined> {
    return { totalHits: 1, resetTime: new Date() };
  }
  async increment(_key: string): Promise<IncrementResponse> {
    return { totalHits: 1, resetTime: undefined };
  }
  decrement(_key: string): void {}
  resetKey(_key: string): void {}
}

const legacy: LegacyStore = {
  incr: (_key, callback) => callback(undefined, 1, new Date()),
  decrement: (_key: string) => {},
  resetKey: (_key: string) => {},
};

const handler: RateLimitExceededEventHandler = (request, response, _next, used) => {
  const info: RateLimitInfo = (request as AugmentedRequest)[used.requestPropertyName];
  response.status(used.statusCode).json({ left: info.remaining, at: info.resetTime?.getTime() });
};
const key: ValueDeterminingMiddleware<string> = async (request) =>
  ipKeyGenerator(request.ip ?? '', 64);
const draft: DraftHeadersVersion = 'draft-8';
const validate: EnabledValidations = { default: true, ip: false, trustProxy: false };
const logger: Logger = { error: (_error, _message) => {}, warn: () => {} };

const all: Partial<Options> = {
  windowMs: 1000,
  limit: (request, response) => (request.ip === '1' ? response.statusCode : 5),
  max: 5,
  message: { error: 'x' },
  statusCode: 429,
  legacyHeaders: false,
  standardHeaders: draft,
  identifier: async () => 'x',
  retryAfter: () => 5,
  requestPropertyName: 'rateLimit',
  skipFailedRequests: true,
  skipSuccessfulRequests: false,
  requestWasSuccessful: (_request, response) => response.statusCode < 400,
  keyGenerator: key,
  ipv6Subnet: 64,
  handler,
  skip: () => false,
  store: new Counting(),
  validate,
  headers: true,
  passOnStoreError: true,
  logger,
};

const middleware: RateLimitRequestHandler = rateLimit(all);
const app = express();
app.use(middleware, limit({ store: legacy }), rateLimit());
middleware.resetKey('key');
const hits: Promise<ClientRateLimitInfo | undefined> | ClientRateLimitInfo | undefined =
  middleware.getKey('key');
const store = new MemoryStore();
export const counted: Promise<number> = store.increment('a').then(({ totalHits }) => totalHits);
export { hits };
