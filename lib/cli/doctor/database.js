'use strict';

// The database, asked by the guard's own connection: reachable, migrated, its clock, what stands
// between us and it, and who else may read our tables.

const { counted, duration } = require('../output');

/** Clocks that differ by more than this deserve a word; no decision depends on them. */
const CLOCK_MS = 2000;

/** @returns {Promise<boolean>} whether it can be asked for credentials */
async function checkDatabase(findings, operator) {
  let facts;
  try {
    facts = await operator.diagnose();
  } catch (error) {
    const mend = mendConnection(error.message);
    findings.failure('database', `${error.code}: ${error.message}`, mend);
    return false;
  }
  findings.ok('database', `${facts.server}, answers in ${facts.roundTripMs.toFixed(1)} ms`);
  if (facts.network) checkNetwork(findings, facts.network);
  if (facts.journalMode !== undefined && facts.journalMode !== null) {
    checkJournal(findings, facts.journalMode);
  }
  checkDuplicates(findings, facts.duplicates);
  return checkMigrations(findings, facts);
}

function mendConnection(message) {
  if (/certificate|tls|ssl|UnknownIssuer|Expired/i.test(message)) {
    return 'mend the certificate of the server, or sslrootcert and sslmode in DATABASE_URL';
  }
  if (/password|authentication|role/i.test(message))
    return 'check user and password of DATABASE_URL';
  if (/permission denied/i.test(message)) {
    return 'use the role that owns the tables, or grant it to the role of DATABASE_URL';
  }
  if (/does not exist/i.test(message))
    return 'create the database, or check its name in DATABASE_URL';
  return 'start the database, and check host and port of DATABASE_URL and firewalls on the way';
}

function checkMigrations(findings, { migrations, unknownMigrations }) {
  const missing = migrations.filter(({ applied }) => !applied).map(({ name }) => name);
  if (missing.length > 0) {
    const what = missing.length === migrations.length ? 'none is applied' : missing.join(', ');
    findings.failure('migrations', `missing: ${what}`, 'run `npx baileys-guard migrate`');
  } else {
    findings.ok('migrations', `all ${migrations.length} applied`);
  }
  if (unknownMigrations.length > 0) {
    findings.warning(
      'migrations',
      `applied by another version of baileys-guard: ${unknownMigrations.join(', ')}`,
      'run one version everywhere',
    );
  }
  return missing.length === 0;
}

function checkDuplicates(findings, duplicates) {
  if (duplicates.length === 0) {
    findings.ok('duplicate agents', 'none');
    return;
  }
  const named = duplicates.slice(0, 5).map(({ agentId, rows }) => `${agentId} (${rows} rows)`);
  const more =
    duplicates.length > named.length ? ` and ${duplicates.length - named.length} more` : '';
  findings.warning(
    'duplicate agents',
    `${counted(duplicates.length, 'agent')} with more than one row in whatsapp_sessions, of ` +
      `which the newest is used: ${named.join(', ')}${more}`,
    'delete the older rows; a unique index on agent_id keeps new ones out, if your own INSERTs allow it',
  );
}

function checkJournal(findings, mode) {
  if (mode.toLowerCase() === 'wal') findings.ok('journal', 'write-ahead logging');
  else {
    findings.failure(
      'journal',
      `the file is in journal mode ${mode}, in which readers and writers block each other`,
      'put it on a local disk; the guard switches it to write-ahead logging',
    );
  }
}

function checkNetwork(findings, facts) {
  if (facts.readOnly) {
    findings.failure(
      'server',
      'nothing can be written: it is a standby, or set to read only',
      'point DATABASE_URL to the primary server',
    );
  }
  checkClock(findings, facts.clockAheadMs);
  if (facts.pooled) {
    findings.warning(
      'pooler',
      'a transaction-mode pooler is in between: it works, but LISTEN does not get through, so ' +
        'freed agents are found by polling',
      'for immediate takeovers use a direct connection or a pooler in session mode ' +
        '(Supabase: port 5432)',
    );
  } else {
    findings.ok('pooler', 'direct or in session mode; LISTEN works');
  }
  checkEncryption(findings, facts);
  checkExposed(findings, facts.exposed);
}

function checkClock(findings, aheadMs) {
  if (Math.abs(aheadMs) <= CLOCK_MS) {
    findings.ok('clock', `within ${duration(CLOCK_MS)} of the database's`);
    return;
  }
  findings.warning(
    'clock',
    `the database's clock is ${duration(Math.abs(aheadMs))} ${aheadMs > 0 ? 'ahead of' : 'behind'} ` +
      "this machine's; ownership does not depend on it, but the times that are shown do",
    'synchronise both by NTP',
  );
}

function checkEncryption(findings, { encrypted, verified, local }) {
  if (local) findings.ok('TLS', 'the database is on this machine');
  else if (encrypted && verified) findings.ok('TLS', 'encrypted, certificate checked');
  else if (encrypted) {
    findings.warning(
      'TLS',
      "encrypted, but the server's certificate is not checked: somebody in between could read along",
      'add sslmode=verify-full (and sslrootcert=…) to DATABASE_URL',
    );
  } else {
    const what =
      encrypted === false
        ? 'the connection leaves this machine unencrypted'
        : 'whether the connection is encrypted cannot be told behind a pooler';
    findings.warning('TLS', what, 'add sslmode=verify-full, or at least require, to DATABASE_URL');
  }
}

function checkExposed(findings, exposed) {
  if (exposed.length === 0) {
    findings.ok('privileges', 'no table is open to the roles of a REST API');
    return;
  }
  const tables = [...new Set(exposed.map(({ table }) => table))];
  const roles = [...new Set(exposed.map(({ role }) => role))];
  findings.failure(
    'privileges',
    `${roles.join(' and ')} may reach ${tables.join(', ')} without row level security`,
    tables.map((table) => `REVOKE ALL ON ${table} FROM ${roles.join(', ')};`).join(' ') +
      ' or ALTER TABLE … ENABLE ROW LEVEL SECURITY with policies',
  );
}

module.exports = { checkDatabase };
