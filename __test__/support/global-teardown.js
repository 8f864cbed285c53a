'use strict';

const { cleanUp } = require('./cleanup');
const { dropDatabases } = require('./postgres');

module.exports = async () => {
  if (!globalThis.testServer) await dropDatabases();
  await cleanUp();
};
