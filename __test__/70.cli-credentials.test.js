'use strict';

// The command line tool: import, export, rotate.

const fs = require('node:fs');
const path = require('node:path');

const { main } = require('../lib/cli');
const { cli, contents, envOf, sampleFolder, start, terminal } = require('./support/cli');
const { KINDS, freshDatabase, guardsOn, temporaryFolder } = require('./support/databases');
const { KEY_A, KEY_B } = require('./support/credentials');

/** Makes each write of credentials take its time: one after the other, all take many seconds. */
const SLOWLY = {
  sqlite: {
    on: `CREATE TRIGGER slowly BEFORE UPDATE ON baileys_guard_auth
           BEGIN SELECT 1 WHERE length(hex(randomblob(10000000))) = 0; END`,
    off: 'DROP TRIGGER slowly',
  },
  postgres: {
    on: `CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql
           AS 'BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END';
         CREATE TRIGGER slowly BEFORE UPDATE ON baileys_guard_auth
           FOR EACH ROW EXECUTE FUNCTION slowly()`,
    off: 'DROP TRIGGER slowly ON baileys_guard_auth',
  },
};

let sample;
beforeAll(async () => {
  sample = await sampleFolder();
});

describe.each(KINDS)('on %s', (kind) => {
  let database;
  let guardOf;
  beforeAll(async () => {
    database = await freshDatabase(kind);
    guardOf = guardsOn(database, { leaseTtlMs: 60_000 });
  });

  const ownerOf = async (agentId) => guardOf().getOwner(agentId);
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
      json: { agents: [{ credentials: 'stored' }, { error: { code: 'ERR_IMPORT_FAILED' } }] },
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
    await fresh.query(SLOWLY[kind].on);
    const rotation = start(['rotate', '--batch-size', '1'], env);
    while ((await values()).every((value) => before.has(value)));
    rotation.child.kill('SIGKILL');
    await rotation.ended;
    await fresh.query(SLOWLY[kind].off);
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
  }, 180_000); // it starts some twenty processes
});
