/**
 * baileys-guard: one owner for each WhatsApp session, and what has to hold around it.
 *
 * Functions reject or throw with a {@link GuardError}; `docs/errors.md` lists the codes. Exceptions:
 * `acquire` rejects with the reason of the signal it was given, and `rateLimit` throws a TypeError
 * for an unusable logger or store, and its `getKey` an Error where the store has none, as
 * express-rate-limit does. Functions of the module work on a default guard, configured by
 * {@link configure} or by the environment; {@link createGuard} makes independent ones with the same
 * methods. Times are in milliseconds.
 */

import { EventEmitter } from 'node:events';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Options, RateLimiter, RateLimiterOptions, RateLimitRequestHandler } from './rate-limit.js';

// Errors ------------------------------------------------------------------------------------

/** Any error of this library. */
export class GuardError extends Error {
  /** Stable code, such as `ERR_DATABASE_UNAVAILABLE`. */
  readonly code: string;
  /** The agent it is about, where it is about one. */
  readonly agentId?: string;
  /** `ERR_INVALID_ARGUMENT`: the argument that was refused. */
  readonly argument?: string;
  /** `ERR_INVALID_OPTION`: the option that was refused. */
  readonly option?: string;
  /** `ERR_NOT_SERIALIZABLE`: where in the value, such as `value.keys[3].expires`. */
  readonly path?: string;
  /** `ERR_UPGRADE_REFUSED`: HTTP's. */
  readonly statusCode?: number;
}

/** The agent has a live owner elsewhere (`ERR_AGENT_IN_USE`). */
export class AgentInUseError extends GuardError {
  readonly agentId: string;
  readonly owner: Owner;
  /** When asking again can first succeed if the owner stays silent, in milliseconds. */
  readonly retryAfterMs: number;
}

/**
 * Why a claim ended: another instance took it, its row was deleted, no renewal succeeded in time,
 * the event loop stood still, the database holds this instance for dead, a fenced write was
 * refused, or it was released.
 */
export type LossReason =
  'taken' | 'row-gone' | 'expired' | 'stalled' | 'buried' | 'refused' | 'released';

/** The claim is no longer held (`ERR_CLAIM_LOST`). */
export class ClaimLostError extends GuardError {
  readonly agentId: string;
  readonly reason: LossReason;
}

/**
 * A stored value cannot be opened: `ERR_DECRYPT_FAILED`, `ERR_UNKNOWN_KEY`,
 * `ERR_MALFORMED_ENVELOPE`, `ERR_LEGACY_REFUSED` or `ERR_PLAINTEXT_REFUSED`.
 */
export class DecryptionError extends GuardError {
  /** Of the value; `'creds'` for credentials. */
  readonly type?: string;
  /** Of the value; empty for credentials. */
  readonly id?: string;
  /** `ERR_UNKNOWN_KEY`: names the key that is not configured. */
  readonly keyId?: string;
}

// Configuration -----------------------------------------------------------------------------

/** pino's four methods; `console` has them too. */
export interface GuardLogger {
  debug(...args: unknown[]): void;
  info(...args: unknown[]): void;
  warn(...args: unknown[]): void;
  error(...args: unknown[]): void;
}

export interface GuardOptions {
  /**
   * `sqlite:<file>` for one machine, `postgres://…` for several.
   * @default DATABASE_URL, else `sqlite:baileys-guard.db` in the working directory
   */
  databaseUrl?: string;
  /**
   * Public name of this instance, at most 255 characters. It is shown, never compared: a pinned
   * name still gets an incarnation of its own at every start.
   * @default INSTANCE_ID, else `<hostname>-<pid>-<start ms>-<random>`
   */
  instanceId?: string;
  /** @default os.hostname() */
  instanceHostname?: string;
  /**
   * How long an instance may be silent before others take its agents over, in milliseconds, 100 to
   * 86,400,000 (a day).
   * @default LEASE_TTL_MS, else 60000
   */
  leaseTtlMs?: number;
  /**
   * 32 random bytes as 64 hex or 44 base64 characters; `npx baileys-guard keygen` makes them.
   * @default CREDENTIALS_ENCRYPTION_KEY, else none
   */
  encryptionKey?: string;
  /** Keys of before, for reading only. @default CREDENTIALS_ENCRYPTION_PREVIOUS_KEYS (comma separated) */
  previousEncryptionKeys?: string[];
  /** Whether values stored before encryption are read. @default true */
  acceptPlaintext?: boolean;
  /** Whether `{ encrypted, iv, authTag }` values are read. @default true */
  acceptLegacy?: boolean;
  /**
   * What a database outage longer than `leaseTtlMs` does to claims: `'release'` ends them,
   * `'keep'` leaves them until the database says that somebody else owns the agent.
   * @default 'release'
   */
  onStoreLost?: 'release' | 'keep';
  /**
   * Connections of the pool, 1 to 1000; heartbeat and listener have one of their own each.
   * @default DATABASE_MAX_CONNECTIONS, else 5
   */
  maxConnections?: number;
  /** @default console */
  logger?: GuardLogger;
}

/**
 * Makes an independent guard. Touches no database until its first call.
 * @throws ERR_INVALID_OPTION, naming the option
 */
