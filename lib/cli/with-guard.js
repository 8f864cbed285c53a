'use strict';

// A guard for as long as one command runs, shut down whatever happens: what was claimed is given
// back when the command is done, fails or is interrupted.

const fs = require('node:fs');
const os = require('node:os');

const { GuardError } = require('../errors');
const { holdsPassword, sqliteFile } = require('./database-url');
const { keysFrom } = require('./keys');

const SIGNALS = { SIGINT: 130, SIGTERM: 143 };

/**
 * @param {{ options: object, output: import('./output').Output }} context
 * @param {(guard: import('../guard').Guard, signal: AbortSignal) => Promise<number | undefined>} work
 *   the signal is aborted when the command is interrupted
 * @param {{ creates?: boolean, logger?: object }} [settings] `creates`: an SQLite file that is
 *   missing is made
 */
async function withGuard({ options, output }, work, { creates = false, logger } = {}) {
  const guard = openGuard(options, output, creates, logger);
  const interruption = new AbortController();
  const interrupted = new Promise((_, reject) => {
    interruption.signal.addEventListener('abort', () => reject(interruption.signal.reason));
  });
  const onSignal = (name) => {
    const error = new GuardError('ERR_SHUT_DOWN', `interrupted by ${name}`);
    interruption.abort(Object.assign(error, { exitCode: SIGNALS[name] }));
  };
  for (const name of Object.keys(SIGNALS)) process.once(name, onSignal);
  try {
    return await Promise.race([work(guard, interruption.signal), interrupted]);
  } finally {
    await guard.shutdown();
    for (const name of Object.keys(SIGNALS)) process.off(name, onSignal);
  }
}

function openGuard(options, output, creates, logger = output.logger) {
  const url = databaseUrlOf(options);
  if (options.databaseUrl && holdsPassword(options.databaseUrl)) {
    output.note('warning: a password on the command line can be seen by others; use DATABASE_URL');
  }
  const file = sqliteFile(url);
  if (file !== undefined && !creates && !fs.existsSync(file)) {
    throw new GuardError(
      'ERR_DATABASE_UNAVAILABLE',
      `there is no file ${file}; \`npx baileys-guard migrate\` makes it`,
    );
  }
  const { Guard } = require('../guard'); // not before: it needs the native binary
  return new Guard({
    databaseUrl: url,
    instanceId: `cli-${os.hostname().slice(0, 200)}-${process.pid}`, // INSTANCE_ID is the server's
    logger,
    ...keysFrom(options.keyFile, output),
  });
}

function databaseUrlOf(options) {
  return options.databaseUrl || process.env.DATABASE_URL || 'sqlite:baileys-guard.db';
}

module.exports = { databaseUrlOf, withGuard };
