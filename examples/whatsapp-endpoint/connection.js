'use strict';

/**
 * One WebSocket, from its upgrade to its end: handshake, then pairing or login, then stanzas.
 *
 * Frames are handled one after another in the order they came. A muted connection (the silence
 * fault) keeps what comes in and what would go out, and goes on with it when it is healed; that its
 * client has gone is noticed all the same, since the TCP socket is read on, and what it said in the
 * silence is lost then.
 */

const { NoiseResponder } = require('./noise');
const { monotonicMs } = require('./event-log');
const { node, unixSeconds } = require('./stanzas');
const { pnJid } = require('./addresses');
const { answerIq } = require('./iq');

/** How long a client may take to close after the endpoint ended the stream. */
const CLOSE_GRACE_MS = 5000;

/** The close code of a WebSocket whose TCP connection ended without a close frame. */
const NO_CLOSE_FRAME = 1006;

class Connection {
  #world;
  #socket;
  #noise;
  #inbox = Promise.resolve();
  #outbox = [];
  #mute = null;
  #closers = [];
  #timers = new Set();
  #greeted = false;
  /** Why the endpoint ended it; null while it stands, and when the client ended it. */
  #endedBy = null;

  /** The linked device, once logged in. */
  device = null;
  /** The pairing under way, once its QR code was scanned; kept by pairing.js. */
  scanned = null;
  /** The client's static Noise key, once the handshake is done. */
  noiseKey = null;
  /** Whether the client has asked for what waits for it. */
  active = false;
  /** When anything was last heard of the client, on the monotonic clock. */
  heardMs = monotonicMs();

  /**
   * @param {object} world the endpoint's parts; see world.js
   * @param {import('ws').WebSocket} socket
   * @param {{ id: number, jid?: string }} who `jid` as the URL gives it, before the login tells
   */
  constructor(world, socket, { id, jid }) {
    this.#world = world;
    this.#socket = socket;
    this.#noise = new NoiseResponder(world.baileys, world.identity);
    this.id = id;
    this.jid = jid;
    socket.on('message', (data) => this.#receive(data));
    socket.on('pong', () => this.#heard());
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', (code) => this.#closed(code));
    this.#struckAt('connect');
  }

  get isOpen() {
    return this.#socket.readyState === this.#socket.OPEN && this.#endedBy === null;
  }

  /** Whether stanzas can be sent: the handshake is done, and the stream was not ended. */
  get isEstablished() {
    return this.isOpen && this.#noise.established;
  }

  whenClosed(listener) {
    this.#closers.push(listener);
  }

  send(stanza) {
    if (this.#mute) this.#outbox.push(stanza);
    else this.#write(stanza);
  }

  /** Ends the stream with an error stanza, muted or not, as the server does. */
  streamError(attrs, reason) {
    if (!this.isOpen) return;
    this.#write(node('stream:error', attrs, reason && [reason]));
    this.close(`stream:error ${attrs.code ?? reason?.tag}`);
  }

  /** `<stream:error><conflict type="replaced"/></stream:error>`: another login took the place. */
  replaced() {
    this.streamError({}, node('conflict', { type: 'replaced' }));
  }

  close(reason) {
    if (this.#endedBy !== null) return;
    this.#endedBy = reason;
    this.#socket.close();
    this.#after(CLOSE_GRACE_MS, () => this.#socket.terminate());
  }

  terminate(reason) {
    this.#endedBy ??= reason;
    this.#socket.terminate();
  }

  /**
   * Finds out whether the client's process lives, by a WebSocket ping: the client's library answers it
   * by itself as long as its event loop turns.
   * @returns {Promise<{ life: string, afterMs: number }>} `answering`: it was heard of, be it by its
   *   close; `dead`: the socket ended without a word, as when a process is killed; `silent`: nothing
   *   came within `timeoutMs`
   */
  probe(timeoutMs) {
    const asked = monotonicMs();
    this.#socket.ping();
    return new Promise((resolve) => {
      const found = (life) => {
        clearTimeout(timer);
        this.#socket.off('pong', pong);
        this.#socket.off('close', close);
        resolve({ life, afterMs: monotonicMs() - asked });
      };
      const pong = () => found('answering');
      const close = (code) => found(code === NO_CLOSE_FRAME ? 'dead' : 'answering');
      const timer = setTimeout(() => found('silent'), timeoutMs);
      this.#socket.on('pong', pong);
      this.#socket.on('close', close);
    });
  }

  /** Lets a fault strike; see faults.js. */
  suffer(fault) {
    this.#world.log.add('struck', {
      conn: this.id,
      jid: this.jid,
      fault: fault.id,
      mode: fault.mode,
    });
    switch (fault.mode) {
      case 'silence':
        this.#muteFor(fault);
        break;
      case 'drop':
        this.terminate('fault: drop');
        break;
      case 'conflict':
        this.replaced();
        break;
      case 'stream-error':
        this.streamError({ code: String(fault.code) });
        break;
      case 'failure':
        this.#refuse(fault.code);
        break;
      default:
        throw new TypeError(`a socket cannot suffer ${fault.mode}`);
    }
  }

  get silencedBy() {
    return this.#mute?.fault;
  }

  unmute() {
    const { resume } = this.#mute;
    this.#mute = null;
    for (const stanza of this.#outbox.splice(0)) this.#write(stanza);
    resume();
  }

  #muteFor(fault) {
    if (this.#mute) return;
    let resume;
    const healed = new Promise((resolve) => {
      resume = resolve;
    });
    this.#mute = { fault, healed, resume };
  }

  #write(stanza) {
    if (!this.isOpen) return;
    this.#socket.send(this.#noise.seal(this.#world.baileys.encodeBinaryNode(stanza)));
  }

  #heard() {
    this.heardMs = monotonicMs();
  }

  #receive(data) {
    this.#heard();
    this.#inbox = this.#inbox
      .then(async () => {
        for (const frame of this.#noise.push(data)) {
          await this.#mute?.healed;
          // What the client said before it closed counts: a logout is followed by the close at once.
          if (this.#endedBy === null) await this.#handle(frame);
        }
      })
      .catch((error) => this.broken(error));
  }

  /** A client that speaks otherwise than Baileys does, or a bug here: worth a look in any test. */
  broken(error) {
    this.#world.stats.count('errors');
    this.#world.log.add('error', { conn: this.id, jid: this.jid, error: error.stack });
    this.terminate(`error: ${error.message}`);
  }

  async #handle(frame) {
    if (this.#noise.established) {
      const plaintext = this.#noise.open(frame);
      await this.#dispatch(await this.#world.baileys.decodeBinaryNode(plaintext));
    } else if (!this.#greeted) {
      this.#greeted = true;
      this.#socket.send(this.#noise.hello(frame));
    } else {
      const { clientStatic, payload } = this.#noise.finish(frame);
      this.noiseKey = clientStatic;
      if (payload.devicePairingData) this.#register();
      else await this.#login(payload);
    }
  }

