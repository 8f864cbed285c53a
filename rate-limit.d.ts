// Types of rateLimit(), express-rate-limit's names and shapes, and of createRateLimiter().
// Requests and responses have Express' types; without @types/express they are `any`.

// @ts-ignore
import type { NextFunction, Request, RequestHandler, Response } from 'express';

export type ValueDeterminingMiddleware<T> = (
  request: Request,
  response: Response,
) => T | Promise<T>;

export type RateLimitExceededEventHandler = (
  request: Request,
  response: Response,
  next: NextFunction,
  optionsUsed: Options,
) => void;

export type RateLimitReachedEventHandler = (
  request: Request,
  response: Response,
  optionsUsed: Options,
) => void;

export type DraftHeadersVersion = 'draft-6' | 'draft-7' | 'draft-8';

export type LoggerFn = (error: unknown, message?: string) => void;
export type Logger = { error: LoggerFn; warn: LoggerFn };

/** The checks for likely misconfigurations; each runs once for a limiter. */
export type Validations =
  | 'ip'
  | 'trustProxy'
  | 'xForwardedForHeader'
  | 'forwardedHeader'
  | 'positiveHits'
  | 'unsharedStore'
  | 'singleCount'
  | 'limit'
  | 'draftPolliHeaders'
  | 'onLimitReached'
  | 'headersDraftVersion'
  | 'headersResetTime'
  | 'knownOptions'
  | 'validationsConfig'
  | 'creationStack'
  | 'ipv6Subnet'
  | 'ipv6SubnetOrKeyGenerator'
  | 'keyGeneratorIpFallback'
  | 'windowMs';
export type EnabledValidations = { [name in Validations | 'default']?: boolean };

export type ClientRateLimitInfo = {
  totalHits: number;
  resetTime: Date | undefined;
};
export type IncrementResponse = ClientRateLimitInfo;
export type IncrementCallback = (
  error: Error | undefined,
  totalHits: number,
  resetTime: Date | undefined,
) => void;

/** A store of before version 6, used when it has no `increment`. */
export type LegacyStore = {
  incr: (key: string, callback: IncrementCallback) => void;
  decrement: (key: string) => void;
  resetKey: (key: string) => void;
  resetAll?: () => void;
};

/** Counts hits by key. Every express-rate-limit store is one. */
export type Store = {
  /** Is given the options; what it returns is not waited for, what it throws is logged. */
  init?: (options: Options) => void | Promise<void>;
  get?: (key: string) => Promise<ClientRateLimitInfo | undefined> | ClientRateLimitInfo | undefined;
  increment: (key: string) => Promise<IncrementResponse> | IncrementResponse;
  decrement: (key: string) => Promise<void> | void;
  resetKey: (key: string) => Promise<void> | void;
  resetAll?: () => Promise<void> | void;
  shutdown?: () => Promise<void> | void;
  /** Keys counted here are in no other store (true), or perhaps they are (false). */
  localKeys?: boolean;
  /** What this store puts before its keys. */
  prefix?: string;
};

/**
 * How hits are judged.
 *
 * - `fixed-window`: a key's first hit opens a window, in which `limit` pass; as
 *   express-rate-limit does.
 * - `sliding-window`: in any interval of `windowMs`, at most `limit` pass.
 * - `gcra`: evenly spaced, `limit` in `windowMs`, of which `burst` may come at once.
 */
export type Algorithm = 'fixed-window' | 'sliding-window' | 'gcra';

export type Options = {
  /** Length of the window in milliseconds, default 60000. */
  windowMs: number;
  /** Hits that pass in a window, default 5. Zero or less blocks everything. */
  limit: number | ValueDeterminingMiddleware<number>;
  /** What a refused client is sent, default `'Too many requests, please try again later.'`. */
  message: any | ValueDeterminingMiddleware<any>;
  /** Default 429. */
  statusCode: number;
  /** Whether to send X-RateLimit-*, default true. */
  legacyHeaders: boolean;
  /** Which RateLimit-* to send, default none; true means draft-6. */
  standardHeaders: boolean | DraftHeadersVersion;
  /** The policy's name in draft-8 headers, default `{limit}-in-{window}`. */
  identifier: string | ValueDeterminingMiddleware<string>;
  /** What Retry-After says, in seconds; it changes nothing else. Default: until the reset. */
  retryAfter?: number | ValueDeterminingMiddleware<number>;
  /** Where the request holds its `RateLimitInfo`, default `rateLimit`. */
  requestPropertyName: string;
  /** Give a hit back when its request failed. */
  skipFailedRequests: boolean;
  /** Give a hit back when its request succeeded. */
  skipSuccessfulRequests: boolean;
  /** What success is for the two above, default a status under 400. */
  requestWasSuccessful: ValueDeterminingMiddleware<boolean>;
  /** Who is counted, default the IP address (IPv6: the network). */
  keyGenerator: ValueDeterminingMiddleware<string>;
  /** How many bits of an IPv6 address make one client, default 56; false for all. */
  ipv6Subnet:
    64 | 60 | 56 | 52 | 50 | 48 | 32 | number | ValueDeterminingMiddleware<number> | false;
  /** Answers a refused request, default with `statusCode` and `message`. */
  handler: RateLimitExceededEventHandler;
  /** Which requests are not limited at all. */
  skip: ValueDeterminingMiddleware<boolean>;
  /**
   * Where hits are counted: `'memory'` (default), `'database'` (the guard's, so that the limit
   * holds over all instances), or any express-rate-limit store.
   */
  store: Store | LegacyStore | 'memory' | 'database';
  /** Which misconfigurations to look for, default all. */
  validate: boolean | EnabledValidations;
  /** Let requests pass when the store fails. */
  passOnStoreError: boolean;
  /** Default the console. */
  logger: Logger;
  /** @deprecated the old name of `legacyHeaders` */
  headers?: boolean;
  /** @deprecated the old name of `limit` */
  max?: number | ValueDeterminingMiddleware<number>;

  /** Default `'fixed-window'`; the others need `store: 'memory'` or `'database'`. */
  algorithm?: Algorithm;
  /** With `algorithm: 'gcra'`: how many may come at once, default `limit`. */
  burst?: number;
  /**
   * What it is called in metrics. With `store: 'database'` also whose counts these are; the same in
   * every process.
   */
  name?: string;
  /** With `store: 'database'`: count in this process while the database is away. */
  insurance?: 'memory';
  /** In memory: how many keys are kept before new ones share one count, default 1000000. */
  maxKeys?: number;
};

