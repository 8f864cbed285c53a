'use strict';

// How the tool ends, for scripts that look.

const EXIT = Object.freeze({ ok: 0, failed: 1, usage: 2, inUse: 3 });

const USAGE = new Set(['ERR_INVALID_ARGUMENT', 'ERR_INVALID_OPTION']);

/** @param {Error & { code?: string, exitCode?: number }} error */
function exitCodeOf(error) {
  if (error.exitCode !== undefined) return error.exitCode;
  if (error.code === 'ERR_AGENT_IN_USE') return EXIT.inUse;
  return USAGE.has(error.code) ? EXIT.usage : EXIT.failed;
}

module.exports = { EXIT, exitCodeOf };