export function createGuard(options?: GuardOptions): Guard;

/**
 * Sets the options of the default guard. Throws `ERR_ALREADY_CONFIGURED` after its first use and
 * `ERR_INVALID_OPTION` for a value that cannot be used.
 */
export function configure(options: GuardOptions): void;

// Schema ------------------------------------------------------------------------------------

export interface Migrated {
  /** Files that had not been applied before. */
  applied: string[];
  /** Agents with more than one row in `whatsapp_sessions`; the newest row is used. */
  duplicates: { agentId: string; rows: number }[];
}

// Credentials -------------------------------------------------------------------------------

/** An encrypted value as it fits a JSON column. `docs/envelope.md` describes the bytes. */
export interface EncryptedCredentials {
  v: 1;
  /** Names the key; says nothing about it. */
  kid: string;
  /** The envelope in base64. */
  ct: string;
}

export interface AgentContext {
  /** Bound in: what was encrypted for one agent does not open for another. */
  agentId: string;
}

export interface ValueContext extends AgentContext {
  /** Bound in as well, such as `'session'`. @default '' */
  type?: string;
  /** Bound in as well. @default '' */
  id?: string;
}

/** One value of {@link Guard.encryptMany}. */
export interface ValueToEncrypt {
  /** Any JSON value; Buffers and Uint8Arrays are stored raw. */
  value: unknown;
  type?: string;
  id?: string;
}

/** One value of {@link Guard.decryptMany}. */
export interface ValueToDecrypt {
  envelope: Uint8Array;
  type?: string;
  id?: string;
}

/** What can be told about a stored value without a key. */
export type StoredForm =
  | {
      form: 'envelope';
      version: 1;
      /** Of the key it is encrypted under. */
      keyId: string;
      content: 'bytes' | 'json' | 'text';
      /** The writer's counter, if it keeps one. */
      generation: bigint | null;
    }
  | { form: 'legacy' | 'plain' | 'nothing' };

// Baileys auth state ------------------------------------------------------------------------

/** What `makeWASocket({ auth: state })` takes; Baileys' `AuthenticationState`. */
export interface GuardedAuthState {
  state: {
    /** Baileys' `AuthenticationCreds`. */
    creds: any;
    keys: {
      /** One round trip, whatever the number of ids. Missing ids are absent. */
      get(type: string, ids: string[]): Promise<{ [id: string]: any }>;
      /** Stores all or nothing, in one round trip; `null` deletes. */
      set(data: { [type: string]: { [id: string]: any } | undefined }): Promise<void>;
    };
  };
  /** Stores `state.creds` as they are now, after every save called before. */
  saveCreds(): Promise<void>;
  /**
   * Deletes the agent's whole state: the next socket has to be paired. What the socket of this one
   * writes after that is dropped.
   */
  clear(): Promise<void>;
}

export interface AuthStateOptions {
  /** The module `baileys`, where it cannot be imported by that name. */
  baileys?: { initAuthCreds(): any; proto: any };
}

export interface ImportOptions {
  /** A folder of `useMultiFileAuthState`. */
  folder?: string;
  /**
   * The host's `session_data`, as JSON or its text; read from `whatsapp_sessions` (where it is
   * empty, from `session_state`) unless given, or `false`.
   */
  sessionData?: object | string | boolean;
  /** Replaces what is stored, even if it is as new or of another pairing. @default false */
  overwrite?: boolean;
}

export interface Imported {
  /** Where the credentials came from; `'stored'`: what is stored is as new or newer, and stayed. */
  credentials: 'folder' | 'session_data' | 'stored';
  /** Whether they are of a finished pairing. */
  paired: boolean;
  /** Signal keys stored. */
  keys: number;
  /** False: credentials without Signal keys, from `session_data` alone; chats need a new QR scan. */
  resumable: boolean;
  /** Files of the folder that are no keys. */
  unknownFiles: string[];
}

export interface RotationReport {
  /** Values looked at in this pass. */
  examined: number;
  /** Values brought under the current key. */
  rotated: number;
  /** What is not under the current key. */
  remaining: { plain: number; legacy: number; previousKey: number; unreadable: number };
  /** The first hundred that do not open. */
  failed: { agentId: string; type: string; id: string; code: string; message: string }[];
}

export interface RotateOptions {
  /** Values in a statement, 1 to 10,000. @default 200 */
  batchSize?: number;
  /** Counts only. @default false */
  dryRun?: boolean;
  /** Called after each batch with what was done so far. */
  onProgress?: (report: RotationReport) => void;
}

// Ownership ---------------------------------------------------------------------------------

/** A live owner. Times come from the database's clock and are for people. */
export interface Owner {
  instanceId: string;
  hostname: string;
  pid: number;
  lastHeartbeat: Date;
  heartbeatAgeMs: number;
  /** Not enumerable, so that an owner can be sent as JSON. */
  readonly fencingToken: bigint;
}

export type SessionStatus =
  | 'disconnected'
  | 'connecting'
  | 'qr_pending'
  | 'connected'
  | 'conflict'
  | 'error'
  | 'initializing';

