import { createGuard, type Claim } from 'baileys-guard';

const guard = createGuard({ databaseUrl: 'sqlite:guard.db' });
const claim: Claim = await guard.claimInstance('agent-1');
const token: bigint = claim.fencingToken;
// @ts-expect-error an agent has to be named
await guard.claimInstance();
console.log(token);
