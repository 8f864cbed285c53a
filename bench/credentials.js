'use strict';

// Encryption against node:crypto on the same work: the same envelope, keys derived and cached,
// context bound, one buffer as result. Also run as `node bench/credentials.js`.
//
// Both sides take turns in slices of a millisecond, and each counts with its best slice: what
// other programs took from the machine falls away, a slow minute hits both.

const crypto = require('node:crypto');

const { createCredentials } = require('../lib/credentials');

const AGENT = '7d444840-9dc0-11d1-b245-5ffdce74fad2';
const SIZES = [200, 1024, 4096, 65_536, 1024 * 1024];
const BATCH = 100;

/** What a careful Node programmer writes: nothing derived twice, nothing copied in vain. */
class NodeEnvelopes {
  #prk;
  #keyId;
  #agents = new Map();

  constructor(master) {
    this.#prk = crypto.createHmac('sha256', 'wa-creds/v1').update(master).digest();
    this.#keyId = this.#expand('key-id', 8);
  }

  get kid() {
    return this.#keyId.toString('hex');
  }

  #expand(info, length) {
    const blocks = [];
    for (let i = 1; i * 32 < length + 32; i++) {
      const hmac = crypto.createHmac('sha256', this.#prk);
      if (blocks.length > 0) hmac.update(blocks.at(-1));
      blocks.push(
        hmac
          .update(info)
          .update(Buffer.from([i]))
          .digest(),
      );
    }
    return Buffer.concat(blocks).subarray(0, length);
  }

