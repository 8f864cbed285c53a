'use strict';

/** @type {import('jest').Config} */
module.exports = {
  testMatch: ['<rootDir>/__test__/[0-9][0-9].*.test.js'],
  testEnvironment: '<rootDir>/__test__/support/environment.js',
  globalSetup: '<rootDir>/__test__/support/global-setup.js',
  globalTeardown: '<rootDir>/__test__/support/global-teardown.js',
  // Build output and packed copies of the package would be taken for a second baileys-guard.
  modulePathIgnorePatterns: ['<rootDir>/target/', '<rootDir>/npm/'],
  maxWorkers: 2,
  testTimeout: 60_000, // real processes on a busy machine; tests that wait say how long themselves
  transform: {},
};