/** Fields of {@link Claim.update}; `undefined` leaves a column alone, `null` clears it. */
export interface SessionFields {
  /** `'connected'` also sets `is_active`. */
  status?: SessionStatus;
  phoneNumber?: string | null;
  qrCode?: string | null;
  isActive?: boolean;
  /** A Date, an ISO string or Unix milliseconds. */
  lastConnected?: Date | string | number | null;
}

/** One agent held under one fencing token. */
export interface Claim {
  /** In the form the database gives it back: a uuid in lower case where the column is one. */
  readonly agentId: string;
  readonly instanceId: string;
  readonly hostname: string;
  /** Grows with every change of owner, and when the answer to a write was lost. */
  readonly fencingToken: bigint;
  /** Aborted, with a {@link ClaimLostError} as reason, the moment the claim is lost or released. */
  readonly signal: AbortSignal;
  /** Whether it may be acted on at this very moment. */
  readonly held: boolean;
  /**
   * Writes the session row under the fence.
   * @throws ERR_CLAIM_LOST, ERR_SESSION_ROW_MISSING, ERR_SESSION_ROW_REFUSED
   */
  update(fields: SessionFields): Promise<void>;
  /**
   * Gives the agent back: close the socket first. Keeps `is_active`, so that another instance may
   * resume the session; with `deactivate` also sets `is_active = false` and
   * `status = 'disconnected'`.
   * @throws ERR_CLAIM_LOST, ERR_DATABASE_UNAVAILABLE, ERR_SESSION_ROW_REFUSED
   */
  release(options?: { deactivate?: boolean }): Promise<void>;
}

export interface ClaimOptions {
  /** Needed where the host's table has a NOT NULL `user_id` and no row for the agent yet. */
  userId?: string;
}

export interface HeartbeatOptions {
  /** How often `last_heartbeat` of the session rows is refreshed, at least 10. @default 60000 */
  intervalMs?: number;
  /**
   * How long the event loop may stand still before all claims are lost, at least 10.
   * @default leaseTtlMs
   */
  maxEventLoopStallMs?: number;
  /** Called for every claim that is lost. */
  onLost?: (claim: Claim, error: ClaimLostError) => void;
  /** Called for every beat that failed; the next one is under way. */
  onError?: (error: GuardError) => void;
}

export interface HeartbeatStats {
  running: boolean;
  /** Renewals that succeeded. */
  beats: number;
  failures: number;
  /** Since the last success. */
  consecutiveFailures: number;
  /** Since the last good beat was sent; null before the first. */
  lastBeatAgeMs: number | null;
  lastRoundTripMs: number;
}

export interface Heartbeat {
  /** Stops renewing: claims run out after what is left of their time to live. */
  stop(): void;
  stats(): HeartbeatStats;
}

/** The newest session row of an agent, and who owns the agent. */
export interface Session {
  agentId: string;
  userId: string | null;
  phoneNumber: string | null;
  status: SessionStatus | null;
  isActive: boolean;
  lastConnected: Date | null;
  updatedAt: Date | null;
  owner: Owner | null;
  /** This guard owns it. */
  mine: boolean;
}

/** Agents that became free. */
export interface Freed {
  agentIds: string[];
  reason: 'released' | 'dead';
  /** Public name of the last owner. */
  instanceId: string;
}

export interface StopWatching {
  (): void;
  /** Resolves when everything freed from now on will be told. */
  readonly ready: Promise<void>;
}

export interface ShutdownOptions {
  /** @default 10000 */
  timeoutMs?: number;
  /** Awaited for each claim before it is released: close the socket here. */
  beforeRelease?: (claim: Claim) => unknown;
}

// Reconnecting ------------------------------------------------------------------------------

/** What to do about the end of a connection. */
export type DisconnectAction =
  /** Connect again after `delayMs`. */
  | 'retry'
  /** The same after minutes; after a conflict the claim is released meanwhile. */
  | 'quarantine'
  /** A person has to act; the claim is released and the session inactive. */
  | 'stop'
  /** Another instance has the agent. */
  | 'yield'
  /** It failed as often as `maxAttempts` allows. */
  | 'giveUp'
  /** The user ended it. */
  | 'none';

/** Why a connection ended; `docs/reconnect.md` has the table. */
export type DisconnectReason =
  | 'loggedOut'
  | 'refused'
  | 'forbidden'
  | 'clientOutdated'
  | 'locked'
  | 'connectionLost'
  | 'qrExpired'
  | 'tryLater'
  | 'rateLimited'
  | 'multideviceMismatch'
  | 'connectionClosed'
  | 'connectionReplaced'
  | 'badSession'
  | 'badMac'
  | 'unavailableService'
  | 'restartRequired'
  | 'network'
  | 'unknown'
  | 'ended'
  | 'upgradeRefused'
  | 'connectTimeout'
  | 'connectFailed'
  | 'socketDead'
  | 'inUse'
  | 'claimTaken'
  | 'claimExpired'
  | 'claimGone'
  | 'claimReleased'
  | 'databaseUnavailable';

export interface DisconnectDecision {
  action: DisconnectAction;
  /** 0 unless `action` is `'retry'` or `'quarantine'`. */
  delayMs: number;
  /** How many ends in a row have counted, with this one. */
  attempt: number;
  reason: DisconnectReason;
  /** The status code, where the error had one. */
  code: number | null;
}

