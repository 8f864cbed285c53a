'use strict';

// Loads the native binary, or says what to do about it.

const path = require('node:path');

const { name, version, optionalDependencies } = require('../package.json');
const { GuardError } = require('./errors');
const { platformName } = require('./platform');

/** @returns {typeof import('../binding')} */
function load() {
  let native;
  try {
    native = require('../binding');
  } catch (cause) {
    // The generated loader blames npm for everything; what it met is in its chain of causes.
    throw failure(problem(cause), cause);
  }
  if (native.nativeVersion() !== version) {
    throw failure(`${name} ${version} found a native binary of version ${native.nativeVersion()}`);
  }
  return native;
}

/** What stands in the way: no binary at all, or one that this system cannot load. */
function problem(cause) {
  for (let error = cause.cause; error; error = error.cause) {
    if (error.code !== 'MODULE_NOT_FOUND') {
      return `${name} cannot load its native binary: ${error.message}`;
    }
  }
  return `${name} ${version} has no native binary for this platform`;
}

function failure(what, cause) {
  const platform = platformName();
  const lines = [`${what} (${platform}, Node ${process.versions.node}).`];
  if (optionalDependencies?.[`${name}-${platform}`]) {
    lines.push(
      `It comes with the package ${name}-${platform}, which is left out when dependencies were`,
      'installed on another platform or without optional ones. To add it, run:',
      `  npm install --include=optional ${name}-${platform}@${version}`,
      'To build it instead:',
    );
  } else {
    lines.push('To build it here:');
  }
  lines.push(
    '  1. install Rust (https://rustup.rs) and a C compiler',
    `  2. run: node ${JSON.stringify(path.join(__dirname, '..', 'scripts', 'install.js'))}`,
  );
  return new GuardError('ERR_NATIVE_BINDING_MISSING', lines.join('\n'), { platform, cause });
}

module.exports = load();
