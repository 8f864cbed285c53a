'use strict';

// Everything public, called with values that nobody should pass: it works, or it says what is
// wrong with one of our codes. Never a TypeError from inside, a panic, a hang, an unhandled
// rejection. The same calls in every run; ODD_SEED and ODD_CALLS make others, and more.

const path = require('node:path');

const { startScript } = require('./support/child');
const { temporaryFolder } = require('./support/databases');

const SCRIPT = path.join(__dirname, 'fixtures', 'odd-arguments.js');

test('what is public answers odd values with a code of its own', async () => {
  const seed = process.env.ODD_SEED ?? '1';
  const calls = process.env.ODD_CALLS ?? '60';
  const folder = temporaryFolder(); // some of the odd values are names of files
  const child = startScript(SCRIPT, { args: [seed, calls, folder], cwd: folder });
  const { code, signal } = await child.exited;
  const found = child.stdout.split('\n').filter(Boolean).map(JSON.parse);
  const shown = found.map(({ name, args, problem }) => `${name}(${args.join(', ')})\n${problem}`);
  expect({ seed, shown, code, signal }).toEqual({ seed, shown: [], code: 0, signal: null });
  const made = Number(/^(\d+) calls$/m.exec(child.stderr)?.[1]);
  expect(made).toBeGreaterThan(50 * Number(calls));
});
