'use strict';

// The command line tool: doctor, and everything it has to find.

const fs = require('node:fs');
const net = require('node:net');
const tls = require('node:tls');
const { promisify } = require('node:util');

const { defer } = require('./support/cleanup');
const { BIN, PASSWORD, cli, envOf } = require('./support/cli');
const { KINDS, freshDatabase, temporaryFolder } = require('./support/databases');
const { KEY_A } = require('./support/credentials');
const { startPgBouncer } = require('./support/pgbouncer');
const { createDatabase, startPostgres, withClient } = require('./support/postgres');

describe('doctor', () => {
  const doctor = async (env, ...options) => {
    const { code, json } = await cli(['doctor', '--json', ...options], env);
    const of = (check) => json.findings.filter((finding) => finding.check === check).at(-1);
    for (const { level, mend } of json.findings) {
      if (level === 'failure' || level === 'warning') expect(mend).toEqual(expect.any(String));
    }
    return { code, json, of };
  };

  test.each(KINDS)('has nothing to say against a good %s', async (kind) => {
    const database = await freshDatabase(kind);
    const { code, json } = await doctor(envOf(database, KEY_A), '--strict');
    expect(json).toMatchObject({ ok: true, failures: 0, warnings: 0 });
    expect(code).toBe(0);
    const text = (await cli(['doctor'], envOf(database, KEY_A))).stdout;
    expect(text).toContain(kind === 'sqlite' ? 'SQLite 3' : 'PostgreSQL');
    expect(text).toContain('0 failures, 0 warnings');
  });

  test.each(KINDS)('finds missing migrations of %s', async (kind) => {
    const database = await freshDatabase(kind);
    await database.query('DROP TABLE baileys_guard_reconnect');
    const { code, of } = await doctor(envOf(database, KEY_A));
    expect(code).toBe(1);
    expect(of('migrations')).toMatchObject({
      level: 'failure',
      mend: expect.stringContaining('migrate'),
    });
    expect(of('migrations').message).toContain('012_add_reconnects.sql');
  });

  test('finds what is wrong with keys, and looks at the rest nevertheless', async () => {
    const database = await freshDatabase('sqlite');
    const bad = await doctor(envOf(database, KEY_A.slice(1)));
    expect(bad.code).toBe(1);
    expect(bad.of('keys').level).toBe('failure');
    expect(JSON.stringify(bad.json)).not.toContain(KEY_A.slice(1, 30));
    expect(bad.of('database').level).toBe('ok');
    expect((await doctor(envOf(database))).of('keys').level).toBe('warning');
    const ttl = await doctor({ ...envOf(database, KEY_A), LEASE_TTL_MS: 'long' });
    expect(ttl.of('configuration')).toMatchObject({ level: 'failure' });
    expect(ttl.of('database').level).toBe('skipped');
    const url = await doctor({ DATABASE_URL: `mysql://me:${PASSWORD}@host/x` });
    expect([url.code, url.of('database').level]).toEqual([1, 'failure']);
  });

  test('finds a database that is not there', async () => {
    const { code, of, json } = await doctor({
      DATABASE_URL: `postgres://me:${PASSWORD}@127.0.0.1:1/none`,
    });
    expect([code, of('database').level]).toEqual([1, 'failure']);
    expect(json.database).toBe('postgres://me@127.0.0.1:1/none');
    const folder = temporaryFolder();
    const none = await doctor({ DATABASE_URL: `sqlite:${folder}/none.db` });
    expect([none.code, none.of('file').level]).toEqual([1, 'failure']);
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  test('finds an SQLite file that others may open', async () => {
    const database = await freshDatabase('sqlite');
    fs.chmodSync(database.file, 0o644);
    expect((await doctor(envOf(database, KEY_A))).of('file')).toMatchObject({ level: 'warning' });
  });

  test('finds a network file system', () => {
    const { checkFile } = require('../lib/cli/doctor/file');
    const { Findings } = require('../lib/cli/doctor/findings');
    const levels = [0x6969, 0xff534d42 - 2 ** 32, 0x65735546, 0xef53].map((type) => {
      const findings = new Findings();
      expect(checkFile(findings, `sqlite:${BIN}`, () => ({ type }))).toBe(true);
      return findings.list.at(-1).level;
    });
    expect(levels).toEqual(
      process.platform === 'linux'
        ? ['failure', 'failure', 'warning', 'ok']
        : Array(4).fill('skipped'),
    );
  });

  test('finds a Node.js that is too old', () => {
    const { checkRuntime } = require('../lib/cli/doctor/runtime');
    const { Findings } = require('../lib/cli/doctor/findings');
    const levelOf = (version) => {
      const findings = new Findings();
      expect(checkRuntime(findings, version)).toBe(true);
      return findings.list[0].level;
    };
    expect(['18.20.0', '20.16.0', '20.18.3', '20.19.0', '22.11.0', '24.0.0'].map(levelOf)).toEqual([
      'failure',
      'failure',
      'warning',
      'ok',
      'warning',
      'ok',
    ]);
  });

  test('finds tables that the roles of a REST API may read, a far clock and a read-only server', async () => {
    const server = await startPostgres(); // of its own: a role is there for all databases
    const env = { DATABASE_URL: server.url(), CREDENTIALS_ENCRYPTION_KEY: KEY_A };
    const query = (sql) => withClient(server.url(), (client) => client.query(sql));
    // As Supabase has it: what is made in the schema is open to the REST API.
    await query('CREATE ROLE anon; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO anon');
    await cli(['migrate'], env);
    expect((await doctor(env, '--strict')).code).toBe(0);
    await query(`
      GRANT SELECT ON baileys_guard_auth TO anon;
      CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
        'SELECT pg_catalog.clock_timestamp() - interval ''1 hour''';
      ALTER DATABASE postgres SET search_path = public, pg_catalog;
      ALTER DATABASE postgres SET default_transaction_read_only = on`);
    const { code, of } = await doctor(env);
    expect(code).toBe(1);
    expect(of('privileges')).toEqual({
      check: 'privileges',
      level: 'failure',
      message: 'anon may reach baileys_guard_auth without row level security',
      mend: expect.stringContaining('REVOKE ALL ON baileys_guard_auth FROM anon;'),
    });
    expect(of('clock').message).toContain('60 min behind');
    expect(of('server').level).toBe('failure');
  });

  test('finds a transaction-mode pooler', async () => {
    const database = await createDatabase({ template: 'migrated' });
    const bouncer = await startPgBouncer({ poolSize: 3, poolMode: 'transaction' });
    const { code, of } = await doctor({
      DATABASE_URL: bouncer.through(database.url),
      CREDENTIALS_ENCRYPTION_KEY: KEY_A,
    });
    expect([code, of('pooler').level]).toEqual([0, 'warning']);
  });

  test('finds a certificate that has expired', async () => {
    const { generate } = require('selfsigned');
    const { cert, private: key } = await generate([{ name: 'commonName', value: 'localhost' }], {
      keyType: 'ec',
      notBeforeDate: new Date('2020-01-01'),
      notAfterDate: new Date('2021-01-01'),
    });
    const secureContext = tls.createSecureContext({ cert, key });
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => {
        socket.write('S');
        new tls.TLSSocket(socket, { isServer: true, secureContext })
          .on('error', () => {})
          .once('data', () => socket.destroy());
      });
    });
    await promisify(server.listen.bind(server))(0, '127.0.0.1');
    defer(() => server.close());
    const { code, of } = await doctor({
      DATABASE_URL: `postgres://me@127.0.0.1:${server.address().port}/x?sslmode=verify-full`,
    });
    expect([code, of('certificate').level]).toEqual([1, 'failure']);
    expect(of('certificate').message).toContain('2021-01-01');
    expect(of('database').mend).toContain('certificate');
  });
});
