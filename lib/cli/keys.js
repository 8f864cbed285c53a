'use strict';

// Keys come from the environment or from a file, never from an argument: arguments are in the
// shell's history and in the process list.

const fs = require('node:fs');

const { invalidOption } = require('../errors');

/**
 * The options of a guard that a key file gives; nothing without one, and then the environment
 * counts. Blank lines and lines that begin with # are passed over.
 */
function keysFrom(file, output) {
  if (file === undefined) return {};
  let text;
  try {
    if (process.platform !== 'win32' && fs.statSync(file).mode & 0o077) {
      output.note(`warning: others may read ${file}; run: chmod 600 ${file}`);
    }
    text = fs.readFileSync(file, 'utf8');
  } catch (error) {
    throw invalidOption('keyFile', `cannot be read: ${error.message}`);
  }
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const [encryptionKey, ...previousEncryptionKeys] = lines.filter(
    (line) => line !== '' && !line.startsWith('#'),
  );
  if (!encryptionKey) throw invalidOption('keyFile', `${file} holds no key`);
  return { encryptionKey, previousEncryptionKeys };
}

module.exports = { keysFrom };
