'use strict';

// `export`: gives an auth state back as the folder that Baileys keeps itself.

const fs = require('node:fs/promises');

const { invalidArgument } = require('../errors');
const { counted } = require('./output');
const { checkKnown, withClaim } = require('./with-claim');
const { withGuard } = require('./with-guard');

function declare(program) {
  return program
    .command('export <agentId> <folder>')
    .summary('writes an auth state into a folder')
    .description(
      "Writes an agent's auth state into a folder that useMultiFileAuthState reads, in plain " +
        'text. The agent is claimed meanwhile. Two processes that run on one state break it: ' +
        'use the folder or the database from then on.',
    )
    .option('--overwrite', 'writes into a folder that holds files already');
}

async function run({ args: [agentId, folder], options, output }) {
  if (!options.overwrite && !(await isEmpty(folder))) {
    throw invalidArgument('folder', `${folder} is not empty; --overwrite writes into it anyway`);
  }
  return withGuard({ options, output }, async (guard) => {
    await checkKnown(guard, agentId);
    const { files } = await withClaim(guard, agentId, {}, (claim) =>
      guard.exportAuthState(claim, folder),
    );
    output.result({ agentId, folder, files }, [
      `${agentId}: ${counted(files, 'file')} in ${folder}, in plain text`,
    ]);
  });
}

async function isEmpty(folder) {
  try {
    return (await fs.readdir(folder)).length === 0;
  } catch (error) {
    if (error.code === 'ENOENT') return true;
    throw invalidArgument('folder', error.message);
  }
}

const examples = [
  'npx baileys-guard export agent-1 ./auth_info/agent-1',
  'npx baileys-guard export agent-1 ./auth_info/agent-1 --key-file guard.key --overwrite',
];

module.exports = { declare, run, examples, needs: { keys: true } };
