'use strict';

const { createGuard, GuardError } = require('baileys-guard');

async function main() {
  const guard = createGuard({ databaseUrl: 'sqlite:guard.db' });
  await guard.migrate();
  const claim = await guard.claimInstance('agent-1');
  console.log(`${claim.agentId} is held: ${claim.held}`);
  const refused = await guard.claimInstance('').catch((error) => error);
  console.log(`${refused instanceof GuardError} ${refused.code}`);
  await guard.shutdown();
}

main();
