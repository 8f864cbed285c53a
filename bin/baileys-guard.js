#!/usr/bin/env node
'use strict';

// Whoever reads the output may stop reading: `… status | head`.
process.stdout.on('error', (error) => {
  if (error.code !== 'EPIPE') throw error;
});

// The exit code is set and not forced: what was written to a pipe gets there.
require('../lib/cli')
  .main(process.argv.slice(2))
  .then((code) => (process.exitCode = code));
