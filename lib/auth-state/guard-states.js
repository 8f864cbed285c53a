'use strict';

// The auth states of one guard: its keys and its database behind what users call.

const { checkObject, checkOptionalBoolean, checkOptionalFunction } = require('../arguments');
const { invalidArgument, settle } = require('../errors');
const native = require('../native');
const { clearAuthState, useGuardedAuthState } = require('./index');
const { exportAuthState, importAuthState } = require('./transfer');

class GuardAuthStates {
  #parts;
  #opened;
  #warnedOfPlaintext = false;

  /**
   * @param {object} parts what a guard lends: `native`, `credentials`, `options`, `listeners`,
   *   `checkOpen()`
   */
  constructor(parts) {
    this.#parts = parts;
  }

  async use(claim, options) {
    this.#parts.checkOpen();
    this.#warnOfPlaintext();
    return useGuardedAuthState(claim, this.#states(), options);
  }

  async import(claim, options) {
    this.#parts.checkOpen();
    this.#warnOfPlaintext();
    return importAuthState(claim, this.#tools(), options);
  }

  async export(claim, folder) {
    this.#parts.checkOpen();
    return exportAuthState(claim, folder, this.#tools());
  }

  async rotate(options) {
    const { batchSize = 200, dryRun = false, onProgress } = checkObject(options, 'options');
    if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > 10_000) {
      throw invalidArgument('batchSize', 'must be a whole number from 1 to 10000');
    }
    checkOptionalBoolean(dryRun, 'dryRun');
    checkOptionalFunction(onProgress, 'onProgress');
    this.#parts.checkOpen();
    const progress = (report) => this.#parts.listeners.call(onProgress, report);
    return settle(this.#states().rotate(batchSize, dryRun, progress));
  }

  /** Deletes the whole state of a claim, whether it opens or not. */
  clear(claim) {
    return clearAuthState(claim, this.#states());
  }

  /** What has been read and written, once anything has. */
  stats() {
    return this.#opened?.stats();
  }

  #states() {
    const { native: nativeGuard, credentials, options } = this.#parts;
    const { acceptPlaintext, acceptLegacy } = options;
    this.#opened ??= native.NativeAuthStates.of(
      nativeGuard,
      credentials.keyRing,
      acceptPlaintext,
      acceptLegacy,
    );
    return this.#opened;
  }

  #tools() {
    const { credentials } = this.#parts;
    const open = (stored, agentId) => credentials.decryptCredentials(stored, { agentId });
    return { states: this.#states(), open };
  }

  #warnOfPlaintext() {
    const { credentials, options } = this.#parts;
    if (credentials.keyIds.current || this.#warnedOfPlaintext) return;
    this.#warnedOfPlaintext = true;
    options.logger.warn(
      '[BAILEYS] no encryption key is configured: credentials are stored in plain text. ' +
        '`npx baileys-guard keygen` makes a key for CREDENTIALS_ENCRYPTION_KEY',
    );
  }
}

module.exports = { GuardAuthStates };
