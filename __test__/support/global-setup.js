'use strict';

// `npx jest` alone, without `npm test` around it, gets its PostgreSQL here.

const { randomBytes } = require('node:crypto');
const { startPostgres } = require('./postgres-server');
const { postgresBinaries } = require('./postgres-binaries');

module.exports = async () => {
  process.env.TEST_RUN_ID ??= randomBytes(4).toString('hex');
  if (process.env.TEST_DATABASE_URL) return;
  postgresBinaries(); // found once, for all workers
  globalThis.testServer = await startPostgres();
  process.env.TEST_DATABASE_URL = globalThis.testServer.url();
};
