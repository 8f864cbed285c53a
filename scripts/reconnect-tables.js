'use strict';

// Writes the tables of docs/reconnect.md as the policy gives them: node scripts/reconnect-tables.js
// With --check, fails when they are out of date.

const fs = require('node:fs');
const path = require('node:path');

const { classifyDisconnect } = require('..');
const { reconnectDelays } = require('../lib/reconnect/facts');
const { ClaimLostError, GuardError } = require('../lib/errors');

const FILE = path.join(__dirname, '..', 'docs', 'reconnect.md');

/** Ends that have a code, in order; 598 stands for every code that is not in the table. */
const CODES = [401, 402, 403, 405, 406, 408, 409, 411, 412, 428, 429, 440, 500, 503, 515, 598];

const guardError = (code) => new GuardError(code, '');
const lost = (reason) => new ClaimLostError('ERR_CLAIM_LOST', '', { reason });

/** Ends without a code of their own. */
const OTHERS = [
  [
    '`QR refs attempts ended` (408)',
    { output: { statusCode: 408 }, message: 'QR refs attempts ended' },
  ],
  ['`Bad MAC`', new Error('Bad MAC')],
  ['`ECONNRESET`, `ENOTFOUND`, `ETIMEDOUT`, …', new Error('read ECONNRESET')],
  ['HTTP refusal of the upgrade, any status but 429', new Error('Unexpected server response: 403')],
  ['an error that says nothing else', new Error('?')],
  ['no error: `sock.end()` by its own user', undefined],
  ['another live instance owns the agent', guardError('ERR_AGENT_IN_USE')],
  ['the claim was taken over', lost('taken')],
  ['the claim ran out: database away, event loop hung', lost('expired')],
  ['the row or lease was deleted', lost('row-gone')],
  ['the claim was released by its user', lost('released')],
  ['the database does not answer', guardError('ERR_DATABASE_UNAVAILABLE')],
];

function time(ms) {
  if (ms === 0) return '0';
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${ms / 1000} s`;
  return ms < 3_600_000 ? `${ms / 60_000} min` : `${ms / 3_600_000} h`;
}

function table(columns, rows) {
  const cells = [columns, ...rows];
  const widths = columns.map((_, i) => Math.max(...cells.map((row) => row[i].length)));
  const line = (row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [line(columns), rule, ...rows.map(line)].join('\n');
}

function ends() {
  const row = (what, error) => {
    const { action, reason, delayMs } = classifyDisconnect(error);
    const waits = action === 'retry' || action === 'quarantine';
    return [what, `\`${reason}\``, `\`${action}\``, waits ? time(delayMs) : ''];
  };
  return table(
    ['end', 'reason', 'action', 'first wait'],
    [
      ...CODES.map((code) => row(code === 598 ? 'any other code' : `${code}`, code)),
      ...OTHERS.map(([what, error]) => row(what, error)),
    ],
  );
}

function delays() {
  const all = reconnectDelays(8);
  const of = (wanted) => all.filter(({ action }) => action === wanted);
  const span = ({ minMs, maxMs }) => `${time(minMs)} to ${time(maxMs)}`;
  const quarantines = of('quarantine');
  return table(
    ['wait', 'backoff', 'with jitter', 'quarantine', 'with jitter'],
    of('retry').map((retry, n) => [
      String(retry.nth),
      time(retry.baseMs),
      span(retry),
      time(quarantines[n].baseMs),
      span(quarantines[n]),
    ]),
  );
}

/** The page with fresh tables between its marks. */
function rendered(page) {
  for (const [name, content] of Object.entries({ ends: ends(), delays: delays() })) {
    const mark = new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- /${name} -->)`);
    if (!mark.test(page)) throw new Error(`docs/reconnect.md has no place for the table ${name}`);
    page = page.replace(mark, (_, before, after) => `${before}\n${content}\n\n${after}`);
  }
  return page;
}

if (require.main === module) {
  const page = fs.readFileSync(FILE, 'utf8');
  const fresh = rendered(page);
  if (process.argv.includes('--check')) process.exitCode = fresh === page ? 0 : 1;
  else fs.writeFileSync(FILE, fresh);
}

module.exports = { FILE, rendered };
