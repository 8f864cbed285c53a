'use strict';

/**
 * The server's half of WhatsApp's Noise_XX_25519_AESGCM_SHA256 and its framing.
 *
 *   client  "WA" 6 3, ephemeral                          hello()
 *   server  ephemeral, static, certificate chain
 *   client  static, ClientPayload                        finish()
 *   both    frames under the transport keys              open(), seal()
 *
 * A frame on the wire is its length in three bytes, then its bytes.
 */

const { keyPairFor, rootKey } = require('./keys');

const ED_INTRO = Buffer.from('ED');
const NONE = Buffer.alloc(0);

/** Who the endpoint is: its static key, and the chain by which the test root vouches for it. */
function makeServerIdentity({ proto }) {
  const { CertChain } = proto;
  const { Details } = CertChain.NoiseCertificate;
  const staticKey = keyPairFor('noise static');
  const intermediate = keyPairFor('intermediate certificate');
  const certificate = (issuer, details) => {
    const bytes = Details.encode(details).finish();
    return { details: bytes, signature: issuer.sign(bytes) };
  };
  const chain = CertChain.encode({
    intermediate: certificate(rootKey, { serial: 1, issuerSerial: 0, key: intermediate.public }),
    leaf: certificate(intermediate, { serial: 2, issuerSerial: 1, key: staticKey.public }),
  }).finish();
  return { staticKey, chain };
}

function nonce(counter) {
  const iv = Buffer.alloc(12);
  iv.writeUInt32BE(counter, 8);
  return iv;
}

class NoiseResponder {
  #baileys;
  #identity;
  #hash;
  #salt;
  #key;
  #counter = 0;
  #ephemeral;
  #transport = null;
  #buffered = NONE;
  #introduced = false;

  constructor(baileys, identity) {
    this.#baileys = baileys;
    this.#identity = identity;
    this.#hash = Buffer.from(baileys.NOISE_MODE);
    this.#salt = this.#hash;
    this.#key = this.#hash;
    this.#authenticate(baileys.NOISE_WA_HEADER);
  }

  /** Takes bytes from the wire, gives the whole frames that they complete. */
  push(bytes) {
    this.#buffered = this.#buffered.length ? Buffer.concat([this.#buffered, bytes]) : bytes;
    if (!this.#introduced && !this.#skipIntro()) return [];
    const frames = [];
    while (this.#buffered.length >= 3) {
      const end = 3 + this.#buffered.readUIntBE(0, 3);
      if (this.#buffered.length < end) break;
      frames.push(this.#buffered.subarray(3, end));
      this.#buffered = this.#buffered.subarray(end);
    }
    return frames;
  }

  /** Answers the client's first frame: gives the server's hello, framed. */
  hello(frame) {
    const { proto, Curve } = this.#baileys;
    const { clientHello } = proto.HandshakeMessage.decode(frame);
    const theirs = clientHello.ephemeral;
    this.#ephemeral = Curve.generateKeyPair();
    this.#authenticate(theirs);
    this.#authenticate(this.#ephemeral.public);
    this.#mix(Curve.sharedKey(this.#ephemeral.private, theirs));
    const encryptedStatic = this.#encrypt(this.#identity.staticKey.public);
    this.#mix(Curve.sharedKey(this.#identity.staticKey.private, theirs));
    const payload = this.#encrypt(this.#identity.chain);
    const serverHello = { ephemeral: this.#ephemeral.public, static: encryptedStatic, payload };
    return frameOf(proto.HandshakeMessage.encode({ serverHello }).finish());
  }

  /** Takes the client's second frame; from here on both sides use the transport keys. */
  finish(frame) {
    const { proto, Curve } = this.#baileys;
    const { clientFinish } = proto.HandshakeMessage.decode(frame);
    const clientStatic = this.#decrypt(clientFinish.static);
    this.#mix(Curve.sharedKey(this.#ephemeral.private, clientStatic));
    const payload = this.#decrypt(clientFinish.payload);
    const [read, write] = this.#derive(NONE);
    this.#transport = { read, write, received: 0, sent: 0 };
    return { clientStatic, payload: proto.ClientPayload.decode(payload) };
  }

  open(frame) {
    const { transport } = this;
    return this.#baileys.aesDecryptGCM(frame, transport.read, nonce(transport.received++), NONE);
  }

  seal(plaintext) {
    const { transport } = this;
    const iv = nonce(transport.sent++);
    return frameOf(this.#baileys.aesEncryptGCM(plaintext, transport.write, iv, NONE));
  }

  get transport() {
    if (!this.#transport) throw new Error('the Noise handshake is not finished');
    return this.#transport;
  }

  get established() {
    return this.#transport !== null;
  }

  /** The stream opens with "WA" 6 3, after an optional "ED" 0 1, length, routing information. */
  #skipIntro() {
    const bytes = this.#buffered;
    let length = this.#baileys.NOISE_WA_HEADER.length;
    if (bytes.length >= 2 && bytes.subarray(0, 2).equals(ED_INTRO)) {
      if (bytes.length < 7) return false;
      length += 7 + bytes.readUIntBE(4, 3);
    }
    if (bytes.length < length) return false;
    const header = bytes.subarray(length - this.#baileys.NOISE_WA_HEADER.length, length);
    if (!header.equals(this.#baileys.NOISE_WA_HEADER)) {
      throw new Error(`not a WhatsApp client: the stream opens with ${header.toString('hex')}`);
    }
    this.#buffered = bytes.subarray(length);
    this.#introduced = true;
    return true;
  }

  #authenticate(data) {
    this.#hash = this.#baileys.sha256(Buffer.concat([this.#hash, data]));
  }

  #derive(data) {
    const key = this.#baileys.hkdf(Buffer.from(data), 64, { salt: this.#salt, info: '' });
    return [Buffer.from(key.subarray(0, 32)), Buffer.from(key.subarray(32))];
  }

  #mix(data) {
    [this.#salt, this.#key] = this.#derive(data);
    this.#counter = 0;
  }

  #encrypt(plaintext) {
    const iv = nonce(this.#counter++);
    const sealed = this.#baileys.aesEncryptGCM(plaintext, this.#key, iv, this.#hash);
    this.#authenticate(sealed);
    return sealed;
  }

  #decrypt(sealed) {
    const iv = nonce(this.#counter++);
    const plaintext = this.#baileys.aesDecryptGCM(sealed, this.#key, iv, this.#hash);
    this.#authenticate(sealed);
    return plaintext;
  }
}

function frameOf(bytes) {
  const frame = Buffer.allocUnsafe(3 + bytes.length);
  frame.writeUIntBE(bytes.length, 0, 3);
  frame.set(bytes, 3);
  return frame;
}

module.exports.NoiseResponder = NoiseResponder;
module.exports.makeServerIdentity = makeServerIdentity;