/** How long is waited, how often is connected, when is given up. */
export interface ReconnectNumbers {
  /** @default 1000 */
  initialDelayMs?: number;
  /** No wait of the backoff is longer, jitter included. @default 30000 */
  maxDelayMs?: number;
  /** @default 2 */
  multiplier?: number;
  /** Part of a wait by which it may be shorter or longer, 0 to 1. @default 0.5 */
  jitter?: number;
  /** Connects in a row without a connection that held. @default Infinity */
  maxAttempts?: number;
  /** How long a connection must hold before failures are forgotten. @default 60000 */
  stableAfterMs?: number;
  /** Calls of `connect` in flight. @default 5 */
  maxConcurrent?: number;
  /** Calls of `connect` begun in a second, evenly spaced. @default 2 */
  connectsPerSecond?: number;
  /** Calls that may begin at once after a rest. @default 1 */
  burst?: number;
  /** From the call of `connect` until {@link ReconnectScheduler.connected}. @default 60000 */
  connectTimeoutMs?: number;
}

export interface ConnectContext {
  /** Held when `connect` is called. */
  claim: Claim;
  /** Number of the connect in a row, from 1. */
  attempt: number;
  /** Aborted when the attempt is over: close the socket then. */
  signal: AbortSignal;
}

/**
 * What happens to sessions, in the order in which it happens. `agentId` and `qr` can be read of any
 * event, and are undefined where there is none.
 */
export type ReconnectEvent = { agentId?: string; qr?: string } & (
  | { type: 'connecting'; agentId: string; attempt: number }
  | { type: 'connected'; agentId: string; tookMs: number | null }
  /** The connection has held for `stableAfterMs`. */
  | { type: 'stable'; agentId: string }
  /** What is left of a wait that an earlier owner, or this one before its restart, began. */
  | { type: 'waiting'; agentId: string; attempt: number; delayMs: number }
  | ({ type: DisconnectAction; agentId: string; error: unknown } & DisconnectDecision)
  | { type: 'qr'; agentId: string; qr: string }
  | { type: 'resuming'; agentIds: string[] }
  | { type: 'handedOver'; agentId: string }
  /** After a conflict, `stop` or `giveUp`: the session row shows it and the claim is given back. */
  | { type: 'released'; agentId: string }
  | { type: 'cancelled'; agentId: string }
);

export interface ReconnectOptions extends ReconnectNumbers {
  /** Called when a session will not be connected any more by itself: `stop` and `giveUp`. */
  onGiveUp?: (agentId: string, why: DisconnectDecision & { error: unknown }) => void;
  onEvent?: (event: ReconnectEvent) => void;
  /** Hand idle sessions to instances that have fewer, one at a time. @default false */
  balance?: boolean;
}

/** As much of a Baileys socket as a supervised session uses. */
export interface SupervisableSocket {
  ev: {
    on(event: any, listener: (...args: any[]) => void): unknown;
    off(event: any, listener: (...args: any[]) => void): unknown;
  };
  end(error: Error | undefined): unknown;
  /** Needed for `cancel({ logout: true })` only. */
  logout?(): unknown;
  ws?: unknown;
}

/** What {@link Guard.superviseSession} and `makeSocket` schedulers take. */
export interface Supervision {
  /** Returns `makeWASocket({ auth, … })`. */
  makeSocket: (
    session: ConnectContext & { auth: any; agentId: string },
  ) => SupervisableSocket | Promise<SupervisableSocket>;
  /** Opens the auth state. @default useGuardedAuthState(claim) */
  authState?:
    | ((claim: Claim, session: { agentId: string }) => AuthStateLike | Promise<AuthStateLike>)
    | AuthStateLike;
  /** A connected socket that hears nothing for so long is dead. @default 120000 */
  silentAfterMs?: number;
}

export interface AuthStateLike {
  state: { creds: any; keys: any };
  saveCreds: () => unknown;
  /** Deletes the credentials; needed for `logout` and `pairAnew` only. */
  clear?: () => unknown;
}

export interface SuperviseOptions {
  /** As for {@link Guard.claimInstance}. */
  userId?: string;
  /** Forget earlier failures and connect at once. @default false */
  reset?: boolean;
  /**
   * A person wants to connect: if WhatsApp has logged the device out (401), delete its credentials
   * and show a QR code. Ends with the first connection that opens. @default false
   */
  pairAnew?: boolean;
}

/** How a session is ended. */
export interface CancelOptions {
  /** Nobody resumes it. @default false */
  deactivate?: boolean;
  /**
   * Unlinks the device from the phone, where it is connected, and deletes the credentials;
   * deactivates, too. @default false
   */
  logout?: boolean;
}

/** A session that is kept connected until told otherwise. */
export interface SupervisedSession {
  readonly agentId: string;
  /** The claim it runs under now. */
  readonly claim: Claim;
  /** Closes the socket and releases the claim. */
  stop(options?: CancelOptions): Promise<boolean>;
}

export interface PendingSession {
  agentId: string;
  /** Number of the connect that runs or comes next. */
  attempt: number;
  /** 0 when it stands in line or connects. */
  dueInMs: number;
  connecting: boolean;
  reason: DisconnectReason | null;
}

