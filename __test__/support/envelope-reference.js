'use strict';

// A second reader and writer of envelopes, from docs/envelope.md and in node:crypto alone. It
// shares no code with the library; where the two disagree, one of them or the page is wrong.

const crypto = require('node:crypto');

const u32 = (bytes) => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return length;
};
const prefixed = (text) => {
  const bytes = Buffer.from(text);
  return Buffer.concat([u32(bytes), bytes]);
};

/** HKDF-Expand by itself; node:crypto has it only together with Extract. */
function expand(prk, info, length) {
  const blocks = [Buffer.alloc(0)];
  for (let i = 1; (blocks.length - 1) * 32 < length; i++) {
    const hmac = crypto.createHmac('sha256', prk);
    blocks.push(
      hmac
        .update(blocks.at(-1))
        .update(info)
        .update(Buffer.from([i]))
        .digest(),
    );
  }
  return Buffer.concat(blocks).subarray(0, length);
}

function keysOf(master, agentId) {
  const prk = crypto.createHmac('sha256', 'wa-creds/v1').update(master).digest();
  const okm = expand(prk, Buffer.concat([Buffer.from('agent\0'), prefixed(agentId)]), 48);
  return {
    keyId: expand(prk, 'key-id', 8),
    key: okm.subarray(0, 32),
    commitment: okm.subarray(32, 48),
  };
}

const aadOf = (header, { agentId, type, id }) =>
  Buffer.concat([header, prefixed(agentId), prefixed(type), prefixed(id)]);

/** @returns {Buffer} */
function seal(master, { agentId, type = '', id = '' }, content, plain, generation) {
  const { keyId, key, commitment } = keysOf(master, agentId);
  const nonce = crypto.randomBytes(12);
  const fixed = [0x57, 0x41, 1, 1, content, generation === undefined ? 0 : 1, 0, 0];
  const parts = [Buffer.from(fixed), keyId, commitment, nonce];
  if (generation !== undefined) {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(generation);
    parts.push(bytes);
  }
  const header = Buffer.concat(parts);
  const cipher = crypto.createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(aadOf(header, { agentId, type, id }));
  return Buffer.concat([header, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** @returns {{ content: number, plain: Buffer, generation?: bigint }} */
function open(master, { agentId, type = '', id = '' }, envelope) {
  const { keyId, key, commitment } = keysOf(master, agentId);
  if (envelope.length < 60) throw new Error('too short');
  if (envelope.toString('latin1', 0, 2) !== 'WA') throw new Error('magic');
  if (envelope[2] !== 1 || envelope[3] !== 1) throw new Error('version or suite');
  if (envelope[4] > 2 || envelope[5] > 1) throw new Error('content or flags');
  if (envelope.readUInt16BE(6) !== 0) throw new Error('reserved');
  const hasGeneration = envelope[5] === 1;
  if (hasGeneration && envelope.length < 68) throw new Error('too short');
  if (!envelope.subarray(8, 16).equals(keyId)) throw new Error('unknown key');
  if (!crypto.timingSafeEqual(envelope.subarray(16, 32), commitment)) throw new Error('opens not');
  const header = envelope.subarray(0, hasGeneration ? 52 : 44);
  const decipher = crypto.createDecipheriv('aes-256-gcm', key, envelope.subarray(32, 44));
  decipher.setAAD(aadOf(header, { agentId, type, id }));
  decipher.setAuthTag(envelope.subarray(-16));
  const plain = Buffer.concat([
    decipher.update(envelope.subarray(header.length, -16)),
    decipher.final(),
  ]);
  const generation = hasGeneration ? envelope.readBigUInt64BE(44) : undefined;
  return { content: envelope[4], plain, generation };
}

/** What an audit report once recommended, with its faults. */
function sealLegacy(master, value) {
  const iv = crypto.randomBytes(16);
  const cipher = crypto.createCipheriv('aes-256-gcm', master, iv);
  const encrypted = cipher.update(JSON.stringify(value), 'utf8', 'hex') + cipher.final('hex');
  return { encrypted, iv: iv.toString('hex'), authTag: cipher.getAuthTag().toString('hex') };
}

module.exports = { seal, open, sealLegacy };
