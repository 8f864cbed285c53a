'use strict';

// Loads the native binary, or says what to do about it.

const path = require('node:path');

const { name, version, optionalDependencies } = require('../package.json');
const { GuardError } = require('./errors');
const { platformName } = require('./platform');

/** @returns {typeof import('../binding')} */
function load() {
  const native = find();
  if (native.nativeVersion() !== version) {
    throw failure(`${name} ${version} found a native binary of version ${native.nativeVersion()}`);
  }
  return native;
}

function find() {
  try {
    return require('../binding');
  } catch (cause) {
    return findByName() ?? fail(cause);
  }
}

/**
 * The generated loader takes a Linux for musl when its `ldd` is, even where Node runs on glibc,
 * and then looks for the wrong file. What npm and our builds put there has the right name.
 */
function findByName() {
  for (const file of [`../${name}.${platformName()}.node`, `${name}-${platformName()}`]) {
    try {
      return require(file);
    } catch {
      // the loader's error tells more
    }
  }
}

/** The generated loader blames npm for everything; what it met is in its chain of causes. */
function fail(cause) {
  for (let error = cause.cause; error; error = error.cause) {
    if (!error.message.startsWith('Cannot find module')) {
      throw failure(`${name} cannot load its native binary: ${error.message}`, cause);
    }
  }
  throw failure(`${name} ${version} has no native binary for this platform`, cause);
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
