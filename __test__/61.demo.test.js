'use strict';

// `npm run demo`, as a person would run it.

const path = require('node:path');

const { startScript } = require('./support/child');
const { KINDS, freshDatabase, temporaryFolder } = require('./support/databases');

const DEMO = path.join(__dirname, '..', 'examples', 'demo.js');

jest.setTimeout(90_000);

/** Whether a process of that id exists. */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function pidsIn(text) {
  return [...text.matchAll(/pid (\d+)/g)].map(([, pid]) => Number(pid));
}

describe.each(KINDS)('the demo on %s', (kind) => {
  test('shows one owner at a time and ends well', async () => {
    const env = {
      DATABASE_URL: kind === 'sqlite' ? '' : (await freshDatabase(kind, { migrated: false })).url,
    };
    const demo = startScript(DEMO, { env });
    expect(await demo.exit({ timeoutMs: 60_000 })).toEqual({ code: 0, signal: null });
    expect(demo.stdout).toContain(
      'HTTP 409: Agent is already in use by another server instance (server-A',
    );
    expect(demo.stdout).toContain('on the same pairing: no new QR code');
    expect(demo.stdout).toContain('pairings 1, logins 3, conflicts 0');
    expect(pidsIn(demo.stdout).filter(isAlive)).toEqual([]);
  });
});

test('it ends with code 1 and says why when a step fails', async () => {
  const demo = startScript(DEMO, { env: { DATABASE_URL: 'postgres://127.0.0.1:1/none' } });
  expect(await demo.exit({ timeoutMs: 60_000 })).toEqual({ code: 1, signal: null });
  expect(demo.stderr).toMatch(/FAILED in step 2: server-[AB] ended with 1/);
  expect(demo.stderr).toMatch(/cannot start: .*database/i);
});

test('--keep leaves it running until Ctrl-C, which ends everything', async () => {
  const demo = startScript(DEMO, { args: ['--keep'], env: { DATABASE_URL: '' } });
  await demo.output(/Ctrl-C ends it/, { timeoutMs: 60_000 });
  const [, status] = await demo.output(/curl (http\S+whatsapp-status)\n/);
  expect(await (await fetch(status)).json()).toMatchObject({ status: 'connected' });
  demo.kill('SIGINT');
  expect(await demo.exit({ timeoutMs: 30_000 })).toEqual({ code: 0, signal: null });
  await expect(fetch(status)).rejects.toThrow('fetch failed');
  expect(pidsIn(demo.stdout).filter(isAlive)).toEqual([]);
});

test('a demo that is killed takes its servers with it', async () => {
  // It cannot remove its folder then.
  const demo = startScript(DEMO, { env: { DATABASE_URL: '', TMPDIR: temporaryFolder() } });
  await demo.output(/server-B wants the same agent/, { timeoutMs: 60_000 });
  const pids = pidsIn(demo.stdout);
  expect(new Set(pids).size).toBe(2);
  demo.kill('SIGKILL');
  await demo.exited;
  const deadline = performance.now() + 5_000;
  while (pids.some(isAlive) && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(pids.filter(isAlive)).toEqual([]);
});
