'use strict';

// The small examples, run as a reader runs them.

const { execFile } = require('node:child_process');
const path = require('node:path');
const { promisify } = require('node:util');

const { temporaryFolder } = require('./support/databases');
const { createDatabase } = require('./support/postgres');

const EXAMPLES = path.join(__dirname, '..', 'examples');

async function run(name, env = {}) {
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    [path.join(EXAMPLES, name)],
    { cwd: temporaryFolder(), env: { ...process.env, ...env }, timeout: 50_000 },
  );
  expect(stderr).toBe('');
  return stdout;
}

test('rate-limits.js refuses the third request in a minute', async () => {
  const lines = (await run('rate-limits.js')).trim().split('\n');
  expect(lines.map((line) => line.split(' ').slice(0, 2))).toEqual([
    ['1', '200'],
    ['2', '200'],
    ['3', '429'],
  ]);
});

test('encryption.js', async () => {
  const output = await run('encryption.js');
  expect(output).toMatch(/stored: \{ v: 1, kid: '\w{16}', ct: '.{16}…' \}/);
  expect(output).toContain('opened: true 4915112345678@s.whatsapp.net');
  expect(output).toContain('needs the new key: true');
  expect(output).toContain('and now: false');
  expect(output).toContain('moved to another agent: ERR_DECRYPT_FAILED');
});

test('ownership.js', async () => {
  const output = await run('ownership.js');
  expect(output).toContain('second: in use by first');
  expect(output).toContain('first: released');
  expect(output).toContain('second has it, with a higher token: true');
  expect(output).toContain('first held: false');
});

test.each(['sqlite', 'postgres'])('four-workers.js on %s', async (kind) => {
  const env = kind === 'postgres' ? { DATABASE_URL: (await createDatabase()).url } : {};
  const output = await run('four-workers.js', env);
  const [atFirst, oneIsDead] = output.trim().split('\n');
  expect(atFirst).toBe('worker 1: 5, worker 2: 5, worker 3: 5, worker 4: 5');
  expect(oneIsDead).toMatch(/^worker 2: \d+, worker 3: \d+, worker 4: \d+$/);
});
