'use strict';

// A guard: one instance's ownership of agents, and the calls users make.

const { EventEmitter } = require('node:events');

const {
  checkFunction,
  checkId,
  checkMs,
  checkObject,
  checkOptionalBoolean,
  checkOptionalFunction,
  checkOptionalId,
} = require('./arguments');
const { GuardAuthStates } = require('./auth-state/guard-states');
const { Claim } = require('./claim');
const { createCredentials } = require('./credentials');
const {
  AgentInUseError,
  GuardError,
  invalidArgument,
  ownerFrom,
  settle,
  unwrap,
} = require('./errors');
const { Heartbeat } = require('./heartbeat');
const { Listeners } = require('./listeners');
const { Insight } = require('./metrics');
const native = require('./native');
const { resolveOptions } = require('./options');
const { GuardLimits, NativeLimitStore } = require('./rate-limit/guard-limits');
const { Reconnecting } = require('./reconnect');
const { classifyDisconnect } = require('./reconnect/facts');
const { withLimit } = require('./with-limit');

const SESSION_DATES = ['lastConnected', 'updatedAt'];

class Guard extends EventEmitter {
  #native;
  #options;
  #credentials;
  #claims = new Map(); // serial of the native claim -> Claim
  #releases = new Map(); // serial of a native claim -> promise of its release, while that goes on
  #watchers = new Set(); // of watchOwnership
  #listeners;
  #heartbeat;
  #limits;
  #limitStore;
  #reconnecting;
  #shutdown;
  #authStates;
  #insight;

