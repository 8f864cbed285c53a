'use strict';

/** Preloaded into a server of the demo: ends it when the demo is gone, however that ended. */

process.stdin.once('close', () => process.exit(1)).resume();
process.stdin.unref();