export interface ResumeProgress {
  /** Sessions to resume, seen so far. */
  total: number;
  /** Claimed by this instance. */
  taken: number;
  /** Of those, how many have had their first connect, or have to wait. */
  tried: number;
  /** Sessions that nobody has yet. */
  left: number;
}

export interface InactiveSession {
  agentId: string;
  userId: string | null;
  lastConnected: Date | null;
  isActive: boolean;
  status: SessionStatus | null;
}

export interface ReconnectStats {
  connects: number;
  connected: number;
  timedOut: number;
  gaveUp: number;
  resumed: number;
  handedOver: number;
  /** Connections that another one with the same credentials has replaced (440). */
  conflicts: number;
  loggedOut: number;
  /** By status code, or by reason where there is no code. */
  disconnects: Record<string, number>;
  decisions: Partial<Record<DisconnectAction, number>>;
  /** `counts[i]` connects took at most `bucketsMs[i]`. */
  connectTime: { bucketsMs: number[]; counts: number[]; sumMs: number; count: number };
}

/** Connects sessions at a pace, and again when they end. `docs/reconnect.md` tells how. */
export interface ReconnectScheduler {
  /**
   * Connects an agent when it is its turn. False when it connects or is connected already.
   * @param options.reset forget earlier failures
   */
  schedule(
    agentId: string,
    options?: { userId?: string; delayMs?: number; reset?: boolean },
  ): boolean;
  /** The connection is up. */
  connected(agentId: string): void;
  /** The connect shows life, such as a new QR code: its timeout starts anew. */
  progress(agentId: string): void;
  /** The connection ended: decides what to do, and does it. */
  disconnected(agentId: string, lastDisconnect: unknown): DisconnectDecision;
  /**
   * Claims and connects what should run and nobody owns, now and from now on. Resolves when what
   * there was now is taken care of.
   */
  resumeAll(options?: { onProgress?: (progress: ResumeProgress) => void }): Promise<ResumeProgress>;
  /** As {@link Guard.superviseSession}, with the pace of this scheduler. */
  superviseSession(
    agentId: string,
    options?: SuperviseOptions & Partial<Supervision>,
  ): Promise<SupervisedSession>;
  /**
   * Forgets an agent, ends its socket, releases the claim that the scheduler took. Resolves with
   * whether there was anything to end; rejects with `AgentInUseError` when a session is to be
   * deactivated that another instance has by now.
   */
  cancel(agentId: string, options?: CancelOptions): Promise<boolean>;
  /** Ends all sessions and releases the claims that the scheduler took. */
  stop(): Promise<void>;
  pending(): PendingSession[];
  /** Sessions that nobody runs and that have not been connected for so long. */
  listInactive(options?: {
    /** @default 7 days */
    olderThanMs?: number;
  }): Promise<InactiveSession[]>;
  stats(): ReconnectStats;
}

/** Options of a scheduler: either your own `connect`, or a `makeSocket` to supervise. */
export type ReconnectSchedulerOptions = ReconnectOptions &
  (
    | {
        /** Opens the socket. What it returns has `end(reason)` called when the attempt is over. */
        connect: (agentId: string, context: ConnectContext) => unknown;
        makeSocket?: undefined;
      }
    | (Supervision & { connect?: undefined })
  );

/**
 * What would be done about an end of a connection, of a session whose claim is held and that has
 * not failed before; without jitter unless it is asked for.
 */
export function classifyDisconnect(error: unknown, options?: ReconnectNumbers): DisconnectDecision;

// Seeing what happens -----------------------------------------------------------------------

/** `counts[i]` took at most `bucketsMs[i]`; `count` is all of them. */
export interface DurationHistogram {
  bucketsMs: number[];
  counts: number[];
  sumMs: number;
  count: number;
}

/** How long an agent has been connected to this instance. */
export interface AgentUptime {
  connected: boolean;
  /** Of the present connection; 0 while there is none. */
  connectedMs: number;
  /** Of all connections since the start. */
  totalMs: number;
}

/** What a guard has counted since it was made. `docs/metrics.md` has the meaning of each. */
export interface Metrics {
  claims: {
    held: number;
    granted: number;
    released: number;
    takeovers: number;
    /** By reason. */
    lost: Record<Exclude<LossReason, 'released'>, number>;
  };
  conflicts: {
    /** Claims that a caller was refused because of a live owner. */
    claimRefused: number;
    /** Connections that ended with 440. */
    connectionReplaced: number;
  };
  /** Other instances that this one found dead. */
  instancesBuried: number;
  heartbeat: {
    running: boolean;
    beats: number;
    failures: number;
    consecutiveFailures: number;
    /** Since the last good beat was sent; null before the first. */
    ageMs: number | null;
    lastDurationMs: number;
    /** Of the good ones. */
    duration: DurationHistogram;
  };
  sessions: {
    connected: number;
    /** That connect, or wait to. */
    pending: number;
    loggedOut: number;
    /** Of all agents together. */
    connectedMs: number;
    byAgent: { [agentId: string]: AgentUptime };
  };
  /** Of all schedulers together. */
  reconnects: Omit<ReconnectStats, 'conflicts' | 'loggedOut'>;
  /** By the name of the limiter, or else its rule: `algorithm/windowMs/limit/burst`. */
  rateLimits: { [limiter: string]: { allowed: number; refused: number } };
  encryption: { sealed: number; opened: number; failed: number };
  /** `claim.update`: calls, and those of them that the fence refused. */
  sessionRow: { writes: number; refused: number };
  /** Calls, whatever the number of keys; `refused` are among the writes. */
  authState: { reads: number; writes: number; refused: number };
  /** Connections that calls share; the heartbeat has one of its own. */
  pool: { size: number; idle: number; inUse: number; max: number };
}

