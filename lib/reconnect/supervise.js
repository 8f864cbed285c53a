'use strict';

// The whole of it for one session: auth state, socket, events, session row, end.

const { once } = require('node:events');

const { checkFunction } = require('../arguments');
const { GuardError, invalidArgument } = require('../errors');
const { withLimit } = require('../with-limit');
const { sessionEnded } = require('./attempt');
const { factsOf, reasonOf } = require('./facts');
const { SessionRow } = require('./session-row');

/** How long a socket may take to close politely before its connection is cut. */
const POLITE_MS = 1000;

const RESTART_REQUIRED = 515;

/** A way to connect that supervises what it connects. */
function supervised(engine, host, options) {
  const opener = async (agentId, { claim, attempt, signal }, life) => {
    const session = new Socket(engine, host, options, { agentId, claim, attempt, signal });
    life.closesWith(session.closed);
    life.isIdle = () => session.isIdle();
    life.decided = (decision) => session.decided(decision);
    life.unlink = () => session.unlink();
    life.forget = () => session.forget();
    await session.open();
  };
  /** A person's wish to pair anew is for this time. */
  opener.disarm = () => (options.pairAnew = false);
  opener.forget = (claim) => forgetAuth(host, options, claim);
  return opener;
}

async function openAuth(host, { authState }, claim) {
  if (typeof authState === 'function') return authState(claim, { agentId: claim.agentId });
  return authState ?? host.guard.useGuardedAuthState(claim);
}

/** Deletes the credentials: because a person wants it, never because of what WhatsApp says. */
async function clearAuth(auth) {
  checkFunction(auth.clear, 'authState.clear');
  await auth.clear();
}

/** The same where no socket has them: ours are not opened for that, for the key may be lost. */
async function forgetAuth(host, options, claim) {
  if (options.authState === undefined) return host.clearAuthState(claim);
  return clearAuth(await openAuth(host, options, claim));
}

/** One socket and everything that hangs on it. */
class Socket {
  #engine;
  #host;
  #options;
  #agentId;
  #claim;
  #attempt;
  #signal;
  #row;
  #auth;
  #socket;
  #listening = []; // [emitter, event, listener]
  #saving = Promise.resolve();
  #unwatch;
  #heardMs = performance.now();
  #usedMs = performance.now();
  #isOpen = false;
  #over = false;
  #forgets = false; // the credentials are deleted with its end
  #settled; // resolves open(): the connection is up, over, or waits for a person
  #closed;

