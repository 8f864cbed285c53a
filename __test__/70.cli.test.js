'use strict';

// The command line tool: its frame, keys, schema, and what it shows.

const fs = require('node:fs');
const path = require('node:path');

const { createGuard } = require('..');
const { main } = require('../lib/cli');
const { PASSWORD, ROOT, cli, envOf, terminal } = require('./support/cli');
const { KINDS, SILENT, freshDatabase, guardsOn, temporaryFolder } = require('./support/databases');
const { KEY_A } = require('./support/credentials');

describe('the command line', () => {
  const commands = [
    'status',
    'migrate',
    'rollback',
    'keygen',
    'rotate',
    'import',
    'export',
    'release',
    'doctor',
  ];

  test('every command has help with examples, and the tool names them all', async () => {
    const { code, stdout } = await cli(['--help']);
    expect(code).toBe(0);
    for (const name of commands) expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
    expect(stdout).toContain('Exit codes:');
    const helps = await Promise.all(commands.map((name) => cli([name, '--help'])));
    for (const [index, help] of helps.entries()) {
      expect(help.code).toBe(0);
      expect(help.stdout).toContain(`Examples:\n  `);
      expect(help.stdout).toContain(`baileys-guard ${commands[index]}`);
    }
  });

  test.each([
    [[]],
    [['no-such-command', '--json']],
    [['status', '--no-such-option', '--json']],
    [['status', '--active', '--inactive', '--json']],
    [['export', 'agent-1', '--json']],
    [['import', '--json']],
    [['import', 'agent-1', '--json']],
    [['rotate', '--batch-size', '0', '--json']],
    [['status', '--database-url', 'mysql://somewhere', '--json']],
    [['status', '--dotenv', '/no/such/file', '--json']],
  ])('wrong usage %j ends with 2', async (args) => {
    const { code, stderr, json } = await cli(args);
    expect(code).toBe(2);
    if (!json) return expect(stderr).toContain('Usage:');
    expect(json.error.code).toMatch(/^ERR_INVALID_(ARGUMENT|OPTION)$/);
    expect(stderr).toContain(`${json.error.code}: ${json.error.message}`);
  });

  test('a missing SQLite file is told and not made', async () => {
    const folder = temporaryFolder();
    const { code, json } = await cli(['status', '--json'], {}, folder);
    expect(code).toBe(1);
    expect(json.error).toMatchObject({ code: 'ERR_DATABASE_UNAVAILABLE' });
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  test('--dotenv configures, and what is set already stays', async () => {
    const folder = temporaryFolder();
    fs.writeFileSync(path.join(folder, '.env'), 'DATABASE_URL=sqlite:from-file.db\n');
    await cli(['migrate', '--dotenv', '.env'], {}, folder);
    expect(fs.existsSync(path.join(folder, 'from-file.db'))).toBe(true);
    const env = { DATABASE_URL: 'sqlite:set.db' };
    await cli(['migrate', '--dotenv', '.env'], env, folder);
    expect(fs.existsSync(path.join(folder, 'set.db'))).toBe(true);
  });

  test('a password on the command line is warned of and never shown', async () => {
    const url = `postgres://me:${PASSWORD}@127.0.0.1:1/none?password=${PASSWORD}`;
    const { code, stderr } = await cli(['status', '--database-url', url]);
    expect(code).toBe(1);
    expect(stderr).toContain('use DATABASE_URL');
    expect(stderr).toContain('ERR_DATABASE_UNAVAILABLE: ');
  });
});

describe('keygen', () => {
  test.each([
    ['hex', [], /^[0-9a-f]{64}\n$/],
    ['base64', ['--base64'], /^[A-Za-z0-9+/]{43}=\n$/],
  ])('makes a new %s key that encrypts', async (_, options, form) => {
    const [first, second] = await Promise.all([
      cli(['keygen', ...options]),
      cli(['keygen', ...options]),
    ]);
    expect(first).toMatchObject({ code: 0, stdout: expect.stringMatching(form), stderr: '' });
    expect(second.stdout).not.toBe(first.stdout);
    const encryptionKey = first.stdout.trim();
    const guard = createGuard({ databaseUrl: 'sqlite:never-opened.db', encryptionKey });
    const stored = guard.encryptCredentials({ a: 1 }, { agentId: 'x' });
    expect(guard.decryptCredentials(stored, { agentId: 'x' })).toEqual({ a: 1 });
    await guard.shutdown();
  });

  test('--json, and a hint for a person only', async () => {
    const { json } = await cli(['keygen', '--json']);
    expect(json).toEqual({ key: expect.stringMatching(/^[0-9a-f]{64}$/), encoding: 'hex' });
    const person = terminal();
    expect(await main(['keygen'], person)).toBe(0);
    expect(person.text('stdout')).toMatch(/^[0-9a-f]{64}\n$/);
    expect(person.text('stderr')).toContain('CREDENTIALS_ENCRYPTION_KEY');
    expect(person.text('stderr')).not.toContain(person.text('stdout').trim());
  });
});

describe.each(KINDS)('on %s', (kind) => {
  let database;
  let guardOf;
  beforeAll(async () => {
    database = await freshDatabase(kind);
    guardOf = guardsOn(database, { leaseTtlMs: 60_000 });
  });

  test('migrate applies once, and rollback asks first', async () => {
    const fresh = await freshDatabase(kind, { migrated: false });
    const env = envOf(fresh);
    if (kind === 'postgres') {
      const { code, json } = await cli(['status', '--json'], env);
      expect([code, json.error.code]).toEqual([1, 'ERR_MIGRATION_REQUIRED']);
    }
    const first = await cli(['migrate', '--json'], env);
    expect(first.json.applied).toEqual(
      fs.readdirSync(path.join(ROOT, 'migrations', kind)).filter((name) => name.endsWith('.sql')),
    );
    expect((await cli(['migrate', '--json'], env)).json.applied).toEqual([]);

    const refused = await cli(['rollback', '--json'], env);
    expect([refused.code, refused.json.error.code]).toEqual([2, 'ERR_INVALID_ARGUMENT']);

    const answers = async (answer) => {
      const person = terminal();
      person.stdin.end(`${answer}\n`);
      const code = await main(['rollback', '--database-url', fresh.url], person);
      return { code, said: person.text('stdout') };
    };
    expect(await answers('no')).toMatchObject({ code: 1, said: 'nothing was changed\n' });
    expect((await answers('rollback')).said).toContain('008_add_instance_tracking.sql');
    const again = await cli(['rollback', '--yes', '--json'], env);
    expect([again.code, again.json.undone]).toEqual([0, []]);
  });

  test('migrate names agents with several rows', async () => {
    const fresh = await freshDatabase(kind, { migrated: false });
    await fresh.query(
      'CREATE TABLE whatsapp_sessions (id integer PRIMARY KEY, agent_id text, is_active boolean)',
    );
    for (const id of [1, 2]) {
      await fresh.query('INSERT INTO whatsapp_sessions (id, agent_id) VALUES ($1, $2)', [
        id,
        'twice',
      ]);
    }
    const { json } = await cli(['migrate', '--json'], envOf(fresh));
    expect(json.duplicates).toEqual([{ agentId: 'twice', rows: 2 }]);
    const doctor = await cli(['doctor', '--json'], envOf(fresh, KEY_A));
    expect(doctor.code).toBe(0);
    expect(doctor.json.findings).toContainEqual({
      check: 'duplicate agents',
      level: 'warning',
      message: expect.stringContaining('twice (2 rows)'),
      mend: expect.any(String),
    });
    expect((await cli(['doctor', '--strict'], envOf(fresh, KEY_A))).code).toBe(1);
  });

  test('status shows who owns what, and filters', async () => {
    const guard = guardOf({ instanceId: 'server-\u001b[31m1', instanceHostname: 'host-1' });
    const claim = await guard.claimInstance('shown');
    await claim.update({ status: 'connected' });
    await (await guard.claimInstance('free')).release();

    const { code, stdout, stderr } = await cli(['status'], envOf(database));
    expect([code, stderr]).toEqual([0, '']);
    // A name from the database does not steer the terminal.
    const row = `shown +connected +yes +server-\ufffd\\[31m1 +host-1 +${process.pid} +\\d+ m?s ago +`;
    expect(stdout).toMatch(new RegExp(`^${row}${claim.fencingToken}$`, 'm'));
    expect(stdout).toMatch(/^free +\S+ +no +- +- +- +- +-$/m);

    const named = async (...filter) => {
      const { json } = await cli(['status', '--json', ...filter], envOf(database));
      return json.agents;
    };
    const [shown] = await named('--owned');
    expect(shown).toMatchObject({
      agentId: 'shown',
      isActive: true,
      owner: { hostname: 'host-1', fencingToken: String(claim.fencingToken) },
    });
    const idsOf = (agents) => agents.map(({ agentId }) => agentId);
    expect(idsOf(await named('--free'))).toEqual(['free']);
    expect(idsOf(await named('--active', '--instance', 'host-1'))).toEqual(['shown']);
    expect(idsOf(await named('--status', 'error'))).toEqual([]);
    expect(idsOf(await named('--agent', 'free', 'shown'))).toEqual(['free', 'shown']);
    await claim.release();
  });
});

test('what the guard says of itself is heard with --verbose only, on standard error', async () => {
  const database = await freshDatabase('sqlite');
  const guard = createGuard({ databaseUrl: database.url, logger: SILENT });
  await (await guard.claimInstance('told')).release();
  await guard.shutdown();
  const quiet = await cli(['release', 'told', '--json'], envOf(database));
  expect(quiet.stderr).toBe('');
  const loud = await cli(['release', 'told', '--json', '--verbose'], envOf(database));
  expect(loud.stderr).toContain('[BAILEYS] ✅ Instance claim registered: ');
  expect(loud.json.released).toBe(true);
});
