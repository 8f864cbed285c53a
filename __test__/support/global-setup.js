'use strict';

// `npx jest` alone, without `npm test` around it, gets its PostgreSQL here.

const { provideServer } = require('./test-server');

module.exports = provideServer;
