'use strict';

// `keygen`: a new key, on standard output and nowhere else.

const { randomBytes } = require('node:crypto');

const KEY_BYTES = 32;

function declare(program) {
  return program
    .command('keygen')
    .summary('makes an encryption key')
    .description('Makes a new key for CREDENTIALS_ENCRYPTION_KEY: 32 random bytes.')
    .option('--base64', 'as 44 base64 characters instead of 64 hex digits');
}

function run({ options, output }) {
  const encoding = options.base64 ? 'base64' : 'hex';
  const key = randomBytes(KEY_BYTES).toString(encoding);
  output.result({ key, encoding }, [key]);
  if (output.isTerminal) {
    output.note(
      'Put it where your server finds its secrets, as CREDENTIALS_ENCRYPTION_KEY, and keep a copy:\n' +
        'what is encrypted under it cannot be read without it.\n' +
        'A key that was in use goes to CREDENTIALS_ENCRYPTION_PREVIOUS_KEYS; then run\n' +
        '`npx baileys-guard rotate`.',
    );
  }
}

const examples = [
  'npx baileys-guard keygen',
  '(umask 077; npx baileys-guard keygen > guard.key)   # for --key-file',
  'echo "CREDENTIALS_ENCRYPTION_KEY=$(npx baileys-guard keygen)" >> .env',
];

module.exports = { declare, run, examples, needs: { database: false } };