  constructor(engine, host, options, { agentId, claim, attempt, signal }) {
    this.#engine = engine;
    this.#host = host;
    this.#options = options;
    this.#agentId = agentId;
    this.#claim = claim;
    this.#attempt = attempt;
    this.#signal = signal;
    this.#row = new SessionRow(claim, host);
    /** Resolves when the socket is closed and what it wrote is written. */
    this.closed = new Promise((resolve) => (this.#closed = resolve));
    signal.addEventListener('abort', () => this.#end(signal.reason), { once: true });
  }

  /** Resolves when the connection is up, has ended, or shows a QR code. */
  async open() {
    try {
      this.#row.write({ status: 'connecting', qrCode: null });
      this.#auth = await openAuth(this.#host, this.#options, this.#claim);
      this.#signal.throwIfAborted();
      const socket = await this.#options.makeSocket({
        agentId: this.#agentId,
        auth: this.#auth.state,
        claim: this.#claim,
        attempt: this.#attempt,
        signal: this.#signal,
      });
      this.#adopt(socket);
    } catch (error) {
      this.#end(error);
      throw error;
    }
    if (this.#over) return;
    await new Promise((resolve) => (this.#settled = resolve));
  }

  /** Nothing has been sent or received for a minute but what keeps the connection alive. */
  isIdle() {
    return this.#isOpen && performance.now() - this.#usedMs > 60_000;
  }

  /** Takes this device off the phone's list. WhatsApp ends the connection then. */
  async unlink() {
    if (this.#isOpen) await this.#socket.logout?.();
  }

  #adopt(socket) {
    if (typeof socket?.ev?.on !== 'function') {
      throw invalidArgument('makeSocket', 'must return a Baileys socket');
    }
    this.#socket = socket;
    if (this.#over) {
      this.#close(this.#signal.reason); // it came too late
      return;
    }
    this.#on(socket.ev, 'connection.update', (update) => this.#updated(update));
    this.#on(socket.ev, 'creds.update', () => this.#save());
    for (const event of ['messages.upsert', 'messages.update', 'message-receipt.update']) {
      this.#on(socket.ev, event, () => (this.#usedMs = performance.now()));
    }
    this.#on(socket.ws, 'message', () => (this.#heardMs = performance.now()));
    // An HTTP refusal leads to no event of Baileys at all: the socket would hang for ever.
    this.#on(socket.ws, 'unexpected-response', (request, response) => this.#refused(response));
    this.#unwatch = this.#host.health.add({
      isOpen: () => this.#isOpen,
      problem: () => this.#problem(),
      report: (problem) => this.#unhealthy(problem),
    });
    // What happened while `makeSocket` was still at work told nobody.
    if (socket.ws?.isClosed === true) this.#unhealthy('its socket is closed');
  }

  #on(emitter, event, listener) {
    if (typeof emitter?.on !== 'function') return;
    emitter.on(event, listener);
    this.#listening.push([emitter, event, listener]);
  }

  #updated({ connection, lastDisconnect, qr, isNewLogin }) {
    this.#heardMs = performance.now();
    if (qr) {
      this.#engine.progress(this.#agentId);
      this.#row.write({ status: 'qr_pending', qrCode: qr });
      this.#engine.tell({ type: 'qr', agentId: this.#agentId, qr });
      this.#settled?.();
    }
    if (isNewLogin) {
      this.#engine.progress(this.#agentId);
      this.#row.write({ status: 'connecting', qrCode: null });
    }
    if (connection === 'open') this.#opened();
    if (connection === 'close') this.#ended(factsOf(lastDisconnect ?? {}), lastDisconnect?.error);
  }

