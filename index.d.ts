/**
 * baileys-guard: one owner for each WhatsApp session, and what has to hold around it.
 *
 * Every function rejects or throws with a {@link GuardError} only; `docs/errors.md` lists the
 * codes. Functions of the module work on a default guard, configured by {@link configure} or by
 * the environment; {@link createGuard} makes independent ones with the same methods.
 */

import { EventEmitter } from 'node:events';

// Errors ------------------------------------------------------------------------------------

/** Any error of this library. */
export class GuardError extends Error {
  /** Stable code, such as `ERR_DATABASE_UNAVAILABLE`. */
  readonly code: string;
  /** The agent it is about, where it is about one. */
  readonly agentId?: string;
}

/** The agent has a live owner elsewhere (`ERR_AGENT_IN_USE`). */
export class AgentInUseError extends GuardError {
  readonly agentId: string;
  readonly owner: Owner;
  /** When asking again can first succeed if the owner stays silent, in milliseconds. */
  readonly retryAfterMs: number;
}

/** Why a claim ended. */
export type LossReason =
  'taken' | 'row-gone' | 'expired' | 'stalled' | 'buried' | 'refused' | 'released';

/** The claim is no longer held (`ERR_CLAIM_LOST`). */
export class ClaimLostError extends GuardError {
  readonly agentId: string;
  readonly reason: LossReason;
}

/** A stored credential cannot be opened. */
export class DecryptionError extends GuardError {}

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
   * How long an instance may be silent before others take its agents over, in milliseconds.
   * @default LEASE_TTL_MS, else 60000
   */
  leaseTtlMs?: number;
  /**
   * 32 bytes as 64 hex or 44 base64 characters.
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
   * Connections of the pool; heartbeat and listener have one of their own each.
   * @default DATABASE_MAX_CONNECTIONS, else 5
   */
  maxConnections?: number;
  /** @default console */
  logger?: GuardLogger;
}

/** Makes an independent guard. Touches no database until its first call. */
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
  /** Grows with every change of owner. */
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
   */
  release(options?: { deactivate?: boolean }): Promise<void>;
}

export interface ClaimOptions {
  /** Needed where the host's table has a NOT NULL `user_id` and no row for the agent yet. */
  userId?: string;
}

export interface HeartbeatOptions {
  /** How often `last_heartbeat` of the session rows is refreshed. @default 60000 */
  intervalMs?: number;
  /** How long the event loop may stand still before all claims are lost. @default leaseTtlMs */
  maxEventLoopStallMs?: number;
  /** Called for every claim that is lost. */
  onLost?: (claim: Claim, error: ClaimLostError) => void;
  /** Called for every beat that failed; the next one is under way. */
  onError?: (error: GuardError) => void;
}

export interface HeartbeatStats {
  running: boolean;
  beats: number;
  failures: number;
  consecutiveFailures: number;
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

/** What {@link Guard} emits. */
export interface GuardEvents {
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
  listSessions(filter?: { active?: boolean; mine?: boolean }): Promise<Session[]>;
  /** Tells within moments which agents became free, anywhere. */
  watchOwnership(listener: (freed: Freed) => void): StopWatching;
  /**
   * Awaits `beforeRelease` for each claim, releases all at once, stops and closes everything.
   * Safe to call twice. Every later call rejects with `ERR_SHUT_DOWN`.
   */
  shutdown(options?: ShutdownOptions): Promise<void>;
}

// The default guard's methods ---------------------------------------------------------------

/** {@link Guard.migrate} of the default guard. */
export function migrate(): Promise<Migrated>;
/** {@link Guard.rollback} of the default guard. */
export function rollback(): Promise<string[]>;
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
/** {@link Guard.shutdown} of the default guard. */
export function shutdown(options?: ShutdownOptions): Promise<void>;