  /** `limits` that were there before their guard are the default one's only. */
  constructor(options, limits = new GuardLimits(() => Guard.limitStoreOf(this))) {
    super();
    // Past this point only the native side has the keys.
    const { encryptionKey, previousEncryptionKeys, ...resolved } = resolveOptions(options);
    this.#options = resolved;
    const isShutDown = () => this.#shutdown !== undefined;
    this.#listeners = new Listeners(this, { logger: resolved.logger, isShutDown });
    this.#credentials = createCredentials({ ...resolved, encryptionKey, previousEncryptionKeys });
    this.#native = unwrap(
      native.NativeGuard.create(
        {
          databaseUrl: resolved.databaseUrl,
          instanceId: resolved.instanceId,
          hostname: resolved.instanceHostname,
          pid: process.pid,
          leaseTtlMs: resolved.leaseTtlMs,
          keepWhenStoreLost: resolved.onStoreLost === 'keep',
          maxConnections: resolved.maxConnections,
        },
        (event) => this.#happened(event),
      ),
    );
    this.#authStates = new GuardAuthStates({
      native: this.#native,
      credentials: this.#credentials,
      options: resolved,
      listeners: this.#listeners,
      checkOpen: () => this.#checkOpen(),
    });
    this.#reconnecting = new Reconnecting({
      guard: this,
      native: this.#native,
      logger: resolved.logger,
      claimOn: (agentId) => this.#claims.get(this.#native.held(agentId)),
      listeners: this.#listeners,
      claimFree: async (agentIds) => {
        // They come from the host's table, where anything may be.
        for (const agentId of agentIds) checkId(agentId, 'agentId');
        return this.#claimMany(agentIds);
      },
      clearAuthState: (claim) => this.#authStates.clear(claim),
      checkOpen: () => this.#checkOpen(),
      isBeating: () => this.#heartbeat !== undefined,
    });
    this.#limits = limits;
    this.#insight = new Insight({
      native: this.#native,
      credentials: this.#credentials,
      reconnecting: this.#reconnecting,
      tallies: limits.tallies,
      leaseTtlMs: resolved.leaseTtlMs,
      authStats: () => this.#authStates.stats(),
      isBeating: () => this.#heartbeat !== undefined,
      isShutDown,
      listeners: this.#listeners,
    });
  }

  /** What Baileys' `makeWASocket({ auth })` takes, encrypted, in the database, under the fence. */
  async useGuardedAuthState(claim, options) {
    return this.#authStates.use(claim, options);
  }

  /** Takes over a `useMultiFileAuthState` folder and the host's `session_data`. */
  async importAuthState(claim, options) {
    return this.#authStates.import(claim, options);
  }

  /** Writes the state into a folder that `useMultiFileAuthState` reads. */
  async exportAuthState(claim, folder) {
    return this.#authStates.export(claim, folder);
  }

  /** Brings everything stored under the current key, while sessions run. */
  async rotateCredentials(options) {
    return this.#authStates.rotate(options);
  }

  /** This instance's public name. */
  get instanceId() {
    return this.#options.instanceId;
  }

  async migrate() {
    this.#checkOpen();
    const migrated = await settle(this.#native.migrate());
    for (const { agentId, rows } of migrated.duplicates) {
      this.#options.logger.warn(
        `[BAILEYS] agent ${agentId} has ${rows} rows in whatsapp_sessions; the newest one is used`,
      );
    }
    return migrated;
  }

  async rollback() {
    this.#checkOpen();
    return settle(this.#native.rollback());
  }

  async claimInstance(agentId, options) {
    const { userId, waitMs = 0 } = checkObject(options, 'options');
    checkId(agentId, 'agentId');
    checkMs(waitMs, 'waitMs');
    const user = checkOptionalId(userId, 'userId');
    this.#checkOpen();
    let claim;
    try {
      claim = await this.#claimHeld(
        () => settle(this.#native.claim(agentId, user, waitMs)),
        (granted) => [granted],
      );
    } catch (error) {
      if (error instanceof AgentInUseError) this.#insight.claimRefused(agentId, error.owner);
      throw error;
    }
    await this.#checkStillOpen([claim]);
    return this.#take([claim])[0];
  }

  async claimInstances(agentIds, options) {
    const { userId } = checkObject(options, 'options');
    if (!Array.isArray(agentIds)) throw invalidArgument('agentIds', 'must be an array of strings');
    // A copy: what is checked is what is claimed, and an array with holes has them checked, too.
    const checked = Array.from(agentIds, (agentId, index) =>
      checkId(agentId, `agentIds[${index}]`),
    );
    const user = checkOptionalId(userId, 'userId');
    const answer = await this.#claimMany(checked, user);
    for (const { agentId, owner } of answer.inUse) this.#insight.claimRefused(agentId, owner);
    return answer;
  }

  async #claimMany(agentIds, user) {
    this.#checkOpen();
    const answer = await this.#claimHeld(
      () => settle(this.#native.claimMany(agentIds, user)),
      ({ claims }) => claims,
    );
    await this.#checkStillOpen(answer.claims);
    const claims = this.#take(answer.claims);
    const inUse = answer.inUse.map(({ agentId, owner }) => ({ agentId, owner: ownerFrom(owner) }));
    return { claims, inUse };
  }

  startHeartbeat(options) {
    const {
      intervalMs = 60_000,
      maxEventLoopStallMs = this.#options.leaseTtlMs,
      onLost,
      onError,
    } = checkObject(options, 'options');
    checkMs(intervalMs, 'intervalMs', { min: 10 });
    checkMs(maxEventLoopStallMs, 'maxEventLoopStallMs', { min: 10 });
    const checked = {
      intervalMs,
      maxEventLoopStallMs,
      onLost: checkOptionalFunction(onLost, 'onLost'),
      onError: checkOptionalFunction(onError, 'onError'),
    };
    this.#checkOpen();
    if (this.#heartbeat) {
      // Called with nothing, it asks for the one that runs, whatever that was started with.
      const same = Object.keys(checked).every(
        (name) => options?.[name] === undefined || checked[name] === this.#heartbeat.options[name],
      );
      if (same) return this.#heartbeat;
      throw new GuardError(
        'ERR_ALREADY_CONFIGURED',
        'a heartbeat with other options is running; stop() it first',
      );
    }
    unwrap(this.#native.startHeartbeat(intervalMs, maxEventLoopStallMs));
    this.#heartbeat = new Heartbeat(this.#native, checked, () => (this.#heartbeat = undefined));
    return this.#heartbeat;
  }

  async getOwner(agentId) {
    checkId(agentId, 'agentId');
    this.#checkOpen();
    const owner = await settle(this.#native.owner(agentId));
    return owner ? ownerFrom(owner) : null;
  }

  async listSessions(options) {
    const { active, mine } = checkObject(options, 'options');
    checkOptionalBoolean(active, 'active');
    checkOptionalBoolean(mine, 'mine');
    this.#checkOpen();
    const sessions = await settle(this.#native.sessions(active, mine));
    return sessions.map((session) => {
      for (const name of SESSION_DATES) {
        session[name] = dateOf(session[name]);
      }
      session.owner = session.owner ? ownerFrom(session.owner) : null;
      return session;
    });
  }

  /**
   * Calls `listener({ agentIds, reason, instanceId })` when agents become free anywhere.
   * The function it returns stops that; its `ready` promise resolves when nothing can be missed.
   */
  watchOwnership(listener) {
    checkFunction(listener, 'listener');
    this.#checkOpen();
    const entry = { listener };
    this.#watchers.add(entry);
    const stop = () => void this.#watchers.delete(entry);
    stop.ready = settle(this.#native.watchFreed());
    stop.ready.catch((error) => this.#listeners.trouble('cannot watch ownership', error));
    return stop;
  }

  encryptCredentials(value, options) {
    this.#checkOpen();
    return this.#credentials.encryptCredentials(value, options);
  }

  decryptCredentials(stored, options) {
    this.#checkOpen();
    return this.#credentials.decryptCredentials(stored, options);
  }

  encryptBytes(bytes, options) {
    this.#checkOpen();
    return this.#credentials.encryptBytes(bytes, options);
  }

  decryptBytes(envelope, options) {
    this.#checkOpen();
    return this.#credentials.decryptBytes(envelope, options);
  }

  encryptMany(items, options) {
    this.#checkOpen();
    return this.#credentials.encryptMany(items, options);
  }

  decryptMany(items, options) {
    this.#checkOpen();
    return this.#credentials.decryptMany(items, options);
  }

  inspectEnvelope(stored) {
    this.#checkOpen();
    return this.#credentials.inspectEnvelope(stored);
  }

  needsReencryption(stored) {
    this.#checkOpen();
    return this.#credentials.needsReencryption(stored);
  }

  /** Express middleware that limits requests; `store: 'database'` counts in this database. */
  rateLimit(options) {
    this.#checkOpen();
    return this.#limits.rateLimit(options);
  }

  /** The same limits without HTTP. */
  createRateLimiter(options) {
    this.#checkOpen();
    return this.#limits.createRateLimiter(options);
  }

  /** What limiters with `store: 'database'` count in; not for users. */
  static limitStoreOf(guard) {
    guard.#checkOpen();
    return (guard.#limitStore ??= new NativeLimitStore(guard.#native));
  }

  /** What the command line tool asks of a guard; not for users. */
  static operatorOf(guard) {
    return {
      diagnose: () => settle(guard.#native.diagnose()),
      /** Takes an agent from a live owner; it has stopped `settlesAfterMs` later. */
      seize: async (agentId) => {
        checkId(agentId, 'agentId');
        const { claim, settlesAfterMs } = await settle(guard.#native.seize(agentId));
        return { claim: guard.#take([claim])[0], settlesAfterMs };
      },
    };
  }

  createReconnectScheduler(options) {
    this.#checkOpen();
    return this.#reconnecting.createScheduler(options);
  }

  async superviseSession(agentId, options) {
    this.#checkOpen();
    return this.#reconnecting.superviseSession(agentId, options);
  }

  classifyDisconnect(error, options) {
    return classifyDisconnect(error, options);
  }

  // What it shows of itself; also after shutdown(), see lib/metrics.

  metrics() {
    return this.#insight.metrics();
  }

  /** The same as Prometheus reads it. */
  metricsText(options) {
    return this.#insight.metricsText(options);
  }

  /** The same in a registry of prom-client's. */
  registerMetrics(registry, options) {
    this.#checkOpen();
    this.#insight.registerMetrics(registry, options);
  }

  /** Whether the database answers and claims are being renewed. Never rejects for what it finds. */
  async health(options) {
    return this.#insight.check(options);
  }

  /** Express middleware that answers with `health()`: 200 or 503. */
  healthHandler(options) {
    return this.#insight.handler(options);
  }

  async shutdown(options) {
    const { timeoutMs = 10_000, beforeRelease } = checkObject(options, 'options');
    checkMs(timeoutMs, 'timeoutMs');
    checkOptionalFunction(beforeRelease, 'beforeRelease');
    await (this.#shutdown ??= this.#end(timeoutMs, beforeRelease));
  }

  async #end(timeoutMs, beforeRelease) {
    this.#limits.close();
    const started = performance.now();
    const left = () => Math.max(0, timeoutMs - (performance.now() - started));
    const close = async (claim) => {
      try {
        await beforeRelease?.(claim);
      } catch (error) {
        this.#listeners.trouble(`beforeRelease of agent ${claim.agentId} failed`, error);
      }
    };
    // The heart goes on beating until the sockets are closed: nobody may take over before.
    // Most of the time is for handing sessions over one by one, the rest for what is left then.
    await withLimit(
      this.#reconnecting.end({ timeoutMs: timeoutMs * 0.6, beforeRelease: close }),
      timeoutMs * 0.8,
    );
    const claims = [...this.#claims.values()];
    await withLimit(Promise.all(claims.map(close)), left());
    await withLimit(Promise.all(claims.map((claim) => claim.flush())), left());
    this.#heartbeat?.stop();
    // Before others may have them, as in Claim.release().
    for (const claim of claims) if (claim.held) claim.end('released');
    const told = await this.#native.shutdown(Math.max(left(), 0.2 * timeoutMs));
    this.#watchers.clear();
    if (!told) {
      this.#options.logger.warn(
        '[BAILEYS] the database could not be told of the shutdown; other instances take over ' +
          'after the time to live',
      );
    }
  }

  #checkOpen() {
    if (this.#shutdown) {
      throw new GuardError(
        'ERR_SHUT_DOWN',
        'this guard has been shut down; create a new one to go on',
      );
    }
  }

  /**
   * Asks for claims that go on being held. One that is just being given back may still be answered:
   * its release is waited for, and the agent claimed anew.
   */
  async #claimHeld(ask, claimsOf) {
    for (;;) {
      const answer = await ask();
      const given = claimsOf(answer).filter(
        (claim) => this.#releases.has(claim.serial) || claim.ended() === 'released',
      );
      if (given.length === 0) return answer;
      await Promise.allSettled(given.map(({ serial }) => this.#releases.get(serial)));
    }
  }

  /** A claim that came too late for `beforeRelease` is given back, and nobody gets to see it. */
  async #checkStillOpen(nativeClaims) {
    if (!this.#shutdown) return;
    const late = nativeClaims.filter(({ serial }) => !this.#claims.has(serial));
    await Promise.allSettled(late.map((claim) => claim.release(false)));
    this.#checkOpen();
  }

  /** The Claims of native claims, the same ones for the same claims. One line is logged for all. */
  #take(nativeClaims) {
    if (nativeClaims.some(({ serial }) => !this.#claims.has(serial))) {
      const { instanceHostname, instanceId, logger } = this.#options;
      logger.info(`[BAILEYS] ✅ Instance claim registered: ${instanceHostname} (${instanceId})`);
    }
    return nativeClaims.map((one) => this.#claims.get(one.serial) ?? this.#adopt(one));
  }

  #adopt(nativeClaim) {
    const claim = new Claim(nativeClaim, {
      instanceId: this.#options.instanceId,
      hostname: this.#options.instanceHostname,
      onEnd: (ended, error) => this.#ended(nativeClaim.serial, ended, error),
      onRelease: (release) => this.#released(nativeClaim.serial, release),
    });
    this.#claims.set(nativeClaim.serial, claim);
    void claim.held; // a loss told while the claim was on its way here found nobody to tell
    if (nativeClaim.takeover) this.#listeners.tell('takeover', { agentId: claim.agentId, claim });
    return claim;
  }

  async #released(serial, release) {
    this.#releases.set(serial, release);
    await Promise.allSettled([release]);
    if (this.#releases.get(serial) === release) this.#releases.delete(serial);
  }

  #ended(serial, claim, error) {
    this.#claims.delete(serial);
    if (error.reason === 'released') return;
    this.#options.logger.warn(`[BAILEYS] ${error.message}`);
    this.#listeners.call(this.#heartbeat?.options.onLost, claim, error);
    this.#listeners.tell('claimLost', { agentId: claim.agentId, claim, error });
  }

  /** Something the native side tells without being asked. */
  #happened(event) {
    const { logger } = this.#options;
    switch (event.kind) {
      case 'ping':
        this.#native.pong();
        break;
      case 'lost':
        this.#claims.get(event.serial)?.end(event.reason);
        break;
      case 'beatFailed': {
        const error = new GuardError(event.code, event.message);
        // The first failure is worth a line; the rest of an outage is told by onError.
        if (event.count === 1) logger.warn(`[BAILEYS] heartbeat failed: ${error.message}`);
        this.#listeners.call(this.#heartbeat?.options.onError, error);
        this.#listeners.tell('heartbeatFailing', { error, consecutive: event.count });
        this.#insight.health.failed(error);
        break;
      }
      case 'beatRecovered':
        logger.info(`[BAILEYS] heartbeat works again after ${event.count} failures`);
        this.#listeners.tell('heartbeatRecovered', { failures: event.count });
        this.#insight.health.answered();
        break;
      case 'freed': {
        const { agentIds, reason, instanceId } = event;
        for (const { listener } of [...this.#watchers]) {
          this.#listeners.call(listener, { agentIds: [...agentIds], reason, instanceId });
        }
        break;
      }
      case 'buried': {
        const { instanceId, proven } = event;
        const why = proven ? 'its process is gone' : 'it was silent for its time to live';
        logger.info(`[BAILEYS] instance ${instanceId} is dead (${why}); its agents are free`);
        this.#listeners.tell('instanceDead', { instanceId, proven });
        break;
      }
      case 'trouble':
        this.#listeners.trouble('in the background', new GuardError(event.code, event.message));
        break;
    }
  }
}

/** A host's column may hold a moment that no Date can. */
function dateOf(ms) {
  const date = new Date(ms ?? NaN);
  return Number.isNaN(date.getTime()) ? null : date;
}

module.exports = { Guard };