export interface MetricsTextOptions {
  /** One more series for each agent. @default false */
  perAgent?: boolean;
}

export interface RegisterMetricsOptions extends MetricsTextOptions {
  /** Value of the label `guard`, which tells several guards in one registry apart. */
  guard?: string;
}

/** As much of prom-client's `Registry` as is used. */
export interface MetricsRegistry {
  registerMetric(metric: any): void;
  getSingleMetric(name: string): any;
}

export interface HealthOptions {
  /** How long the database may take to answer. @default 2000 */
  timeoutMs?: number;
}

export interface Health {
  ok: boolean;
  shutDown: boolean;
  database: {
    ok: boolean;
    /** Null where it gave no answer. */
    latencyMs: number | null;
    error?: { code: string; message: string };
  };
  /** Not ok: claims are held and not being renewed. */
  heartbeat: {
    ok: boolean;
    running: boolean;
    ageMs: number | null;
    consecutiveFailures: number;
  };
  claims: { held: number };
  sessions: { connected: number; pending: number };
}

/** Express middleware; works with `node:http` as well. */
export type HealthHandler = (
  request: IncomingMessage,
  response: ServerResponse,
  next?: (error?: unknown) => void,
) => void;

// The guard ---------------------------------------------------------------------------------

/** What {@link Guard} emits. */
export interface GuardEvents {
  /** Somebody else has the agent, or its credentials. `owner` is known for a refused claim. */
  conflict: [
    event:
      | { agentId: string; kind: 'claimRefused'; owner: Owner }
      | { agentId: string; kind: 'connectionReplaced'; owner: null },
  ];
  /** A claim was granted on an agent whose owner had died. */
  takeover: [event: { agentId: string; claim: Claim }];
  /** WhatsApp ended the pairing: a person has to scan a QR code. */
  loggedOut: [event: { agentId: string; code: number | null; error: unknown }];
  /** A session failed as often as `maxAttempts` allows. */
  gaveUp: [
    event: { agentId: string; reason: DisconnectReason; code: number | null; error: unknown },
  ];
  /** Told once for each outage, by the heartbeat or, without one, by {@link Guard.health}. */
  databaseUnavailable: [event: { error: GuardError }];
  databaseRecovered: [event: Record<string, never>];
  claimLost: [event: { agentId: string; claim: Claim; error: ClaimLostError }];
  heartbeatFailing: [event: { error: GuardError; consecutive: number }];
  heartbeatRecovered: [event: { failures: number }];
  instanceDead: [event: { instanceId: string; proven: boolean }];
  trouble: [event: { what: string; error: Error }];
}

