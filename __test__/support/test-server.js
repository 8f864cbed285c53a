'use strict';

// The PostgreSQL that a whole run shares: the one of TEST_DATABASE_URL, or one started here. What
// the run's processes have to know about it stands in the environment.

const { randomBytes } = require('node:crypto');

const { defer } = require('./cleanup');
const { postgresBinaries } = require('./postgres-binaries');
const { dropDatabases } = require('./postgres');
const { startPostgres } = require('./postgres-server');

/** Provides it until `cleanUp()`; a second call, in a process below the first, finds it there. */
async function provideServer() {
  if (process.env.TEST_RUN_ID) return;
  process.env.TEST_RUN_ID = randomBytes(4).toString('hex');
  if (process.env.TEST_DATABASE_URL) {
    defer(dropDatabases); // what a crashed worker left on a server that stays
    return;
  }
  postgresBinaries();
  const server = await startPostgres();
  process.env.TEST_DATABASE_URL = server.url();
}

module.exports = { provideServer };
