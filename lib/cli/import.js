'use strict';

// `import`: takes over auth states that were kept in folders or in `session_data`.

const fs = require('node:fs/promises');
const path = require('node:path');

const { GuardError, invalidArgument } = require('../errors');
const { EXIT, exitCodeOf } = require('./exit');
const { counted, describeError } = require('./output');
const { progress } = require('./progress');
const { table } = require('./table');
const { checkKnown, withClaim } = require('./with-claim');
const { withGuard } = require('./with-guard');

const HEAD = ['AGENT', 'CREDENTIALS FROM', 'PAIRED', 'KEYS', 'NOTE'];

function declare(program) {
  return program
    .command('import [agentId]')
    .summary('takes over auth state folders and session_data')
    .description(
      'Stores what an agent had before, encrypted: a folder of useMultiFileAuthState, the ' +
        "host's session_data, or both (the keys of the folder with whichever credentials are " +
        'newer). The source stays as it is. The agent is claimed meanwhile.',
    )
    .option('--folder <dir>', "the agent's useMultiFileAuthState folder")
    .option('--session-data', 'session_data of whatsapp_sessions')
    .option('--folders <dir>', 'imports every sub-folder as an agent of its name')
    .option('--prefix <text>', 'with --folders: what stands before the agent id in their names')
    .option('--user-id <id>', 'for agents without a row, where the table wants a user_id')
    .option('--overwrite', 'replaces what is stored, even if as new or of another pairing');
}

async function run({ args: [agentId], options, output }) {
  const { folder, folders, sessionData, prefix = '' } = options;
  if (folders !== undefined) {
    if (agentId !== undefined || folder !== undefined) {
      throw invalidArgument('--folders', 'stands alone: sub-folders name the agents');
    }
  } else if (agentId === undefined) {
    throw invalidArgument('agentId', 'is missing; or give --folders');
  } else if (folder === undefined && !sessionData) {
    throw invalidArgument('--folder', 'or --session-data is needed to know what to import');
  }
  const jobs = folders === undefined ? [{ agentId, folder }] : await jobsIn(folders, prefix);

  return withGuard({ options, output }, async (guard, signal) => {
    const bar = progress(output, 'agents', jobs.length > 1 ? jobs.length : 0);
    const done = [];
    try {
      for (const job of jobs) {
        signal.throwIfAborted();
        done.push(await importOne(guard, job, options));
        bar.at(done.length);
      }
    } finally {
      bar.stop();
    }
    const errors = done.map(({ error }) => error).filter(Boolean);
    if (folders === undefined && errors.length > 0) throw errors[0];
    const agents = done.map(({ error, ...rest }) =>
      error ? { ...rest, error: describeError(error) } : rest,
    );
    output.result({ agents }, lines(agents));
    // A failure weighs more than an agent that is in use and can be imported later.
    return Math.min(...errors.map(exitCodeOf), errors.length > 0 ? EXIT.inUse : EXIT.ok);
  });
}

async function jobsIn(folders, prefix) {
  let entries;
  try {
    entries = await fs.readdir(folders, { withFileTypes: true });
  } catch (cause) {
    throw new GuardError('ERR_IMPORT_FAILED', `cannot read ${folders}: ${cause.message}`, {
      cause,
    });
  }
  const jobs = entries
    .filter((entry) => entry.isDirectory() && entry.name.startsWith(prefix))
    .map(({ name }) => ({ agentId: name.slice(prefix.length), folder: path.join(folders, name) }))
    .filter((job) => job.agentId !== '');
  if (jobs.length === 0) {
    throw new GuardError('ERR_NOTHING_TO_IMPORT', `${folders} has no sub-folders to import`);
  }
  return jobs.sort((a, b) => (a.agentId < b.agentId ? -1 : 1));
}

async function importOne(guard, { agentId, folder }, { sessionData = false, overwrite, userId }) {
  try {
    await checkSource(guard, { agentId, folder }, sessionData);
    const imported = await withClaim(guard, agentId, { userId }, (claim) =>
      guard.importAuthState(claim, { folder, sessionData, overwrite }),
    );
    return { agentId, ...imported };
  } catch (error) {
    if (error.code === 'ERR_DATABASE_UNAVAILABLE') throw error; // the next one would fail as well
    return { agentId, error };
  }
}

/** Before the claim, which makes a row for an agent that has none: also for a misspelt one. */
async function checkSource(guard, { agentId, folder }, sessionData) {
  if (folder !== undefined) {
    try {
      return await fs.access(path.join(folder, 'creds.json'));
    } catch (cause) {
      if (!sessionData) {
        throw new GuardError('ERR_NOTHING_TO_IMPORT', `${folder} has no creds.json`, { cause });
      }
    }
  }
  await checkKnown(guard, agentId);
}

function* lines(agents) {
  yield* table(HEAD, agents.map(row));
  const failed = agents.filter(({ error }) => error).length;
  yield '';
  yield `${counted(agents.length - failed, 'agent')} imported${failed ? `, ${failed} not` : ''}`;
}

function row({ agentId, credentials, paired, keys, resumable, unknownFiles, error }) {
  if (error) return [agentId, null, null, null, `${error.code}: ${error.message}`];
  const notes = [];
  if (credentials === 'stored') notes.push('what is stored is as new or newer, and stays');
  if (!resumable) notes.push('no Signal keys: a new QR scan is needed');
  if (unknownFiles.length > 0) notes.push(`passed over: ${unknownFiles.join(', ')}`);
  return [agentId, credentials, paired ? 'yes' : 'no', keys, notes.join('; ')];
}

const examples = [
  'npx baileys-guard import agent-1 --folder ./auth_info/agent-1',
  'npx baileys-guard import agent-1 --session-data',
  'npx baileys-guard import --folders ./auth_info --session-data',
  'npx baileys-guard import --folders . --prefix auth_info_',
];

module.exports = { declare, run, examples, needs: { keys: true } };
