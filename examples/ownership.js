'use strict';

// Only ownership, in a plain Node script: two instances, one agent. Here both are in one process;
// run them in two, or on two machines with a postgres:// URL, and nothing changes.
//
//   node examples/ownership.js

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { AgentInUseError, createGuard } = require('baileys-guard');

async function main() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ownership-'));
  const databaseUrl = `sqlite:${path.join(folder, 'guard.db')}`;
  const first = createGuard({ databaseUrl, instanceId: 'first' });
  const second = createGuard({ databaseUrl, instanceId: 'second' });

  await first.migrate();
  first.startHeartbeat();
  second.startHeartbeat();

  const claim = await first.claimInstance('agent-1');
  console.log('token', claim.fencingToken, 'held', claim.held);
  claim.signal.addEventListener('abort', () => console.log('first:', claim.signal.reason.reason));

  try {
    await second.claimInstance('agent-1');
  } catch (error) {
    if (!(error instanceof AgentInUseError)) throw error;
    console.log(`second: in use by ${error.owner.instanceId}`);
  }

  const waiting = second.claimInstance('agent-1', { waitMs: 10_000 });
  await first.shutdown();
  const next = await waiting;
  console.log('second has it, with a higher token:', next.fencingToken > claim.fencingToken);
  console.log('first held:', claim.held);

  await second.shutdown();
  fs.rmSync(folder, { recursive: true });
}

main();
