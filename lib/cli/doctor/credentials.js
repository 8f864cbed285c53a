'use strict';

// How what is stored is encrypted: a rotation that changes nothing counts it.

const { counted } = require('../output');

/** @param {{ encryptionKey?: string } | undefined} keys undefined: there are, and are unusable */
async function checkCredentials(findings, guard, keys) {
  if (keys === undefined) {
    findings.skipped('credentials', 'cannot be counted without usable keys');
    return;
  }
  let report;
  try {
    report = await guard.rotateCredentials({ dryRun: true });
  } catch (error) {
    findings.failure('credentials', `${error.code}: ${error.message}`, 'look at the database');
    return;
  }
  const { examined, remaining, failed } = report;
  const { plain, legacy, previousKey, unreadable } = remaining;
  if (unreadable > 0) {
    const [first] = failed;
    findings.failure(
      'credentials',
      `${unreadable} of ${counted(examined, 'value')} cannot be opened` +
        (first ? `, such as one of agent ${first.agentId} (${first.code})` : ''),
      keys.encryptionKey
        ? 'configure the key that they are encrypted under, as the current or a previous one'
        : 'configure the key that they are encrypted under in CREDENTIALS_ENCRYPTION_KEY',
    );
  }
  const old = [
    [plain, 'in plain text'],
    [legacy, 'in the older form'],
    [previousKey, 'under a previous key'],
  ].filter(([count]) => count > 0);
  if (old.length > 0) {
    findings.warning(
      'credentials',
      `of ${counted(examined, 'value')}: ${old.map(([count, what]) => `${count} ${what}`).join(', ')}`,
      keys.encryptionKey
        ? 'run `npx baileys-guard rotate`'
        : 'make a key with `npx baileys-guard keygen`, then run `npx baileys-guard rotate`',
    );
  } else if (unreadable === 0) {
    const all = `${counted(examined, 'value')}, all under the current key`;
    findings.ok('credentials', examined === 0 ? 'nothing is stored yet' : all);
  }
}

module.exports = { checkCredentials };
