'use strict';

/**
 * Linking a device by QR code: the server offers refs, the client shows them with its keys as a QR
 * code, a phone scans it (`scan`), the server brings the phone's signature to the client, the client
 * signs in turn, and is told to reconnect (515).
 */

const crypto = require('node:crypto');
const { verify } = require('./keys');
const { SERVER, node, child } = require('./stanzas');

const REFS = 6;

class Pairing {
  #world;
  /** Ref → the connection that shows it. */
  #offers = new Map();

  constructor(world) {
    this.#world = world;
  }

  /** Begins with an unpaired client: gives it refs, each good for one QR code. */
  offer(connection) {
    const refs = Array.from({ length: REFS }, () => crypto.randomBytes(16).toString('base64url'));
    for (const ref of refs) this.#offers.set(ref, connection);
    connection.whenClosed(() => {
      for (const ref of refs) this.#offers.delete(ref);
      connection.scanned?.reject(new Error('the client left before the pairing was complete'));
    });
    const content = [
      node(
        'pair-device',
        {},
        refs.map((ref) => node('ref', {}, Buffer.from(ref))),
      ),
    ];
    connection.send(node('iq', { from: SERVER, type: 'set', id: newId(), xmlns: 'md' }, content));
    this.#world.log.add('qr', { conn: connection.id });
  }

  /**
   * A phone reads this QR code and links the device.
   * @param {string} qr as `connection.update` gives it
   * @param {object} [options]
   * @param {string} [options.phone] number of the phone that scans; the next free one by default
   * @returns {Promise<{ jid: string, lid: string, phone: string }>} when the client has signed
   */
  async scan(qr, { phone: number } = {}) {
    if (number !== undefined && !/^\d{5,15}$/.test(number)) {
      throw new TypeError(`not a phone number: ${number}`);
    }
    const [ref, noiseKey, identity, secret] = readQr(qr);
    const connection = this.#offers.get(ref);
    if (!connection) throw new RangeError('no client shows this QR code now');
    if (!connection.noiseKey.equals(noiseKey)) {
      throw new RangeError('the QR code names another Noise key than the client that shows it');
    }
    if (connection.scanned) throw new RangeError('this QR code was already scanned');

    const device = this.#world.devices.pair(number, { noiseKey, identity });
    const phone = this.#world.phones.get(device.number);
    const signed = this.#signature(phone.account, device, identity);
    const { proto, hmacSign } = this.#world.baileys;
    const details = proto.ADVSignedDeviceIdentity.encode(signed).finish();
    const hmac = hmacSign(details, secret);
    const content = [
      node('pair-success', {}, [
        node(
          'device-identity',
          {},
          proto.ADVSignedDeviceIdentityHMAC.encode({ details, hmac }).finish(),
        ),
        node('device', { jid: device.jid, lid: device.lid }),
        node('platform', { name: 'android' }),
      ]),
    ];
    return new Promise((resolve, reject) => {
      const id = newId();
      connection.scanned = { id, device, signed, identity, resolve, reject };
      this.#world.log.add('scan', { conn: connection.id, jid: device.jid });
      connection.send(node('iq', { from: SERVER, type: 'set', id }, content));
    });
  }

  /** An `<iq>` from a client that is not linked yet: the one that counts is its signature. */
  receive(connection, iq) {
    const { scanned } = connection;
    if (!scanned || iq.attrs.id !== scanned.id) return;
    const reply = child(child(iq, 'pair-device-sign'), 'device-identity');
    const { device } = scanned;
    if (!reply || !this.#isSigned(scanned, reply.content)) {
      scanned.reject(new Error(`${device.jid}: the client's device signature does not verify`));
      connection.close('pairing failed');
      return;
    }
    this.#world.stats.count('pairings');
    this.#world.log.add('paired', { conn: connection.id, jid: device.jid });
    scanned.resolve({ jid: device.jid, lid: device.lid, phone: device.number });
    connection.streamError({ code: '515' });
  }

  /** The phone's statement that this device, with this identity key, belongs to its account. */
  #signature(account, device, identity) {
    const { proto, WA_ADV_ACCOUNT_SIG_PREFIX } = this.#world.baileys;
    const details = proto.ADVDeviceIdentity.encode({
      rawId: 1,
      timestamp: Math.floor(Date.now() / 1000),
      keyIndex: device.record.device,
    }).finish();
    const message = Buffer.concat([WA_ADV_ACCOUNT_SIG_PREFIX, details, identity]);
    return {
      details,
      accountSignatureKey: account.public,
      accountSignature: account.sign(message),
    };
  }

  #isSigned({ signed, identity }, content) {
    const { proto, WA_ADV_DEVICE_SIG_PREFIX } = this.#world.baileys;
    const { deviceSignature } = proto.ADVSignedDeviceIdentity.decode(content);
    const { details, accountSignatureKey } = signed;
    const message = Buffer.concat([
      WA_ADV_DEVICE_SIG_PREFIX,
      details,
      identity,
      accountSignatureKey,
    ]);
    return verify(identity, message, deviceSignature);
  }
}

/** `https://wa.me/settings/linked_devices#ref,noise key,identity key,secret,platform`. */
function readQr(qr) {
  const fields = String(qr).split('#').pop().split(',');
  const [ref, ...keys] = fields;
  const [noiseKey, identity, secret] = keys.map((text) => Buffer.from(text, 'base64'));
  if (fields.length < 4 || [noiseKey, identity, secret].some((key) => key.length !== 32)) {
    throw new TypeError('not the QR code of a linked device');
  }
  return [ref, noiseKey, identity, secret];
}

function newId() {
  return crypto.randomBytes(5).toString('hex');
}

module.exports.Pairing = Pairing;
