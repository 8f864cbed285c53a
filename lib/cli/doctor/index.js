'use strict';

// `doctor`: looks at everything that has to be right, and says how to mend what is not. It changes
// nothing: it does not even make a missing SQLite file. A check that fails stops no other.

const { resolveOptions } = require('../../options');
const { databaseUrlOf } = require('../with-guard');
const { describeDatabase } = require('../database-url');
const { EXIT } = require('../exit');
const { counted } = require('../output');
const { keysFrom } = require('../keys');
const { checkCredentials } = require('./credentials');
const { checkDatabase } = require('./database');
const { checkFile } = require('./file');
const { Findings } = require('./findings');
const { checkRuntime } = require('./runtime');
const { checkCertificate } = require('./certificate');

const MARKS = { ok: '✔', warning: '!', failure: '✘', skipped: '-' };

function declare(program) {
  return program
    .command('doctor')
    .summary('checks everything and says how to mend it')
    .description(
      'Checks Node.js, the native binary, the configuration, the database, its schema, clock, ' +
        'encryption and poolers, and how credentials are stored. It changes nothing.',
    )
    .option('--strict', 'warnings count as failures, too');
}

async function run({ options, output }) {
  const findings = new Findings();
  const url = databaseUrlOf(options);
  const hasBinary = checkRuntime(findings);
  const keys = checkKeys(findings, options, output, hasBinary);
  const isThere = checkFile(findings, url);
  await checkCertificate(findings, url);
  if (hasBinary && isThere) await withQuietGuard(findings, url, keys);

  const { list } = findings;
  const count = (level) => list.filter((finding) => finding.level === level).length;
  const [failures, warnings] = [count('failure'), count('warning')];
  const ok = failures === 0 && !(options.strict && warnings > 0);
  const database = describeDatabase(url);
  output.result({ database, ok, failures, warnings, findings: list }, lines(database, list));
  return ok ? EXIT.ok : EXIT.failed;
}

/** @returns the guard's options for keys; undefined when there are some that cannot be used */
function checkKeys(findings, options, output, hasBinary) {
  try {
    const keys = keysFrom(options.keyFile, output);
    const resolved = resolveOptions(keys);
    if (hasBinary) require('../../credentials').createCredentials(resolved); // reads them
    const { encryptionKey, previousEncryptionKeys } = resolved;
    if (encryptionKey) {
      const previous = counted(previousEncryptionKeys.length, 'previous key');
      findings.ok('keys', `a current key and ${previous}`);
    } else {
      findings.warning(
        'keys',
        'no encryption key is configured here: credentials are stored in plain text',
        'make one with `npx baileys-guard keygen`, set CREDENTIALS_ENCRYPTION_KEY, then run ' +
          '`npx baileys-guard rotate`',
      );
    }
    return { encryptionKey, previousEncryptionKeys };
  } catch (error) {
    if (!error.code?.startsWith('ERR_')) throw error;
    const isKey = /key/i.test(error.option);
    findings.failure(
      isKey ? 'keys' : 'configuration',
      `${error.code}: ${error.message}`,
      isKey
        ? 'a key is 32 bytes as 64 hex or 44 base64 characters; `npx baileys-guard keygen` makes one'
        : 'correct the environment variable of that option',
    );
    return undefined;
  }
}

async function withQuietGuard(findings, url, keys) {
  const { Guard } = require('../../guard');
  const quiet = { debug() {}, info() {}, warn() {}, error() {} };
  const none = { encryptionKey: undefined, previousEncryptionKeys: [] };
  let guard;
  try {
    // Without a key of ours: an unusable one in the environment must not hide the database.
    guard = new Guard({ databaseUrl: url, logger: quiet, ...checkingKeys(keys ?? none) });
  } catch (error) {
    // What else an option may be was told with the keys.
    if (error.option === 'databaseUrl') {
      findings.failure('database', `${error.code}: ${error.message}`, 'correct DATABASE_URL');
    } else findings.skipped('database', 'cannot be looked at with this configuration');
    return;
  }
  try {
    const isMigrated = await checkDatabase(findings, Guard.operatorOf(guard));
    if (isMigrated) await checkCredentials(findings, guard, keys);
  } finally {
    await guard.shutdown();
  }
}

/** Counting what is stored takes a key; where there is none, one that opens nothing does. */
function checkingKeys({ encryptionKey, previousEncryptionKeys }) {
  const { randomBytes } = require('node:crypto');
  return {
    encryptionKey: encryptionKey ?? randomBytes(32).toString('hex'),
    previousEncryptionKeys,
  };
}

function* lines(database, findings) {
  yield database;
  yield '';
  const width = Math.max(...findings.map(({ check }) => check.length));
  for (const { check, level, message, mend } of findings) {
    yield `${MARKS[level]} ${check.padEnd(width)}  ${message}`;
    if (mend) yield `${' '.repeat(width + 4)}→ ${mend}`;
  }
  yield '';
  const count = (level) => findings.filter((finding) => finding.level === level).length;
  yield `${counted(count('failure'), 'failure')}, ${counted(count('warning'), 'warning')}`;
}

const examples = [
  'npx baileys-guard doctor',
  'npx baileys-guard doctor --dotenv .env --strict',
  'npx baileys-guard doctor --json | jq \'.findings[] | select(.level != "ok")\'',
];

module.exports = { declare, run, examples, needs: { keys: true } };