  #agent(agentId) {
    let agent = this.#agents.get(agentId);
    if (!agent) {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(Buffer.byteLength(agentId));
      const info = Buffer.concat([Buffer.from('agent\0'), length, Buffer.from(agentId)]);
      const okm = this.#expand(info, 48);
      agent = { key: okm.subarray(0, 32), commitment: okm.subarray(32) };
      this.#agents.set(agentId, agent);
    }
    return agent;
  }

  #aad(header, { agentId, type, id }) {
    const aad = Buffer.allocUnsafe(
      header.length +
        12 +
        Buffer.byteLength(agentId) +
        Buffer.byteLength(type) +
        Buffer.byteLength(id),
    );
    let at = header.copy(aad);
    for (const part of [agentId, type, id]) {
      const length = aad.write(part, at + 4);
      at = aad.writeUInt32BE(length, at) + length;
    }
    return aad;
  }

  seal(content, plain, context) {
    const { key, commitment } = this.#agent(context.agentId);
    const header = Buffer.alloc(44);
    header.write('WA\x01\x01', 'latin1');
    header[4] = content;
    this.#keyId.copy(header, 8);
    commitment.copy(header, 16);
    const nonce = crypto.randomBytes(12);
    nonce.copy(header, 32);
    const cipher = crypto.createCipheriv('aes-256-gcm', key, nonce);
    cipher.setAAD(this.#aad(header, context));
    const body = cipher.update(plain);
    cipher.final();
    return Buffer.concat([header, body, cipher.getAuthTag()]);
  }

  open(envelope, context) {
    const { key, commitment } = this.#agent(context.agentId);
    if (envelope.readUInt32BE(0) !== 0x57410101) throw new Error('malformed');
    if (!this.#keyId.equals(envelope.subarray(8, 16))) throw new Error('unknown key');
    if (!crypto.timingSafeEqual(commitment, envelope.subarray(16, 32))) throw new Error('refused');
    const decipher = crypto.createDecipheriv('aes-256-gcm', key, envelope.subarray(32, 44));
    decipher.setAAD(this.#aad(envelope.subarray(0, 44), context));
    decipher.setAuthTag(envelope.subarray(-16));
    const plain = decipher.update(envelope.subarray(44, -16));
    decipher.final();
    return plain;
  }
}

/** Nanoseconds a call of each takes, at best. */
function compare(ours, peer, milliseconds = 1500) {
  const sides = [ours, peer].map((call) => {
    let calls = 0; // as many as fit into a millisecond
    for (const until = performance.now() + 100; performance.now() < until; calls++) call();
    return { call, calls: Math.max(1, Math.round(calls / 100)), best: Infinity };
  });
  for (const until = performance.now() + milliseconds; performance.now() < until;) {
    for (const side of sides) {
      const start = process.hrtime.bigint();
      for (let i = 0; i < side.calls; i++) side.call();
      side.best = Math.min(side.best, Number(process.hrtime.bigint() - start) / side.calls);
    }
  }
  return sides.map((side) => side.best);
}

function row(what, [ours, peer], { per = 1, unit = 'ns', note } = {}) {
  const scale = unit === 'µs' ? 1000 : 1;
  return {
    what,
    ours: ours / per / scale,
    peer: peer / per / scale,
    ratio: peer / ours,
    unit,
    note,
  };
}

const sizeName = (size) =>
  size >= 1024 * 1024
    ? `${size / 1024 / 1024} MB`
    : size >= 1024
      ? `${size / 1024} KB`
      : `${size} B`;

function single({ ours, peer }) {
  const context = { agentId: AGENT, type: 'session', id: '4915112345678.0' };
  return SIZES.flatMap((size) => {
    const bytes = crypto.randomBytes(size);
    const envelope = peer.seal(0, bytes, context);
    if (!ours.decryptBytes(envelope, context).equals(bytes)) throw new Error('no common format');
    return [
      row(
        `seal ${sizeName(size)}`,
        compare(
          () => ours.encryptBytes(bytes, context),
          () => peer.seal(0, bytes, context),
        ),
      ),
      row(
        `open ${sizeName(size)}`,
        compare(
          () => ours.decryptBytes(envelope, context),
          () => peer.open(envelope, context),
        ),
      ),
    ];
  });
}

function batches({ ours, peer }) {
  const agent = { agentId: AGENT };
  return SIZES.slice(0, -1).flatMap((size) => {
    const items = Array.from({ length: BATCH }, (_, i) => ({
      value: crypto.randomBytes(size),
      type: 'session',
      id: `49151123456${i}.0`,
    }));
    const contexts = items.map(({ type, id }) => ({ agentId: AGENT, type, id }));
    const envelopes = ours.encryptMany(items, agent);
    const sealed = items.map(({ type, id }, i) => ({ envelope: envelopes[i], type, id }));
    const per = { per: BATCH, note: `${BATCH} at once` };
    return [
      row(
        `seal ${sizeName(size)}`,
        compare(
          () => ours.encryptMany(items, agent),
          () => items.map(({ value }, i) => peer.seal(0, value, contexts[i])),
        ),
        per,
      ),
      row(
        `open ${sizeName(size)}`,
        compare(
          () => ours.decryptMany(sealed, agent),
          () => envelopes.map((envelope, i) => peer.open(envelope, contexts[i])),
        ),
        per,
      ),
    ];
  });
}

/** Whole values: the peer writes JSON as Baileys' own file store does, then encrypts. */
function values({ ours, peer, kid }, BufferJSON, named) {
  const agent = { agentId: AGENT };
  const context = { ...agent, type: 'creds', id: '' };
  const encrypt = (value) => {
    const text = JSON.stringify(value, BufferJSON.replacer);
    return { v: 1, kid, ct: peer.seal(1, Buffer.from(text), context).toString('base64') };
  };
  const decrypt = ({ ct }) =>
    JSON.parse(peer.open(Buffer.from(ct, 'base64'), context).toString(), BufferJSON.reviver);
  return Object.entries(named).flatMap(([name, value]) => {
    const stored = encrypt(value);
    const size = `${(stored.ct.length / 1024).toFixed(1)} KB stored`;
    return [
      row(
        `encryptCredentials, ${name}`,
        compare(
          () => ours.encryptCredentials(value, agent),
          () => encrypt(value),
        ),
        { unit: 'µs', note: size },
      ),
      row(
        `decryptCredentials, ${name}`,
        compare(
          () => ours.decryptCredentials(stored, agent),
          () => decrypt(stored),
        ),
        { unit: 'µs', note: size },
      ),
    ];
  });
}

/** The 812 pre-keys of a first login, and what a session's bytes take in the database. */
function firstLogin({ ours, peer }, BufferJSON, keyPair) {
  const agent = { agentId: AGENT };
  const items = Array.from({ length: 812 }, (_, i) => ({
    value: { public: keyPair.public, private: keyPair.private },
    type: 'pre-key',
    id: String(i),
  }));
  const contexts = items.map(({ type, id }) => ({ agentId: AGENT, type, id }));
  const json = (value) => Buffer.from(JSON.stringify(value, BufferJSON.replacer));
  const login = compare(
    () => ours.encryptMany(items, agent),
    () => items.map(({ value }, i) => peer.seal(1, json(value), contexts[i])),
  );

  // 7 times out of 10 what a running session writes is bytes: sessions and sender keys.
  const session = crypto.randomBytes(1400);
  const raw = ours.encryptBytes(session, { ...agent, type: 'session', id: '1.0' }).length;
  const asJson = JSON.stringify({
    ct: peer.seal(1, json(session), contexts[0]).toString('base64'),
  });
  return [
    row('first login: 812 pre-keys', login, { unit: 'µs' }),
    {
      what: 'a session of 1.4 KB, bytes stored',
      ours: raw,
      peer: asJson.length,
      ratio: asJson.length / raw,
      unit: 'bytes',
      note: 'peer: BufferJSON, encrypted, base64 in JSON',
    },
  ];
}

async function run({ log }) {
  const { BufferJSON, initAuthCreds, Curve } = await import('baileys');
  const master = crypto.randomBytes(32);
  const ours = createCredentials({ encryptionKey: master.toString('hex') });
  const peer = new NodeEnvelopes(master);
  const sides = { ours, peer, kid: peer.kid };

  const creds = initAuthCreds();
  creds.me = { id: '4915112345678:1@s.whatsapp.net', name: 'Somebody' };
  creds.account = {
    details: crypto.randomBytes(20),
    accountSignatureKey: crypto.randomBytes(32),
    accountSignature: crypto.randomBytes(64),
    deviceSignature: crypto.randomBytes(64),
  };
  const indexValueMap = Object.fromEntries(
    Array.from({ length: 200 }, () => [
      crypto.randomBytes(32).toString('base64'),
      { valueMac: crypto.randomBytes(32) },
    ]),
  );
  const appState = { version: 1, hash: crypto.randomBytes(128), indexValueMap };

  log('single values, against node:crypto');
  const rows = single(sides);
  log('batches');
  rows.push(...batches(sides));
  log('whole values, against BufferJSON and node:crypto');
  rows.push(...values(sides, BufferJSON, { 'paired creds': creds, 'app state': appState }));
  rows.push(...firstLogin(sides, BufferJSON, Curve.generateKeyPair()));
  return rows;
}

module.exports = { run };

if (require.main === module) {
  run({ log: (text) => console.error(text) }).then((rows) => console.table(rows));
}
