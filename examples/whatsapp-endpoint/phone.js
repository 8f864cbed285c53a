'use strict';

/**
 * The simulated phones: one for every number, device 0 of its user, that holds a Signal identity,
 * decrypts what clients send to it and encrypts what it sends to them, with Baileys' own Signal code.
 *
 * A phone comes into being when it is first spoken of. All its keys, one-time pre-keys too, are
 * derived from its number, so that it can still open a first message after a restart; running
 * sessions are kept in the state. Sessions are filed under the client's LID, as clients do it.
 */

const zlib = require('node:zlib');

const { keyPairFor } = require('./keys');

const SILENT = {
  level: 'silent',
  child: () => SILENT,
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
};

/** Ids that a phone's one-time pre-keys run through: they have three bytes. */
const MAX_PRE_KEY_ID = 0xffffff;

class Phone {
  #baileys;
  #identity;
  #signedPreKey;
  #signal;
  #nextPreKey = 0;

  constructor(baileys, state, number) {
    this.#baileys = baileys;
    this.number = number;
    this.registrationId = (Number(BigInt(number) % 16380n) || 1) + 1;
    this.#identity = keyPairFor(`identity of ${number}`);
    const keyPair = keyPairFor(`signed pre-key of ${number}`);
    const signature = this.#identity.sign(baileys.generateSignalPubKey(keyPair.public));
    this.#signedPreKey = { keyId: 1, keyPair, signature };
    this.#signal = baileys.DEFAULT_CONNECTION_CONFIG.makeSignalRepository(
      {
        creds: {
          signedIdentityKey: this.#identity,
          signedPreKey: this.#signedPreKey,
          registrationId: this.registrationId,
        },
        keys: this.#keyStore(state),
      },
      SILENT,
      async () => [],
    );
  }

  /** What the account's owner signs at pairing: the link between account and device. */
  get account() {
    return this.#identity;
  }

  /** The public keys a client needs to start a session, with a one-time pre-key of its own. */
  bundle() {
    const { encodeBigEndian } = this.#baileys;
    this.#nextPreKey = (this.#nextPreKey % MAX_PRE_KEY_ID) + 1;
    return {
      registration: encodeBigEndian(this.registrationId),
      identity: this.#identity.public,
      signedPreKey: {
        id: encodeBigEndian(this.#signedPreKey.keyId, 3),
        value: this.#signedPreKey.keyPair.public,
        signature: this.#signedPreKey.signature,
      },
      preKey: {
        id: encodeBigEndian(this.#nextPreKey, 3),
        value: this.#oneTimeKey(this.#nextPreKey).public,
      },
    };
  }

  /** Opens an `<enc>` from the client with this LID; gives the message. */
  async open(fromLid, { type, ciphertext }) {
    const padded = await this.#signal.decryptMessage({
      jid: fromLid,
      type,
      ciphertext: Buffer.from(ciphertext),
    });
    return this.#baileys.proto.Message.decode(this.#baileys.unpadRandomMax16(padded));
  }

  /** Encrypts a message for a linked device; starts a session with its keys where there is none. */
  async seal(device, message) {
    const jid = device.lid;
    if (!(await this.#signal.validateSession(jid)).exists) {
      const bundle = device.takeBundle();
      if (!bundle) throw new Error(`${device.jid} has not uploaded its keys yet`);
      await this.#signal.injectE2ESession({ jid, session: this.#sessionFrom(bundle) });
    }
    const data = this.#baileys.encodeWAMessage(message);
    return this.#signal.encryptMessage({ jid, data: Buffer.from(data) });
  }

  #sessionFrom({ registration, identity, signedPreKey, preKey }) {
    const { generateSignalPubKey } = this.#baileys;
    const keyId = (id) => id.readUIntBE(0, id.length);
    return {
      registrationId: keyId(registration),
      identityKey: generateSignalPubKey(identity),
      signedPreKey: {
        keyId: keyId(signedPreKey.id),
        publicKey: generateSignalPubKey(signedPreKey.value),
        signature: signedPreKey.signature,
      },
      preKey: preKey && {
        keyId: keyId(preKey.id),
        publicKey: generateSignalPubKey(preKey.value),
      },
    };
  }

  #oneTimeKey(id) {
    return keyPairFor(`pre-key ${id} of ${this.number}`);
  }

  /**
   * Baileys' key store interface. Only sessions and identities are kept; each value is one JSON text
   * with Baileys' own encoding of bytes. A session is used by one message at a time (Signal's own
   * queue sees to it), so a transaction has nothing to add.
   */
  #keyStore(state) {
    const { BufferJSON } = this.#baileys;
    const name = (type, id) => `signal:${this.number}:${type}:${id}`;
    return {
      get: async (type, ids) => {
        const found = {};
        for (const id of ids) {
          const kept = state.get(name(type, id));
          if (type === 'pre-key') found[id] = this.#oneTimeKey(Number(id));
          else if (kept !== undefined) found[id] = JSON.parse(kept, BufferJSON.reviver);
        }
        return found;
      },
      set: async (data) => {
        for (const type of ['session', 'identity-key']) {
          for (const [id, value] of Object.entries(data[type] ?? {})) {
            state.set(name(type, id), value && JSON.stringify(value, BufferJSON.replacer));
          }
        }
      },
      transaction: (work) => work(),
    };
  }
}

class Phones {
  #baileys;
  #state;
  #byNumber = new Map();

  constructor(baileys, state) {
    this.#baileys = baileys;
    this.#state = state;
  }

  get(number) {
    let phone = this.#byNumber.get(number);
    if (!phone) {
      phone = new Phone(this.#baileys, this.#state, number);
      this.#byNumber.set(number, phone);
    }
    return phone;
  }

  /**
   * What a phone tells a newly linked device first: a key for its app state, then its history, which
   * is empty. A client holds its events back until that has come, or for 20 s.
   */
  introduction() {
    const { Type } = this.#baileys.proto.Message.ProtocolMessage;
    const { HistorySyncType } = this.#baileys.proto.HistorySync;
    const { proto } = this.#baileys;
    const syncType = HistorySyncType.INITIAL_BOOTSTRAP;
    const history = proto.HistorySync.encode({ syncType, progress: 100 }).finish();
    const keyData = keyPairFor('app state').private;
    const fingerprint = { rawId: 1, currentIndex: 0, deviceIndexes: [0] };
    const key = {
      keyId: { keyId: Buffer.from([0, 0, 0, 0, 0, 1]) },
      keyData: { keyData, fingerprint, timestamp: Date.now() },
    };
    return [
      { type: Type.APP_STATE_SYNC_KEY_SHARE, appStateSyncKeyShare: { keys: [key] } },
      {
        type: Type.HISTORY_SYNC_NOTIFICATION,
        historySyncNotification: {
          syncType,
          chunkOrder: 1,
          progress: 100,
          initialHistBootstrapInlinePayload: zlib.deflateSync(history),
        },
      },
    ].map((protocolMessage) => proto.Message.fromObject({ protocolMessage }));
  }
}

module.exports.Phones = Phones;
