'use strict';

// `rollback`: takes back what `migrate` added. The stored auth states go with it, so it asks.

const readline = require('node:readline/promises');

const { invalidArgument } = require('../errors');
const { describeDatabase } = require('./database-url');
const { EXIT } = require('./exit');
const { databaseUrlOf, withGuard } = require('./with-guard');

const WORD = 'rollback';

function declare(program) {
  return program
    .command('rollback')
    .summary('takes back what migrate added')
    .description(
      'Takes back what migrate added and nothing else: tables, columns and indexes, and with ' +
        'them claims, counters and every stored auth state. Stop the instances and export the ' +
        'auth states first.',
    )
    .option('--yes', 'does not ask');
}

async function run({ options, output, stdin }) {
  const database = describeDatabase(databaseUrlOf(options));
  if (!options.yes && !(await confirmed(database, stdin, output))) {
    output.result({ database, undone: [] }, ['nothing was changed']);
    return EXIT.failed;
  }
  return withGuard({ options, output }, async (guard) => {
    const undone = await guard.rollback();
    output.result({ database, undone }, lines(database, undone));
  });
}

async function confirmed(database, stdin, output) {
  if (!stdin.isTTY || !output.screen) {
    throw invalidArgument('--yes', 'is needed where nobody can be asked');
  }
  output.note(`This deletes all claims and stored auth states in ${database}.`);
  const asking = readline.createInterface({ input: stdin, output: output.screen });
  try {
    return (await asking.question(`Type ${WORD} to go on: `)).trim() === WORD;
  } finally {
    asking.close();
  }
}

function* lines(database, undone) {
  yield undone.length === 0 ? `${database}: there is nothing to undo` : `${database}: undone`;
  for (const name of undone) yield `  ${name}`;
}

const examples = [
  'npx baileys-guard export agent-1 ./auth/agent-1   # what would be lost',
  'npx baileys-guard rollback',
  'npx baileys-guard rollback --yes --json',
];

module.exports = { declare, run, examples };
