'use strict';

/**
 * Two servers, one WhatsApp number, offline: `npm run demo`. It ends with exit code 0 when every step
 * went as it should. With `--keep` it goes on running; DATABASE_URL chooses another database.
 */

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { parseArgs } = require('node:util');

const { prepare } = require('./demo/prepare');

const AGENT_IN_USE = 'Agent is already in use by another server instance';
const RECIPIENT = '4917600000001';

const HELP = `npm run demo [-- --keep]

  --keep   leave the endpoint and both servers running until Ctrl-C

  DATABASE_URL=postgres://...   use this database instead of an SQLite file
`;

let steps = 0;

/** Runs one step; tells what it is, what came of it and how long it took. */
async function step(title, run) {
  steps += 1;
  console.log(`\n${String(steps).padStart(2)}. ${title}`);
  const began = performance.now();
  const results = await run();
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  for (const line of [results].flat()) console.log(`    ${line}`);
  console.log(`    ${seconds} s`);
}

async function play(stage) {
  const { agentId } = stage;
  let a;
  let b;

  /** Sends through `server` and waits until the recipient's phone has read it. */
  async function send(server, message) {
    const { http, error } = await server.call(agentId, 'send-message', { to: RECIPIENT, message });
    assert.equal(http, 200, `${server.name} cannot send: ${error}`);
    const read = await stage.endpoint.waitFor(
      ({ type, text }) => type === 'message' && text === message,
    );
    assert(read, `the message of ${server.name} did not arrive`);
    return `the recipient's phone read: "${message}"`;
  }

  await step('The offline WhatsApp endpoint starts', async () => {
    await stage.openEndpoint();
    return stage.endpoint.url;
  });
  await step('Two servers start on one database', async () => {
    [a, b] = await Promise.all([stage.start('server-A'), stage.start('server-B')]);
    return [
      stage.database.replace(/\/\/.*@/, '//'),
      ...[a, b].map(({ name, pid, url }) => `${name}  pid ${pid}  ${url}`),
    ];
  });
  await step('server-A connects the agent; the simulated phone scans its QR code', async () => {
    const { http, error } = await a.call(agentId, 'init-whatsapp', {});
    assert.equal(http, 200, `server-A cannot connect: ${error}`);
    const { qrCode } = await a.statusWhere(agentId, (status) => status.qrCode, 'QR code');
    await stage.endpoint.scan(qrCode);
    const { phoneNumber } = await a.connected(agentId);
    return `agent ${agentId} is paired, restarted (515) and connected as +${phoneNumber}`;
  });
  await step('server-B wants the same agent and is refused', async () => {
    const { http, error, owner } = await b.call(agentId, 'init-whatsapp', {});
    assert.equal(http, 409, 'server-B was not refused');
    assert.equal(error, AGENT_IN_USE);
    assert.equal(owner.instanceId, 'server-A');
    return `HTTP ${http}: ${error} (${owner.instanceId}, pid ${owner.pid})`;
  });
  await step('server-A sends a message', () => send(a, 'hello from server-A'));
  await step('server-A is killed (SIGKILL); server-B takes the agent over', async () => {
    const began = performance.now();
    await a.end('SIGKILL');
    await b.connected(agentId);
    const { registrations, pairings } = await stage.endpoint.stats();
    assert.deepEqual(
      { registrations, pairings },
      { registrations: 1, pairings: 1 },
      'it was paired again',
    );
    return `connected ${since(began)} after the kill, on the same pairing: no new QR code`;
  });
  await step('server-B sends a message', () => send(b, 'hello from server-B'));
  await step('server-A starts again; server-B is stopped (SIGTERM) and hands over', async () => {
    a = await stage.start('server-A');
    const began = performance.now();
    const [how] = await Promise.all([b.end('SIGTERM'), a.connected(agentId)]);
    assert.equal(how, 0, `server-B ended with ${how}`);
    return [
      `connected ${since(began)} after the signal`,
      await send(a, 'hello from server-A again'),
    ];
  });
  await step('What WhatsApp saw', async () => {
    const { pairings, logins, conflicts } = await stage.endpoint.stats();
    assert.equal(conflicts, 0, 'two servers had a socket for one device');
    return `pairings ${pairings}, logins ${logins}, conflicts ${conflicts}`;
  });
  return a;
}

function since(began) {
  return `${((performance.now() - began) / 1000).toFixed(2)} s`;
}

/** Shows what to play with, and waits for Ctrl-C. */
async function keep(stage, a) {
  const b = await stage.start('server-B');
  const agent = `/api/agents/${stage.agentId}`;
  const page = await stage.show(a, b);
  console.log(`
Everything keeps running; Ctrl-C ends it. Both servers side by side, to watch a takeover:

  ${page}

  server-A  ${a.url}  pid ${a.pid}
  server-B  ${b.url}  pid ${b.pid}
  endpoint  ${stage.endpoint.controlUrl}

  curl ${a.url}${agent}/whatsapp-status
  curl -X POST ${b.url}${agent}/init-whatsapp
  curl -X POST ${a.url}${agent}/send-message -H 'content-type: application/json' \\
    -d '{"to": "${RECIPIENT}", "message": "hello"}'
  curl ${stage.endpoint.controlUrl}/stats
  kill -9 ${a.pid}; sleep 2; curl ${b.url}${agent}/whatsapp-status

To connect another agent use the page, or POST /api/agents/<any id>/init-whatsapp, read qrCode from
its whatsapp-status, and scan it:

  curl -X POST ${stage.endpoint.controlUrl}/scan -d '{"qr": "<qrCode>"}'
`);
  openInBrowser(page);
}

/** Where a person sits before it. What cannot be opened was printed. */
function openInBrowser(url) {
  if (!process.stdout.isTTY || process.env.CI) return;
  const command = { darwin: 'open', win32: 'explorer' }[process.platform] ?? 'xdg-open';
  spawn(command, [url], { stdio: 'ignore', detached: true })
    .on('error', () => {})
    .unref();
}

/** Resolves with its name when somebody wants the demo to end. A second one ends it the hard way. */
function nextSignal() {
  return new Promise((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(name, resolve);
  });
}

async function main() {
  const { values } = parseArgs({
    options: { keep: { type: 'boolean' }, help: { type: 'boolean' } },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  prepare();
  const began = performance.now();
  const { Stage } = require('./demo/stage'); // needs what has just been installed
  const stage = new Stage();
  const signal = nextSignal();
  try {
    const owner = await Promise.race([play(stage), signal]);
    if (typeof owner === 'string') return 130;
    console.log(`\nAll as it should be, in ${since(began)}.`);
    if (values.keep) {
      await keep(stage, owner);
      await signal;
    }
    return 0;
  } catch (error) {
    console.error(`\nFAILED in step ${steps}: ${error.message}\n\n${stage.logs()}`);
    return 1;
  } finally {
    await stage.end();
  }
}

main().then(
  (code) => process.exit(code),
  (error) => {
    console.error(error.message);
    process.exit(1);
  },
);