export type RateLimitInfo = {
  limit: number;
  /** Hits in the window; the first refused one has `limit + 1`. */
  used: number;
  remaining: number;
  resetTime: Date | undefined;
  key: string;
};

export type AugmentedRequest = Request & { [key: string]: RateLimitInfo };

export type RateLimitRequestHandler = RequestHandler & {
  /** Forgets the hits of a key. */
  resetKey: (key: string) => void;
  /** The hits of a key; throws when the store has no `get`. */
  getKey: (
    key: string,
  ) => Promise<ClientRateLimitInfo | undefined> | ClientRateLimitInfo | undefined;
};

/** Counts in this process, in native memory of bounded size, without a timer. */
export declare class MemoryStore implements Store {
  constructor(options?: { maxKeys?: number });
  windowMs: number;
  localKeys: boolean;
  init(options: Options): void;
  get(key: string): Promise<ClientRateLimitInfo | undefined>;
  increment(key: string): Promise<ClientRateLimitInfo>;
  decrement(key: string): Promise<void>;
  resetKey(key: string): Promise<void>;
  resetAll(): Promise<void>;
  shutdown(): void;
  /** How many keys are held, expired ones among them. */
  readonly size: number;
}

/**
 * The key of a client by its IP address: an IPv4 address as it is, an IPv6 address as its network
 * in CIDR notation. Pass `request.ip` through it in a `keyGenerator` of your own.
 */
export declare function ipKeyGenerator(ip: string, ipv6Subnet?: number | false): string;

/** Makes Express middleware that limits requests. */
export declare function rateLimit(passedOptions?: Partial<Options>): RateLimitRequestHandler;

export type RateLimiterOptions = {
  /** Points that pass in a window, default 5. */
  limit?: number;
  /** Length of the window in milliseconds, default 60000. */
  windowMs?: number;
  /** Default `'fixed-window'`. */
  algorithm?: Algorithm;
  /** With `algorithm: 'gcra'`: how many points may come at once, default `limit`. */
  burst?: number;
  /** How long a key stays refused after it was refused once, default no longer than it must. */
  blockMs?: number;
  /** Default `'memory'`; `'database'` counts over all instances. */
  store?: 'memory' | 'database';
  /**
   * What it is called in metrics. With `store: 'database'` also whose counts these are; the same in
   * every process.
   */
  name?: string;
  /** With `store: 'database'`: count in this process while the database is away. */
  insurance?: 'memory';
  /** In memory: how many keys are kept before new ones share one count, default 1000000. */
  maxKeys?: number;
  /** How many may wait for one key in `acquire`, default 1000. */
  maxQueue?: number;
  /** Default the console. */
  logger?: Logger;
};

export type RateLimitResult = {
  key: unknown;
  allowed: boolean;
  limit: number;
  /** Points taken and not yet given back by time, and refusals since the last admission. */
  used: number;
  /** Points that would pass now. */
  remaining: number;
  /** When `remaining` next grows; if refused, when the same points would pass. */
  resetTime: Date;
  /** How long to wait until the same points would pass; 0 when allowed. */
  retryAfterMs: number;
};

export type AcquireOptions = {
  /** Default 1. */
  points?: number;
  /** Leaves the line; `acquire` rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Told when it has to wait and whenever the line moves; position 0 is next. */
  onProgress?: (progress: { position: number; estimateMs: number }) => void;
};

export type PendingTurns = {
  waiting: number;
  /** When the first of them asks again. */
  nextInMs: number;
};

export interface RateLimiter {
  /** Takes points now if they are there; resolves either way, see `allowed`. */
  consume(key: string, points?: number): Promise<RateLimitResult>;
  /** What `consume(key)` would get; takes nothing. */
  peek(key: string): Promise<RateLimitResult>;
  /** Forgets a key. */
  reset(key: string): Promise<void>;
  /** Waits for its turn; rejects with ERR_QUEUE_FULL at once when too many wait for the key. */
  acquire(key: string, options?: AcquireOptions): Promise<RateLimitResult & { waitedMs: number }>;
  /** Who waits. */
  pending(key: string): PendingTurns;
  pending(): (PendingTurns & { key: string })[];
  /** Sends away all that wait, with ERR_SHUT_DOWN. */
  close(): void;
}

/** The same limits without HTTP, for pacing outgoing messages and the like. */
export declare function createRateLimiter(options?: RateLimiterOptions): RateLimiter;

/** @deprecated as in express-rate-limit */
export declare const SECOND: number;
/** @deprecated as in express-rate-limit */
export declare const MINUTE: number;
/** @deprecated as in express-rate-limit */
export declare const HOUR: number;
/** @deprecated as in express-rate-limit */
export declare const DAY: number;

export { rateLimit as default };
