'use strict';

// Only encryption: values for columns of your own, bound to their agent, and a new key.
//
//   node examples/encryption.js

const { randomBytes } = require('node:crypto');
const { createGuard } = require('baileys-guard');

// `npx baileys-guard keygen` makes one for CREDENTIALS_ENCRYPTION_KEY.
const oldKey = randomBytes(32).toString('hex');
const newKey = randomBytes(32).toString('hex');

const before = createGuard({ encryptionKey: oldKey });
const creds = {
  noiseKey: { private: randomBytes(32) },
  me: { id: '4915112345678@s.whatsapp.net' },
};
const stored = before.encryptCredentials(creds, { agentId: 'agent-1' });
console.log('stored:', { ...stored, ct: `${stored.ct.slice(0, 16)}…` });

const guard = createGuard({ encryptionKey: newKey, previousEncryptionKeys: [oldKey] });
const opened = guard.decryptCredentials(stored, { agentId: 'agent-1' });
console.log('opened:', opened.noiseKey.private.equals(creds.noiseKey.private), opened.me.id);
console.log('needs the new key:', guard.needsReencryption(stored));

const again = guard.encryptCredentials(opened, { agentId: 'agent-1' });
console.log('and now:', guard.needsReencryption(again));

try {
  guard.decryptCredentials(stored, { agentId: 'agent-2' });
} catch (error) {
  console.log('moved to another agent:', error.code);
}
