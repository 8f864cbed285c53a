'use strict';

/**
 * The linked devices: who they are, and the public keys they have left with the server.
 *
 * A record outlives its removal, so that a removed device is told 401 at its next login as one that
 * was never paired is. Stanzas waiting for a device (`waiting`) live in memory only.
 */

const { numberOf, pnJid, lidJid, parse, parseTarget, targets } = require('./addresses');

const b64 = (bytes) => Buffer.from(bytes).toString('base64');
const unb64 = (text) => Buffer.from(text, 'base64');

class Device {
  #state;

  constructor(state, record) {
    this.#state = state;
    this.record = record;
    this.preKeys = new Map(state.get(`prekeys:${record.jid}`));
    /** Stanzas on their way to the client, by id, until it confirms them. */
    this.waiting = new Map();
  }

  get jid() {
    return this.record.jid;
  }

  get lid() {
    return lidJid(this.record.number, this.record.device);
  }

  get number() {
    return this.record.number;
  }

  get removed() {
    return this.record.removed;
  }

  isKey(noiseKey) {
    return this.record.noiseKey === b64(noiseKey);
  }

  update(changes) {
    Object.assign(this.record, changes);
    this.#state.set(`device:${this.jid}`, this.record);
  }

  /** What `<iq xmlns="encrypt" type="set">` brings: identity, signed pre-key, one-time pre-keys. */
  storeKeys({ registration, identity, signedPreKey, preKeys }) {
    this.update({
      registration: b64(registration),
      identity: b64(identity),
      signedPreKey: encodeSigned(signedPreKey),
    });
    for (const { id, value } of preKeys) this.preKeys.set(b64(id), b64(value));
    this.#savePreKeys();
  }

  rotateSignedPreKey(signedPreKey) {
    this.update({ signedPreKey: encodeSigned(signedPreKey) });
  }

  /** The public keys to start a session with this device; uses up one of its pre-keys. */
  takeBundle() {
    const { registration, identity, signedPreKey } = this.record;
    if (!identity) return null;
    const [next] = this.preKeys;
    if (next) {
      this.preKeys.delete(next[0]);
      this.#savePreKeys();
    }
    return {
      registration: unb64(registration),
      identity: unb64(identity),
      signedPreKey: decodeSigned(signedPreKey),
      preKey: next && { id: unb64(next[0]), value: unb64(next[1]) },
    };
  }

  /** The public keys as they are, for the client's digest. */
  publicKeys() {
    const { registration, identity, signedPreKey } = this.record;
    if (!identity) return null;
    return {
      registration: unb64(registration),
      identity: unb64(identity),
      signedPreKey: decodeSigned(signedPreKey),
      preKeyIds: [...this.preKeys.keys()].map(unb64),
    };
  }

  #savePreKeys() {
    this.#state.set(`prekeys:${this.jid}`, [...this.preKeys]);
  }
}

const encodeSigned = ({ id, value, signature }) => ({
  id: b64(id),
  value: b64(value),
  signature: b64(signature),
});

const decodeSigned = ({ id, value, signature }) => ({
  id: unb64(id),
  value: unb64(value),
  signature: unb64(signature),
});

class Devices {
  #state;
  #byJid = new Map();
  #numbersGiven = 0;

  constructor(state) {
    this.#state = state;
    for (const [jid, record] of state.entries('device:')) {
      this.#byJid.set(jid, new Device(state, record));
    }
  }

  [Symbol.iterator]() {
    return this.#byJid.values();
  }

  /** A new device of `number`, or of the next free number. */
  pair(number = this.#nextNumber(), { noiseKey, identity }) {
    const device = 1 + this.ofNumber(number, { removed: true }).length;
    const record = {
      jid: pnJid(number, device),
      number,
      device,
      noiseKey: b64(noiseKey),
      pairedIdentity: b64(identity),
      pairedAt: Date.now(),
      removed: false,
      synced: false,
    };
    const paired = new Device(this.#state, record);
    paired.update({});
    this.#byJid.set(record.jid, paired);
    return paired;
  }

  /** The device with this address, PN or LID, unless removed. */
  get(jid) {
    const parsed = parse(jid);
    const device = parsed && this.#byJid.get(pnJid(parsed.number, parsed.device));
    return device && !device.removed ? device : undefined;
  }

  ofNumber(number, { removed = false } = {}) {
    return [...this].filter((d) => d.number === number && (removed || !d.removed));
  }

  /** The devices that `target` means; throws when there is none. */
  select(target) {
    parseTarget(target);
    const found = [...this].filter((d) => !d.removed && targets(target, d.jid));
    if (found.length === 0) throw new RangeError(`no linked device: ${target}`);
    return found;
  }

  #nextNumber() {
    do this.#numbersGiven += 1;
    while (this.ofNumber(numberOf(this.#numbersGiven), { removed: true }).length > 0);
    return numberOf(this.#numbersGiven);
  }
}

module.exports.Devices = Devices;