export interface Guard extends EventEmitter<GuardEvents> {
  readonly instanceId: string;
  /** Applies what the database lacks. Safe when several processes do so at once. */
  migrate(): Promise<Migrated>;
  /** Undoes what {@link migrate} added and nothing else; returns the files undone. */
  rollback(): Promise<string[]>;
  /**
   * Encrypts any JSON value. Buffers and Uint8Arrays in it are kept and come back as Buffers;
   * properties that are undefined are dropped, as in JSON.
   * @throws ERR_KEY_MISSING, ERR_NOT_SERIALIZABLE
   */
  encryptCredentials(value: unknown, options: AgentContext): EncryptedCredentials;
  /**
   * Decrypts what {@link encryptCredentials} returned, also as base64 text, JSON text or bytes.
   * Reads `{ encrypted, iv, authTag }` and plain values too, where `acceptLegacy` and
   * `acceptPlaintext` allow it, and gives them back the byte strings that JSON took apart.
   * `null` is nothing stored and stays `null`.
   * @throws {@link DecryptionError}, ERR_KEY_MISSING
   */
  decryptCredentials(stored: unknown, options: AgentContext): any;
  /** Encrypts bytes; returns the envelope, 60 bytes longer. */
  encryptBytes(bytes: Uint8Array, options: ValueContext): Buffer;
  /** @throws {@link DecryptionError}, ERR_KEY_MISSING */
  decryptBytes(envelope: Uint8Array, options: ValueContext): Buffer;
  /**
   * Encrypts many values of one agent at once; returns their envelopes in order. They share one
   * piece of memory: copy the one that is kept while the others are not.
   */
  encryptMany(items: ValueToEncrypt[], options: AgentContext): Buffer[];
  /**
   * Decrypts many values of one agent at once. One that does not open fails all of them; the
   * error names its `type` and `id`. Buffers among the values share one piece of memory.
   */
  decryptMany(items: ValueToDecrypt[], options: AgentContext): any[];
  /** Says what a stored value is, without a key. @throws ERR_MALFORMED_ENVELOPE */
  inspectEnvelope(stored: unknown): StoredForm;
  /** Whether a stored value is plain, of the old form, or under another key than the current. */
  needsReencryption(stored: unknown): boolean;
  /**
   * Baileys' auth state, encrypted in the database, every write under the claim's fence. Without
   * a key it is stored in plain text, with one warning. A write after the claim is lost rejects
   * with {@link ClaimLostError}, changes nothing and aborts `claim.signal`. A read that fails
   * rejects: it is never taken for "no credentials".
   * @throws ERR_CLAIM_LOST, ERR_BAILEYS_MISSING, {@link DecryptionError}
   */
  useGuardedAuthState(claim: Claim, options?: AuthStateOptions): Promise<GuardedAuthState>;
  /**
   * Takes over what a host had before; with both sources the Signal keys of the folder and
   * whichever credentials are newer. Never changes the source; running it again is harmless.
   * @throws ERR_IMPORT_FAILED, ERR_NOTHING_TO_IMPORT, ERR_ALREADY_IMPORTED
   */
  importAuthState(claim: Claim, options?: ImportOptions): Promise<Imported>;
  /** Writes the state into a folder that `useMultiFileAuthState` reads, in plain text. */
  exportAuthState(claim: Claim, folder: string): Promise<{ files: number }>;
  /**
   * Brings everything stored under the current key while sessions run; of the host's,
   * `session_data` and credentials in `session_state`.
   * Killed and run again it goes on. @throws ERR_KEY_MISSING
   */
  rotateCredentials(options?: RotateOptions): Promise<RotationReport>;
  /**
   * Claims an agent for this instance, or returns the claim it already has.
   * @param options.waitMs how long to wait for a live owner to go; 0 by default
   * @throws {@link AgentInUseError}, ERR_MIGRATION_REQUIRED, ERR_USER_ID_REQUIRED,
   *   ERR_SESSION_ROW_REFUSED, ERR_DATABASE_UNAVAILABLE
   */
  claimInstance(agentId: string, options?: ClaimOptions & { waitMs?: number }): Promise<Claim>;
  /** Claims any number of agents in one statement. */
  claimInstances(
    agentIds: string[],
    options?: ClaimOptions,
  ): Promise<{ claims: Claim[]; inUse: { agentId: string; owner: Owner }[] }>;
  /**
   * Renews all claims on a native thread until stopped. A second call while one runs returns the
   * running one; other options throw `ERR_ALREADY_CONFIGURED`.
   */
  startHeartbeat(options?: HeartbeatOptions): Heartbeat;
  /** The live owner of an agent, or null. */
  getOwner(agentId: string): Promise<Owner | null>;
  /**
   * The newest session row of every agent, with its owner. `active`: only those whose `is_active`
   * is so; `mine`: only those that this guard owns, or does not.
   */
  listSessions(filter?: { active?: boolean; mine?: boolean }): Promise<Session[]>;
  /**
   * Tells within moments which agents became free, anywhere. A message may be lost with a connection:
   * look at {@link listSessions} from time to time. Returns a function that stops it.
   */
  watchOwnership(listener: (freed: Freed) => void): StopWatching;
  /** Express middleware that limits requests; `store: 'database'` counts in this database. */
  rateLimit(options?: Partial<Options>): RateLimitRequestHandler;
  /** The same limits without HTTP. */
  createRateLimiter(options?: RateLimiterOptions): RateLimiter;

  /** Connects sessions at a pace, and again when they end. */
  createReconnectScheduler(options: ReconnectSchedulerOptions): ReconnectScheduler;
  /**
   * Claims an agent and keeps it connected: auth state, socket, session row, reconnecting, end.
   * @throws as {@link claimInstance}
   */
  superviseSession(
    agentId: string,
    options: SuperviseOptions & Supervision,
  ): Promise<SupervisedSession>;
  classifyDisconnect: typeof classifyDisconnect;
  /** Everything that is counted; also after {@link shutdown}. */
  metrics(): Metrics;
  /** The same in Prometheus' text format, to be sent as `text/plain; version=0.0.4`. */
  metricsText(options?: MetricsTextOptions): string;
  /**
   * Puts the same into a registry of prom-client's, which reads them when it is scraped. Doing so
   * again is harmless; another guard in the same registry needs another label.
   * @throws ERR_ALREADY_CONFIGURED
   */
  registerMetrics(registry: MetricsRegistry, options?: RegisterMetricsOptions): void;
  /**
   * Whether the database answers and the claims held are being renewed. Never rejects for what it
   * finds; after {@link shutdown} it tells `ok: false`.
   */
  health(options?: HealthOptions): Promise<Health>;
  /** Answers with {@link health} as JSON: 200, or 503 when not ok. */
  healthHandler(options?: HealthOptions): HealthHandler;
  /**
   * Hands schedulers' sessions over while others can take them, awaits `beforeRelease` for each claim,
   * releases all at once, stops and closes everything. Safe to call twice. Later calls are refused
   * with `ERR_SHUT_DOWN`, except those that only look, such as {@link metrics}.
   */
  shutdown(options?: ShutdownOptions): Promise<void>;
}

// The default guard's methods ---------------------------------------------------------------

