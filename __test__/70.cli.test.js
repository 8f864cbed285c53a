'use strict';

// The command line tool, as its users run it: processes of their own on real databases.

const { execFile, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { PassThrough } = require('node:stream');
const tls = require('node:tls');
const { promisify } = require('node:util');

const { createGuard } = require('..');
const { main } = require('../lib/cli');
const { defer } = require('./support/cleanup');
const { startChild } = require('./support/child');
const {
  KINDS,
  SILENT,
  freeze,
  freshDatabase,
  guardsOn,
  lossOf,
  temporaryFolder,
} = require('./support/databases');
const { KEY_A, KEY_B } = require('./support/credentials');
const { startPgBouncer } = require('./support/pgbouncer');
const { createDatabase } = require('./support/postgres');

const ROOT = path.join(__dirname, '..');
const BIN = path.join(ROOT, 'bin', 'baileys-guard.js');
const PASSWORD = 'a-pass/word-that-nobody-may-see'.replace('/', '%2F');
const SECRETS = [KEY_A, KEY_B, PASSWORD, decodeURIComponent(PASSWORD)];
const CONFIGURATION = /^(DATABASE_|CREDENTIALS_|INSTANCE_ID|LEASE_TTL)/;

function start(args, env = {}, cwd = ROOT) {
  const own = Object.entries(process.env).filter(([name]) => !CONFIGURATION.test(name));
  const child = spawn(process.execPath, [BIN, ...args], {
    cwd,
    env: { ...Object.fromEntries(own), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr']) {
    child[name].setEncoding('utf8').on('data', (text) => (output[name] += text));
  }
  const ended = once(child, 'close').then(([code]) => {
    for (const secret of SECRETS) expect(output.stdout + output.stderr).not.toContain(secret);
    expect(output.stderr).not.toMatch(/^\s+at /m); // no stacks
    return { code, ...output };
  });
  return { child, output, ended };
}

/** Runs it to its end. With `--json` the answer has the document, too. */
async function cli(args, env, cwd) {
  const result = await start(args, env, cwd).ended;
  return args.includes('--json') ? { ...result, json: JSON.parse(result.stdout) } : result;
}

/** The same with a password in the URL, for which nobody asks. */
function withPassword(url) {
  if (url.startsWith('sqlite:')) return url;
  const changed = new URL(url);
  changed.password = decodeURIComponent(PASSWORD);
  return changed.href;
}

const envOf = (database, key) => ({
  DATABASE_URL: withPassword(database.url),
  ...(key && { CREDENTIALS_ENCRYPTION_KEY: key }),
});

let sample; // a folder of Baileys' own making
beforeAll(async () => {
  sample = path.join(temporaryFolder(), 'sample');
  const script = path.join(__dirname, 'fixtures', 'auth-folder.mjs');
  await promisify(execFile)(process.execPath, [script, sample, '30']);
});

/** What a folder holds, file by file. */
function contents(folder) {
  const read = (name) => [name, JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8'))];
  return Object.fromEntries(fs.readdirSync(folder).sort().map(read));
}

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

/** Streams of a person at a terminal. */
function terminal() {
  const streams = {};
  const texts = {};
  for (const name of ['stdin', 'stdout', 'stderr']) {
    streams[name] = Object.assign(new PassThrough(), { isTTY: true, columns: 120 });
    texts[name] = '';
    if (name !== 'stdin') {
      streams[name].setEncoding('utf8').on('data', (text) => (texts[name] += text));
    }
  }
  return { ...streams, text: (name) => texts[name] };
}

describe.each(KINDS)('on %s', (kind) => {
  let database;
  let guardOf;
  beforeAll(async () => {
    database = await freshDatabase(kind);
    guardOf = guardsOn(database, { leaseTtlMs: 60_000 });
  });

  const ownerOf = async (agentId) => guardOf().getOwner(agentId);

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

  test('a folder of Baileys goes in, encrypted, and comes out the same', async () => {
    const env = envOf(database, KEY_A);
    const { code, json } = await cli(['import', 'moved', '--folder', sample, '--json'], env);
    expect(code).toBe(0);
    for (const source of [['--folder', '/no/such/folder'], ['--session-data']]) {
      const nothing = await cli(['import', 'movd', ...source, '--json'], env);
      expect(nothing).toMatchObject({ code: 1, json: { error: { code: expect.any(String) } } });
    }
    expect(json.agents).toEqual([
      {
        agentId: 'moved',
        credentials: 'folder',
        paired: true,
        keys: 34,
        resumable: true,
        unknownFiles: [],
      },
    ]);
    expect(await ownerOf('moved')).toBeNull();

    const keyFile = path.join(temporaryFolder(), 'guard.key');
    fs.writeFileSync(keyFile, `# the second one was before\n${KEY_B}\n\n${KEY_A}\n`, {
      mode: 0o600,
    });
    const folder = path.join(temporaryFolder(), 'exported');
    const args = ['export', 'moved', folder, '--key-file', keyFile, '--json'];
    expect(await cli(args, envOf(database))).toMatchObject({ code: 0, json: { files: 35 } });
    expect(contents(folder)).toEqual(contents(sample));

    expect((await cli(args, envOf(database))).code).toBe(2); // the folder is not empty
    const misspelt = await cli(['export', 'movd', `${folder}-2`, '--json'], env);
    expect(misspelt.json.error.code).toBe('ERR_SESSION_ROW_MISSING');
    expect((await cli(['status', '--agent', 'movd', '--json'], env)).json.agents).toEqual([]);
  });

  test('agents in use are left alone, and the others of a bulk import go on', async () => {
    const folders = temporaryFolder();
    for (const name of ['auth_bulk-1', 'auth_bulk-2', 'other']) {
      fs.cpSync(sample, path.join(folders, name), { recursive: true });
    }
    const guard = guardOf({ instanceId: 'busy-server' });
    const claim = await guard.claimInstance('bulk-2');
    const env = envOf(database, KEY_A);
    const bulk = ['import', '--folders', folders, '--prefix', 'auth_', '--json'];
    const { code, json } = await cli(bulk, env);
    expect(code).toBe(3);
    expect(json.agents).toEqual([
      expect.objectContaining({ agentId: 'bulk-1', credentials: 'folder', keys: 34 }),
      {
        agentId: 'bulk-2',
        error: expect.objectContaining({
          code: 'ERR_AGENT_IN_USE',
          owner: expect.objectContaining({ instanceId: 'busy-server' }),
        }),
      },
    ]);
    const alone = await cli(['import', 'bulk-2', '--folder', sample], env);
    expect(alone.code).toBe(3);
    expect(alone.stderr).toMatch(/^ERR_AGENT_IN_USE: Agent is already in use/m);
    expect(alone.stderr).toMatch(/^owner: busy-server on .*, process \d+, last heartbeat/m);
    expect(claim.held).toBe(true);
    await claim.release();
    fs.writeFileSync(path.join(folders, 'auth_bulk-2', 'creds.json'), '{"not":');
    expect(await cli(bulk, env)).toMatchObject({
      code: 1, // what failed weighs more than what can be done later
      json: { agents: [{ credentials: 'folder' }, { error: { code: 'ERR_IMPORT_FAILED' } }] },
    });
  });

  test('session_data is taken over, too', async () => {
    const guard = guardOf();
    await (await guard.claimInstance('host-data')).release();
    const creds = JSON.parse(fs.readFileSync(path.join(sample, 'creds.json'), 'utf8'));
    await database.query('UPDATE whatsapp_sessions SET session_data = $1 WHERE agent_id = $2', [
      JSON.stringify({ creds }),
      'host-data',
    ]);
    const args = ['import', 'host-data', '--session-data', '--json'];
    expect((await cli(args, envOf(database, KEY_A))).json.agents).toEqual([
      expect.objectContaining({ credentials: 'session_data', paired: true, resumable: false }),
    ]);
  });

  test('a rotation that was killed goes on, and doctor counts meanwhile', async () => {
    const fresh = await freshDatabase(kind);
    const folder = path.join(temporaryFolder(), 'plain');
    fs.cpSync(sample, folder, { recursive: true });
    const preKey = fs.readFileSync(path.join(sample, 'pre-key-1.json'));
    for (let id = 31; id <= 300; id++)
      fs.writeFileSync(path.join(folder, `pre-key-${id}.json`), preKey);
    const imported = await cli(['import', 'plain', '--folder', folder], envOf(fresh));
    expect(imported.code).toBe(0);
    expect(imported.stderr).toContain('no encryption key is configured');

    const env = envOf(fresh, KEY_A);
    const dry = async (own) => (await cli(['rotate', '--dry-run', '--json'], own ?? env)).json;
    const all = 305;
    expect(await dry()).toMatchObject({ examined: all, rotated: 0, remaining: { plain: all } });

    const finding = async (own) => {
      const { code, json } = await cli(['doctor', '--json'], own);
      return { code, ...json.findings.find(({ check }) => check === 'credentials') };
    };
    expect(await finding(env)).toMatchObject({ code: 0, level: 'warning' });

    const hex = kind === 'sqlite' ? 'hex(value)' : "encode(value, 'hex')";
    const values = async () =>
      (await fresh.query(`SELECT ${hex} AS hex FROM baileys_guard_auth`)).rows.map(
        (row) => row.hex,
      );
    const before = new Set(await values());
    const rotation = start(['rotate', '--batch-size', '1'], env);
    while ((await values()).every((value) => before.has(value)));
    rotation.child.kill('SIGKILL');
    await rotation.ended;
    const { remaining } = await dry();
    expect(remaining.plain).toBeGreaterThan(0);
    expect(remaining.plain).toBeLessThan(all);

    const rest = await cli(['rotate', '--json'], env);
    expect([rest.code, rest.json.rotated]).toEqual([0, remaining.plain]);
    const none = { plain: 0, legacy: 0, previousKey: 0, unreadable: 0 };
    expect(rest.json.remaining).toEqual(none);
    expect(await finding(env)).toMatchObject({ code: 0, level: 'ok' });

    // Under another key nothing opens, is touched or is lost.
    const wrong = await cli(['rotate'], envOf(fresh, KEY_B));
    expect(wrong.code).toBe(1);
    expect(wrong.stdout).toMatch(/unreadable +305\n +plain \/ \S+ .*ERR_UNKNOWN_KEY/);
    expect(await finding(envOf(fresh, KEY_B))).toMatchObject({ code: 1, level: 'failure' });
    expect(await finding(envOf(fresh))).toMatchObject({ code: 1, level: 'failure' });

    const person = terminal();
    const keyFile = path.join(temporaryFolder(), 'guard.key');
    fs.writeFileSync(keyFile, `${KEY_B}\n${KEY_A}\n`, { mode: 0o600 });
    const args = ['rotate', '--key-file', keyFile, '--database-url', fresh.url];
    expect(await main(args, person)).toBe(0);
    expect(person.text('stderr')).toContain('305/305 values');
    expect(person.text('stdout')).toContain('305 brought under the current key');
    expect(await dry(envOf(fresh, KEY_B))).toMatchObject({ remaining: none });
    expect((await cli(['rotate', '--json'], envOf(fresh))).json.error.code).toBe('ERR_KEY_MISSING');
  });

  describe('release', () => {
    /** A server instance in a process of its own, with a claim. */
    const instance = async (agentId, options, heartbeat) => {
      const child = await startChild('instance.js');
      await child.call('open', { databaseUrl: database.url, ...options }, heartbeat);
      await child.call('claim', agentId);
      return child;
    };

    test('frees an agent of a dead owner at once', async () => {
      const child = await instance('of-the-dead', {}, {});
      child.kill('SIGKILL');
      await child.exited;
      await database.query(
        "UPDATE whatsapp_sessions SET is_active = true WHERE agent_id = 'of-the-dead'",
      );
      const args = ['release', 'of-the-dead', '--wait', '0', '--deactivate', '--json'];
      const { code, json } = await cli(args, envOf(database));
      expect(code).toBe(0);
      expect(json).toMatchObject({ released: true, deactivated: true, forced: false });
      expect(await ownerOf('of-the-dead')).toBeNull();
      const { json: status } = await cli(['status', '--inactive', '--json'], envOf(database));
      expect(status.agents).toContainEqual(expect.objectContaining({ agentId: 'of-the-dead' }));
    });

    test('waits for a silent one, for its time to live', async () => {
      const child = await instance('of-the-frozen', { leaseTtlMs: 1500 }, {});
      await freeze(child, database);
      const env = { ...envOf(database), LEASE_TTL_MS: '1500' };
      const { code, stderr } = await cli(['release', 'of-the-frozen'], env);
      expect(code).toBe(0);
      expect(stderr).toContain('waiting up to');
      expect(await ownerOf('of-the-frozen')).toBeNull();
      child.kill('SIGCONT');
      expect(await child.event('lost')).toMatchObject({ agentId: 'of-the-frozen' });
    });

    test('leaves a live owner alone, and says who it is', async () => {
      const child = await instance('of-the-living', { leaseTtlMs: 2000, instanceId: 'alive' }, {});
      const env = { ...envOf(database), LEASE_TTL_MS: '2000' };
      const { code, json } = await cli(['release', 'of-the-living', '--json'], env);
      expect(code).toBe(3);
      expect(json.error.owner.instanceId).toBe('alive');
      expect(await child.call('held', 'of-the-living')).toBe(true);
      expect((await cli(['release', 'no-such-agent'], env)).code).toBe(1);
    });

    test('--force ends its claim by the fence, and keeps others out until it has stopped', async () => {
      const guard = guardOf({ leaseTtlMs: 2000 });
      guard.startHeartbeat();
      const [claim, other] = [
        await guard.claimInstance('forced'),
        await guard.claimInstance('kept'),
      ];
      const lost = lossOf(claim);
      const forced = start(['release', 'forced', '--force', '--json'], envOf(database));
      const successor = guardOf().claimInstance('forced', { waitMs: 20_000 });
      expect(await lost).toMatchObject({ code: 'ERR_CLAIM_LOST' });
      const lostAt = performance.now();
      await expect(claim.update({ status: 'connected' })).rejects.toMatchObject({
        code: 'ERR_CLAIM_LOST',
      });
      const meanwhile = await guard.getOwner('forced');
      expect(meanwhile.instanceId).toMatch(/^cli-/);
      expect(meanwhile.fencingToken).toBeGreaterThan(claim.fencingToken);
      const { code, stdout } = await forced.ended;
      expect([code, JSON.parse(stdout)]).toEqual([
        0,
        expect.objectContaining({ released: true, forced: true }),
      ]);
      // The owner heard of it by a beat, at most a quarter of its 2 s after it was taken.
      await (await successor).release();
      expect(performance.now() - lostAt).toBeGreaterThan(1000);
      expect(other.held).toBe(true);
      await other.release();
    });

    test('interrupted, it gives back what it holds', async () => {
      const guard = guardOf({ leaseTtlMs: 60_000 });
      await guard.claimInstance('interrupted');
      const forced = start(['release', 'interrupted', '--force'], envOf(database));
      while (!forced.output.stderr.includes('held for')) await once(forced.child.stderr, 'data');
      forced.child.kill('SIGINT');
      expect(await forced.ended).toMatchObject({ code: 130 });
      expect(await guard.getOwner('interrupted')).toBeNull();
    });
  });
});

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
    const database = await createDatabase({ template: 'migrated' });
    const { name } = database;
    await database.query(`
      DO $$ BEGIN CREATE ROLE anon; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
      GRANT SELECT ON baileys_guard_auth TO anon;
      CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
        'SELECT pg_catalog.clock_timestamp() - interval ''1 hour''';
      ALTER DATABASE ${name} SET search_path = public, pg_catalog;
      ALTER DATABASE ${name} SET default_transaction_read_only = on`);
    const { code, of } = await doctor(envOf(database, KEY_A));
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
