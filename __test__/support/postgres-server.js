'use strict';

// A PostgreSQL server of a test's own, on loopback, to be stopped, crashed and started at will.

const { execFile } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { promisify } = require('node:util');

const { defer } = require('./cleanup');
const { postgresBinaries } = require('./postgres-binaries');
const {
  ServerProcess,
  serverFolder,
  giveAway,
  unprivileged,
  onFreePort,
} = require('./server-process');

// The data is gone when the test is: an operating system that crashes may take it along. Crashes
// of the server itself lose nothing by this.
const DEFAULTS = { fsync: 'off', max_connections: 300, listen_addresses: '127.0.0.1' };

const SIGNALS = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT', kill: 'SIGKILL' };

class PostgresServer {
  #process;
  #folder;
  #settings;
  #password;
  #env;

  constructor(folder, settings, password, env) {
    this.#folder = folder;
    this.#settings = { ...DEFAULTS, ...settings };
    this.#password = password;
    this.#env = env;
  }

  /** URL of one of its databases, as its superuser. */
  url(database = 'postgres') {
    const user = this.#password ? `postgres:${this.#password}` : 'postgres';
    return `postgres://${user}@127.0.0.1:${this.port}/${database}`;
  }

  get log() {
    return this.#process?.log ?? '';
  }

  async start() {
    const settings = { ...this.#settings, port: this.port, unix_socket_directories: '' };
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    this.#process = new ServerProcess({
      command: path.join(postgresBinaries(), 'postgres'),
      args: ['-D', path.join(this.#folder, 'data'), ...args],
      // The server's time zone and messages must not depend on the machine.
      env: { TZ: 'UTC', LC_ALL: 'C', ...this.#env },
      folder: this.#folder,
    });
    await this.#process.said(/ready to accept connections/);
  }

  /** @param {'smart' | 'fast' | 'immediate' | 'kill'} mode `immediate` is a crash with recovery */
  async stop(mode = 'fast') {
    if (!this.#process) return;
    this.#process.signal(SIGNALS[mode]);
    await this.#process.exited;
    this.#process = undefined;
  }

  async restart(mode = 'fast') {
    await this.stop(mode);
    await this.start();
  }

  async initialise() {
    const { uid, gid } = unprivileged();
    const args = ['-D', path.join(this.#folder, 'data'), '-U', 'postgres', '-E', 'UTF8'];
    args.push('--locale=C', '--no-sync');
    if (this.#password) {
      const file = path.join(this.#folder, 'password');
      fs.writeFileSync(file, this.#password, { mode: 0o600 });
      giveAway(file);
      args.push('--auth=scram-sha-256', `--pwfile=${file}`);
    } else {
      args.push('--auth=trust');
    }
    await promisify(execFile)(path.join(postgresBinaries(), 'initdb'), args, {
      uid,
      gid,
      cwd: this.#folder,
    });
  }

  /** Turns TLS on, with a certificate made for this server alone. */
  async useTls() {
    const { cert, private: key } = await selfSigned();
    for (const [name, text] of [
      ['server.crt', cert],
      ['server.key', key],
    ]) {
      const file = path.join(this.#folder, name);
      fs.writeFileSync(file, text, { mode: 0o600 });
      giveAway(file);
    }
    this.#settings.ssl = 'on';
    this.#settings.ssl_cert_file = path.join(this.#folder, 'server.crt');
    this.#settings.ssl_key_file = path.join(this.#folder, 'server.key');
    this.certificate = path.join(this.#folder, 'server.crt');
  }
}

function selfSigned() {
  const { generate } = require('selfsigned');
  return generate([{ name: 'commonName', value: 'localhost' }], {
    keyType: 'ec',
    extensions: [
      { name: 'basicConstraints', cA: false },
      {
        name: 'subjectAltName',
        altNames: [
          { type: 2, value: 'localhost' },
          { type: 7, ip: '127.0.0.1' },
        ],
      },
    ],
  });
}

/**
 * Starts a server; it is stopped and removed when the test file is through.
 *
 * @param {object} [options]
 * @param {Record<string, string | number>} [options.settings] of postgresql.conf
 * @param {string} [options.timezone] the server's TimeZone
 * @param {boolean} [options.tls] `ssl = on`; the certificate's file is `server.certificate`
 * @param {string} [options.password] of its superuser; without one it trusts loopback
 * @param {Record<string, string>} [options.env] environment variables of the server
 */
async function startPostgres({ settings = {}, timezone, tls = false, password, env } = {}) {
  const folder = serverFolder('postgres');
  const all = timezone ? { timezone, log_timezone: timezone, ...settings } : settings;
  const server = new PostgresServer(folder, all, password, env);
  server.remove = defer(async () => {
    await server.stop('immediate');
    fs.rmSync(folder, { recursive: true, force: true });
  });
  await server.initialise();
  if (tls) await server.useTls();
  await onFreePort((port) => {
    server.port = port;
    return server.start();
  });
  return server;
}

module.exports = { PostgresServer, startPostgres };