/** {@link Guard.migrate} of the default guard. */
export function migrate(): Promise<Migrated>;
/** {@link Guard.rollback} of the default guard. */
export function rollback(): Promise<string[]>;
/** {@link Guard.encryptCredentials} of the default guard. */
export function encryptCredentials(value: unknown, options: AgentContext): EncryptedCredentials;
/** {@link Guard.decryptCredentials} of the default guard. */
export function decryptCredentials(stored: unknown, options: AgentContext): any;
/** {@link Guard.encryptBytes} of the default guard. */
export function encryptBytes(bytes: Uint8Array, options: ValueContext): Buffer;
/** {@link Guard.decryptBytes} of the default guard. */
export function decryptBytes(envelope: Uint8Array, options: ValueContext): Buffer;
/** {@link Guard.encryptMany} of the default guard. */
export function encryptMany(items: ValueToEncrypt[], options: AgentContext): Buffer[];
/** {@link Guard.decryptMany} of the default guard. */
export function decryptMany(items: ValueToDecrypt[], options: AgentContext): any[];
/** {@link Guard.inspectEnvelope} of the default guard. */
export function inspectEnvelope(stored: unknown): StoredForm;
/** {@link Guard.needsReencryption} of the default guard. */
export function needsReencryption(stored: unknown): boolean;
/** {@link Guard.useGuardedAuthState} of the default guard. */
export function useGuardedAuthState(
  claim: Claim,
  options?: AuthStateOptions,
): Promise<GuardedAuthState>;
/** {@link Guard.importAuthState} of the default guard. */
export function importAuthState(claim: Claim, options?: ImportOptions): Promise<Imported>;
/** {@link Guard.exportAuthState} of the default guard. */
export function exportAuthState(claim: Claim, folder: string): Promise<{ files: number }>;
/** {@link Guard.rotateCredentials} of the default guard. */
export function rotateCredentials(options?: RotateOptions): Promise<RotationReport>;
/** {@link Guard.claimInstance} of the default guard. */
export function claimInstance(
  agentId: string,
  options?: ClaimOptions & { waitMs?: number },
): Promise<Claim>;
/** {@link Guard.claimInstances} of the default guard. */
export function claimInstances(
  agentIds: string[],
  options?: ClaimOptions,
): Promise<{ claims: Claim[]; inUse: { agentId: string; owner: Owner }[] }>;
/** {@link Guard.startHeartbeat} of the default guard. */
export function startHeartbeat(options?: HeartbeatOptions): Heartbeat;
/** {@link Guard.getOwner} of the default guard. */
export function getOwner(agentId: string): Promise<Owner | null>;
/** {@link Guard.listSessions} of the default guard. */
export function listSessions(filter?: { active?: boolean; mine?: boolean }): Promise<Session[]>;
/** {@link Guard.watchOwnership} of the default guard. */
export function watchOwnership(listener: (freed: Freed) => void): StopWatching;
/** {@link Guard.shutdown} of the default guard, which is made for it if it was never used. */
export function shutdown(options?: ShutdownOptions): Promise<void>;

// Rate limits -------------------------------------------------------------------------------

export {
  AcquireOptions,
  Algorithm,
  AugmentedRequest,
  ClientRateLimitInfo,
  DraftHeadersVersion,
  EnabledValidations,
  IncrementResponse,
  LegacyStore,
  Logger as RateLimitLogger,
  MemoryStore,
  Options,
  PendingTurns,
  RateLimitExceededEventHandler,
  RateLimitInfo,
  RateLimiter,
  RateLimiterOptions,
  RateLimitRequestHandler,
  RateLimitResult,
  Store,
  ValueDeterminingMiddleware,
  createRateLimiter,
  ipKeyGenerator,
  rateLimit,
} from './rate-limit.js';

/** {@link Guard.createReconnectScheduler} of the default guard. */
export function createReconnectScheduler(options: ReconnectSchedulerOptions): ReconnectScheduler;
/** {@link Guard.superviseSession} of the default guard. */
export function superviseSession(
  agentId: string,
  options: SuperviseOptions & Supervision,
): Promise<SupervisedSession>;

/** {@link Guard.metrics} of the default guard, with the limiters made by the module. */
export function metrics(): Metrics;
/** {@link Guard.metricsText} of the default guard. */
export function metricsText(options?: MetricsTextOptions): string;
/** {@link Guard.registerMetrics} of the default guard. */
export function registerMetrics(registry: MetricsRegistry, options?: RegisterMetricsOptions): void;
/** {@link Guard.health} of the default guard. */
export function health(options?: HealthOptions): Promise<Health>;
/** {@link Guard.healthHandler} of the default guard. */
export function healthHandler(options?: HealthOptions): HealthHandler;
/** Listens to an event of the default guard, which is returned. */
export function on<Event extends keyof GuardEvents>(
  event: Event,
  listener: (...args: GuardEvents[Event]) => void,
): Guard;
/** The same for one time. */
export function once<Event extends keyof GuardEvents>(
  event: Event,
  listener: (...args: GuardEvents[Event]) => void,
): Guard;
/** Listens no more. */
export function off<Event extends keyof GuardEvents>(
  event: Event,
  listener: (...args: GuardEvents[Event]) => void,
): Guard;
