'use strict';

// jest's Node environment, with one thing more: what `cleanup.js` collected is undone when the
// last hook of a test file has run. An `afterAll` of a set-up file would come before the file's
// own, and take the database away from a guard that is still to be shut down.

const { TestEnvironment } = require('jest-environment-node');
const { cleanUp, key } = require('./cleanup');

module.exports = class extends TestEnvironment {
  async handleTestEvent(event) {
    if (event.name === 'run_finish') await cleanUp(this.global[key]);
  }
};
