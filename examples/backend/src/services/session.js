'use strict';

/**
 * One agent's WhatsApp session, for as long as this instance holds its claim: socket after socket
 * until it is closed, WhatsApp ends it for good, or the claim is lost.
 *
 * The claim's signal closes the socket at once, whatever the session is doing.
 */

const { ClaimLostError } = require('baileys-guard');

const { HttpError } = require('../errors');
const { loadAuthState } = require('./authState');
const { afterDisconnect } = require('./disconnects');
const { closeSocket, makeSocket } = require('./socket');

/** How long a socket may be silent before there is a QR code or an open connection. */
const CONNECT_TIMEOUT_MS = 60_000;
/** A connection that has held for this long starts its backoff anew when it closes. */
const STABLE_AFTER_MS = 60_000;

class Session {
  status = 'initializing';
  qrCode = null;
  phoneNumber = null;
  /** Why the last connection closed. */
  reason = null;
  ended = false;

  #auth;
  #sock;
  #closed; // resolves when the socket is closed and its credentials are saved
  #timer; // of the next thing to come: the connect timeout, stability, the next attempt
  #attempts = 0;
  #written = Promise.resolve(); // the last write of the session row

  #mayPairAnew;

  /** `asked`: a person wants to connect, and may pair anew where the phone has ended the pairing. */
  constructor(claim, { asked = false } = {}) {
    this.claim = claim;
    this.#mayPairAnew = asked;
    claim.signal.addEventListener('abort', () => this.close(), { once: true });
  }

  get agentId() {
    return this.claim.agentId;
  }

  async open() {
    this.#show({ status: 'connecting' });
    try {
      this.#auth = await loadAuthState(this.claim);
      if (!this.ended && this.claim.held) this.#connect();
    } catch (error) {
      this.#disconnected(error);
    }
  }

  /** Ends the session; resolves when its socket is closed and nothing is left to be written. */
  async close() {
    this.#end('disconnected');
    if (this.#sock) await closeSocket(this.#sock, this.#closed);
    await this.#written;
  }

  /** Unlinks this device from the phone and ends the session. */
  async logout() {
    const sock = this.#openSocket();
    this.#end('disconnected');
    await sock.logout();
    await this.close();
    await this.#auth.clear();
  }

  async sendMessage(jid, content) {
    return this.#openSocket().sendMessage(jid, content);
  }

  /** The socket, at a moment when it may be used. */
  #openSocket() {
    if (!this.claim.held) throw this.claim.signal.reason;
    if (this.status !== 'connected')
      throw new HttpError(409, `WhatsApp is not connected: ${this.status}`);
    return this.#sock;
  }

  #connect() {
    const auth = this.#auth;
    const sock = makeSocket(auth.state);
    this.#sock = sock;
    this.#after(CONNECT_TIMEOUT_MS, () => sock.end(new Error('WhatsApp did not answer')));

    let saved = Promise.resolve();
    sock.ev.on('creds.update', () => {
      // In order, and a session that cannot save its keys must not go on using them.
      saved = saved.then(auth.saveCreds).catch((error) => sock.end(error));
    });
    this.#closed = new Promise((resolve) => {
      sock.ev.on('connection.update', async ({ connection, qr, lastDisconnect }) => {
        if (qr) this.#scannable(qr);
        if (connection === 'open') this.#connected(sock.user.id);
        if (connection === 'close') {
          await saved;
          resolve();
          this.#disconnected(lastDisconnect?.error);
        }
      });
    });
    // Your own handlers, such as for 'messages.upsert', go here.
  }

  #scannable(qr) {
    clearTimeout(this.#timer); // Baileys itself ends a QR code that nobody scans
    this.#show({ status: 'qr_pending', qrCode: qr });
  }

  #connected(jid) {
    this.#mayPairAnew = false; // from here on a logout is news for a person
    this.reason = null;
    this.#after(STABLE_AFTER_MS, () => (this.#attempts = 0));
    const phoneNumber = jid.split(/[:@]/)[0];
    this.#show({ status: 'connected', qrCode: null, phoneNumber, lastConnected: new Date() });
  }

  #disconnected(error) {
    clearTimeout(this.#timer);
    if (this.ended || !this.claim.held) return;
    const next = afterDisconnect(error, this.#attempts);
    this.reason = next.reason;
    console.info(`[BAILEYS] agent ${this.agentId}: ${next.reason}; ${next.action}`);
    if (next.loggedOut && this.#mayPairAnew) {
      this.#mayPairAnew = false;
      this.#pairAnew();
      return;
    }
    if (next.action === 'stop') {
      this.#stop(next).catch((failure) =>
        console.error(`[BAILEYS] agent ${this.agentId}:`, failure),
      );
      return;
    }
    if (next.delayMs > 0) this.#attempts += 1;
    this.#show({ status: 'connecting', qrCode: null });
    this.#after(next.delayMs, () => this.open());
  }

  #end(status) {
    if (this.ended) return;
    Object.assign(this, { ended: true, status, qrCode: null });
    clearTimeout(this.#timer);
  }

  /** The credentials are of a pairing that the phone has ended: makes room for a new one. */
  async #pairAnew() {
    try {
      await this.#auth.clear();
      if (!this.ended && this.claim.held) await this.open();
    } catch (error) {
      this.#disconnected(error);
    }
  }

  /**
   * Nothing more that this instance can do: shows why and gives the agent back. Credentials stay,
   * also after a logout, until somebody pairs anew.
   */
  async #stop({ status, isActive }) {
    this.#end(status);
    await this.#show({ status, isActive, qrCode: null });
    await this.claim.release();
  }

  #after(ms, next) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(next, ms);
  }

  /** Shows what happened, here and in the session row; rows are written in order. */
  #show(fields) {
    const { status, qrCode = this.qrCode, phoneNumber = this.phoneNumber } = fields;
    Object.assign(this, { status, qrCode, phoneNumber });
    this.#written = this.#written
      .then(() => this.claim.update(fields))
      .catch((error) => {
        // A lost claim has closed the session already; the row alone is no reason to.
        if (!(error instanceof ClaimLostError)) {
          console.error(
            `[BAILEYS] agent ${this.agentId}: session row not written: ${error.message}`,
          );
        }
      });
    return this.#written;
  }

  toJSON() {
    const { agentId, status, qrCode, phoneNumber, reason } = this;
    return { agentId, status, qrCode, phoneNumber, reason };
  }
}

module.exports = { Session };
