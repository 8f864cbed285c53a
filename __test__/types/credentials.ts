// The types of encryption, as a user's compiler sees them. Checked by `npm run lint:types`.

import {
  createGuard,
  decryptBytes,
  decryptCredentials,
  decryptMany,
  type EncryptedCredentials,
  encryptBytes,
  encryptCredentials,
  encryptMany,
  inspectEnvelope,
  needsReencryption,
} from 'baileys-guard';

const agent = { agentId: 'a' };
const stored: EncryptedCredentials = encryptCredentials({ a: Buffer.alloc(1) }, agent);
const creds: { a: Buffer } = decryptCredentials(stored, agent);
const envelope: Buffer = encryptBytes(new Uint8Array(1), { ...agent, type: 't', id: 'i' });
const bytes: Buffer = decryptBytes(envelope, agent);
const many: Buffer[] = encryptMany([{ value: 1 }, { value: bytes, type: 't' }], agent);
const values = decryptMany([{ envelope: many[0]!, id: 'i' }], agent);
const form = inspectEnvelope(stored);
if (form.form === 'envelope') console.log(form.keyId.length, form.generation);
// @ts-expect-error: only an envelope has a key
console.log(form.keyId);
const again: boolean = needsReencryption(stored);
console.log(creds.a, values, again, createGuard({}).encryptBytes(bytes, agent).length);
// @ts-expect-error: the agent is bound in
encryptCredentials({}, {});
// @ts-expect-error: bytes, not text
encryptBytes('text', agent);