  #opened() {
    this.#isOpen = true;
    this.#options.pairAnew = false; // from here on a logout is news for a person
    const { creds } = this.#auth.state;
    const phoneNumber = phoneNumberOf(creds?.me?.id);
    this.#row.write({
      status: 'connected',
      qrCode: null,
      lastConnected: new Date(),
      ...(phoneNumber === undefined ? {} : { phoneNumber }),
    });
    this.#engine.connected(this.#agentId);
    this.#settled?.();
  }

  /** In order: the next save waits for the one before. */
  #save() {
    this.#saving = this.#saving.then(async () => {
      try {
        await this.#auth.saveCreds();
      } catch (error) {
        // A claim that is lost ends the socket by its signal.
        if (error?.code !== 'ERR_CLAIM_LOST') {
          this.#host.listeners.trouble(`saving the credentials of agent ${this.#agentId}`, error);
        }
      }
    });
  }

  #refused(response) {
    const status = response?.statusCode;
    response?.resume?.();
    const error = new GuardError(
      'ERR_UPGRADE_REFUSED',
      `agent ${this.#agentId}: the WebSocket upgrade was answered with HTTP ${status}`,
      { agentId: this.#agentId, statusCode: status },
    );
    this.#ended({ code: status, found: 'upgradeRefused' }, error);
  }

  /** What is wrong with a socket that says nothing about it. */
  #problem() {
    const { ws } = this.#socket;
    if (ws?.isClosed === true || ws?.isClosing === true) return 'its socket is closed';
    if (!this.#isOpen) return undefined; // the scheduler watches how long a connect takes
    if (ws?.isOpen === false) return 'its socket is not open';
    const silentMs = performance.now() - this.#heardMs;
    if (ws && silentMs > this.#options.silentAfterMs) {
      return `nothing was heard for ${Math.round(silentMs / 1000)} s`;
    }
    return undefined;
  }

  #unhealthy(problem) {
    const error = new GuardError('ERR_SOCKET_DEAD', `agent ${this.#agentId}: ${problem}`, {
      agentId: this.#agentId,
    });
    this.#ended({ text: problem, found: 'socketDead' }, error);
  }

  /** The connection is over: the scheduler decides what comes next. */
  #ended(told, error) {
    if (this.#over) return;
    // A person wants to connect, and these credentials never will: a new start, without them.
    this.#forgets = this.#options.pairAnew === true && reasonOf(told) === 'loggedOut';
    const facts = this.#forgets ? { code: RESTART_REQUIRED } : told;
    const { reason } = this.#engine.ended(this.#agentId, facts, error, told);
    this.#end(error ?? sessionEnded(this.#agentId, reason)); // unless its signal has done so
  }

  /** Shows what comes next; what is final is shown by the scheduler, with the release. */
  decided({ action, reason }) {
    if (action === 'retry') this.#row.write({ status: 'connecting', qrCode: null });
    if (action === 'quarantine' && reason !== 'connectionReplaced') {
      this.#row.write({ status: 'error', qrCode: null });
    }
  }

  /** Ends it here. The first call counts. */
  #end(reason) {
    if (this.#over) return;
    this.#over = true;
    this.#isOpen = false;
    this.#unwatch?.();
    for (const [emitter, event, listener] of this.#listening) {
      // Credentials that Baileys tells while it closes are to be saved as well.
      if (event !== 'creds.update') emitter.off(event, listener);
    }
    this.#settled?.();
    this.#close(reason);
  }

  async #close(reason) {
    if (this.#socket) {
      await closeSocket(this.#socket, reason);
      for (const [emitter, event, listener] of this.#listening) emitter.off(event, listener);
    }
    await this.#saving;
    if (this.#forgets) await this.#forgetOrTell();
    if (this.#endedForNow(reason)) this.#row.write({ status: 'disconnected', qrCode: null });
    await this.#row.written();
    this.#closed();
  }

  async #forgetOrTell() {
    try {
      await this.forget();
    } catch (error) {
      this.#host.listeners.trouble(`deleting the old credentials of agent ${this.#agentId}`, error);
    }
  }

  /** Deletes the credentials: through the state that its socket wrote to, which ends with that. */
  async forget() {
    if (this.#auth) await clearAuth(this.#auth);
    else await forgetAuth(this.#host, this.#options, this.#claim);
  }

  /** Stopped here, to go on elsewhere or later: nobody is connected meanwhile. */
  #endedForNow(reason) {
    return reason === this.#signal.reason && reason?.code === 'ERR_SESSION_ENDED';
  }
}

/** Politely, and if that takes too long by force: a silent peer would hold the socket for 30 s. */
async function closeSocket(socket, reason) {
  try {
    await withLimit(endSocket(socket, reason), POLITE_MS);
  } catch {
    // It could not even be ended; what is left of it is cut off below.
  }
  try {
    if (socket.ws?.isClosed === false) socket.ws.socket?.terminate?.();
  } catch {
    // Gone already.
  }
}

/** Baileys' `end` returns at once where it closes already, as after a logout that is on its way. */
async function endSocket(socket, reason) {
  await socket.end?.(reason);
  const { ws } = socket;
  if (ws?.isClosed === false && ws.isClosing) await once(ws, 'close');
}

/** The digits of `4915112345678:12@s.whatsapp.net`. */
function phoneNumberOf(id) {
  return /^(\d{1,15})[:@]/.exec(id ?? '')?.[1];
}

/** What `superviseSession` gives: a session that is kept connected until told otherwise. */
class SupervisedSession {
  #scheduler;
  #claim;
  #current;

  constructor(scheduler, claim, current) {
    this.#scheduler = scheduler;
    this.#claim = claim;
    this.#current = current;
  }

  get agentId() {
    return this.#claim.agentId;
  }

  /** The claim it runs under now: a new one after the first was lost and taken anew. */
  get claim() {
    return this.#current()?.claim ?? this.#claim;
  }

  /** As the scheduler's `cancel()`. */
  stop(options) {
    return this.#scheduler.cancel(this.agentId, options);
  }
}

module.exports = { SupervisedSession, supervised };