  #dispatch(stanza) {
    const world = this.#world;
    if (!this.device) return stanza.tag === 'iq' ? world.pairing.receive(this, stanza) : undefined;
    switch (stanza.tag) {
      case 'iq':
        return answerIq(world, this, stanza);
      case 'message':
        return world.messages.receive(this, stanza);
      case 'receipt':
      case 'ack':
        return world.messages.confirm(this, stanza);
      default: // presence, chat state, telemetry: nobody listens
        return undefined;
    }
  }

  #register() {
    this.#world.stats.count('registrations');
    this.#world.pairing.offer(this);
  }

  async #login(payload) {
    const world = this.#world;
    this.jid = pnJid(String(payload.username), payload.device ?? 0);
    const device = world.devices.get(this.jid);
    if (!device || !device.isKey(this.noiseKey)) return this.#refuse(401);
    if (this.#struckAt('login')) {
      await this.#mute?.healed;
      if (!this.isOpen) return;
    }
    await world.takePlace(this, device);
    if (!this.isOpen) return;
    this.device = device;
    world.stats.count('logins', device.jid);
    world.log.add('login', { conn: this.id, jid: device.jid });
    this.send(node('success', { t: unixSeconds(), lid: device.lid, props: '27', location: 'off' }));
    const fault = world.faults.at('open', this.jid);
    if (fault?.afterMs) this.#after(fault.afterMs, () => this.suffer(fault));
    else if (fault) this.suffer(fault);
  }

  #struckAt(moment) {
    const fault = this.#world.faults.at(moment, this.jid);
    if (fault) this.suffer(fault);
    return fault;
  }

  #refuse(reason) {
    this.#world.stats.count('loginFailures', this.jid);
    this.#world.log.add('login-failed', { conn: this.id, jid: this.jid, reason });
    this.#write(node('failure', { reason: String(reason), location: 'off' }));
    this.close(`failure ${reason}`);
  }

  #after(ms, work) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      work();
    }, ms);
    this.#timers.add(timer);
  }

  #closed(code) {
    for (const timer of this.#timers) clearTimeout(timer);
    const by = this.#endedBy === null ? 'client' : 'endpoint';
    const reason = this.#endedBy ?? undefined;
    this.#world.log.add('close', { conn: this.id, jid: this.jid, code, by, reason });
    if (this.#mute) {
      this.#endedBy ??= 'gone in silence'; // what it said is lost
      this.#mute.resume();
    }
    for (const listener of this.#closers) listener();
  }
}

module.exports.Connection = Connection;
