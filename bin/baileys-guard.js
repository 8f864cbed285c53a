#!/usr/bin/env node
'use strict';

// The exit code is set and not forced: what was written to a pipe gets there.
require('../lib/cli')
  .main(process.argv.slice(2))
  .then((code) => (process.exitCode = code));
