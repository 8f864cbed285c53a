'use strict';

// `migrate`: brings the schema to this version.

const { describeDatabase } = require('./database-url');
const { databaseUrlOf, withGuard } = require('./with-guard');

function declare(program) {
  return program
    .command('migrate')
    .summary('creates or completes the tables')
    .description(
      'Creates or completes the tables in the database. Rows and columns that are there stay; ' +
        'running it again changes nothing, and several processes may run it at once.',
    );
}

async function run({ options, output }) {
  // The guard would log them, too; here they are part of the result.
  const quiet = { ...output.logger, warn() {} };
  const work = async (guard) => {
    const { applied, duplicates } = await guard.migrate();
    const database = describeDatabase(databaseUrlOf(options));
    output.result({ database, applied, duplicates }, lines(database, applied, duplicates));
  };
  return withGuard({ options, output }, work, { creates: true, logger: quiet });
}

function* lines(database, applied, duplicates) {
  if (applied.length === 0) yield `${database}: everything is applied already`;
  else yield `${database}: applied`;
  for (const name of applied) yield `  ${name}`;
  if (duplicates.length === 0) return;
  yield 'agents with more than one row in whatsapp_sessions; the newest row is used:';
  for (const { agentId, rows } of duplicates) yield `  ${agentId}: ${rows} rows`;
}

const examples = [
  'npx baileys-guard migrate',
  'npx baileys-guard migrate --database-url sqlite:/var/lib/app/guard.db',
  'npx baileys-guard migrate --dotenv .env --json',
];

module.exports = { declare, run, examples };
