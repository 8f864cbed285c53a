'use strict';

// Credentials: nothing but native memory, and much of it.

const crypto = require('node:crypto');

const { repeat } = require('./repeat');

const AGENT = { agentId: 'soak' };
const OTHER = { agentId: 'other' };
const CREDS = { noiseKey: { private: crypto.randomBytes(32) }, me: { id: '49151@s' } };
const BYTES = crypto.randomBytes(700);
const ITEMS = Array.from({ length: 4 }, (_, n) => ({
  value: crypto.randomBytes(200),
  type: 'session',
  id: String(n),
}));

/** As before there was an envelope; not of this key. */
const LEGACY = { encrypted: 'ab'.repeat(32), iv: 'cd'.repeat(12), authTag: 'ef'.repeat(16) };

const circular = {};
circular.self = circular;

const onGuard = {
  encryptCredentials: ({ guard }) =>
    repeat(() => guard.encryptCredentials(CREDS, AGENT), {
      refused: [
        () => guard.encryptCredentials(CREDS, { agentId: '' }),
        () => guard.encryptCredentials(circular, AGENT),
      ],
    }),
  decryptCredentials: ({ guard }) => {
    const stored = guard.encryptCredentials(CREDS, AGENT);
    return repeat(() => guard.decryptCredentials(stored, AGENT), {
      refused: [
        () => guard.decryptCredentials(stored, OTHER),
        () => guard.decryptCredentials(LEGACY, AGENT),
        () => guard.decryptCredentials({ ...stored, ct: stored.ct.slice(0, 40) }, AGENT),
      ],
    });
  },
  encryptBytes: ({ guard }) =>
    repeat(() => guard.encryptBytes(BYTES, AGENT), {
      refused: [() => guard.encryptBytes('no bytes', AGENT)],
    }),
  decryptBytes: ({ guard }) => {
    const envelope = guard.encryptBytes(BYTES, AGENT);
    return repeat(() => guard.decryptBytes(envelope, AGENT), {
      refused: [
        () => guard.decryptBytes(envelope, OTHER),
        () => guard.decryptBytes(envelope.subarray(0, 20), AGENT),
      ],
    });
  },
  encryptMany: ({ guard }) =>
    repeat(() => guard.encryptMany(ITEMS, AGENT), {
      refused: [() => guard.encryptMany([...ITEMS, { value: circular }], AGENT)],
    }),
  decryptMany: ({ guard }) => {
    const envelopes = guard
      .encryptMany(ITEMS, AGENT)
      .map((envelope, id) => ({ envelope, type: 'session', id: String(id) }));
    return repeat(() => guard.decryptMany(envelopes, AGENT), {
      refused: [() => guard.decryptMany(envelopes, OTHER)], // the first opens with none
    });
  },
  inspectEnvelope: ({ guard }) => {
    const stored = guard.encryptCredentials(CREDS, AGENT);
    const malformed = { ...stored, ct: stored.ct.slice(0, 40) };
    return repeat(() => guard.inspectEnvelope(stored), {
      refused: [() => guard.inspectEnvelope(malformed)],
    });
  },
  needsReencryption: ({ guard }) => {
    const stored = guard.encryptCredentials(CREDS, AGENT);
    const malformed = { ...stored, ct: stored.ct.slice(0, 40) };
    return repeat(() => guard.needsReencryption(stored), {
      refused: [() => guard.needsReencryption(malformed)],
    });
  },
};

module.exports = { onGuard, others: {} };
