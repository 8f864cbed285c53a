'use strict';

// Loads the native binary, or says what to do about it.

const { version } = require('../package.json');
const { GuardError } = require('./errors');

/** @returns {typeof import('../binding')} */
function load() {
  try {
    return require('../binding');
  } catch (cause) {
    const where = `${process.platform}-${process.arch}, Node ${process.versions.node}`;
    throw new GuardError(
      'ERR_NATIVE_BINDING_MISSING',
      `baileys-guard has no native binary for this platform (${where}).\n` +
        'Either install a version that ships one for it, or build it here:\n' +
        '  1. install a stable Rust toolchain (https://rustup.rs)\n' +
        '  2. run: npm rebuild baileys-guard\n' +
        'If npm skips optional dependencies or install scripts, allow them for this package.',
      { cause },
    );
  }
}

const native = load();

if (native.nativeVersion() !== version) {
  throw new GuardError(
    'ERR_NATIVE_BINDING_MISSING',
    `baileys-guard ${version} found a native binary of version ${native.nativeVersion()}; ` +
      'reinstall the package or run: npm rebuild baileys-guard',
  );
}

module.exports = native;
