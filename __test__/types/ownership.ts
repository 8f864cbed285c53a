// The types of ownership, as a user's compiler sees them. Checked by `npm run lint:types`.

import {
  AgentInUseError,
  type Claim,
  ClaimLostError,
  claimInstance,
  claimInstances,
  configure,
  createGuard,
  GuardError,
  getOwner,
  listSessions,
  migrate,
  startHeartbeat,
  watchOwnership,
} from 'baileys-guard';

configure({ databaseUrl: 'sqlite:x.db', leaseTtlMs: 60_000, onStoreLost: 'keep' });
// @ts-expect-error: no such option
configure({ leaseTTL: 1 });

const guard = createGuard({ logger: console, previousEncryptionKeys: [] });
guard.on('claimLost', ({ agentId, error }) => console.log(agentId.length, error.reason));
// @ts-expect-error: no such event
guard.on('lost', () => {});

export async function everything(): Promise<void> {
  const { applied, duplicates } = await migrate();
  console.log(applied.join(), duplicates[0]?.rows.toFixed());
  const claim: Claim = await claimInstance('a', { userId: 'u', waitMs: 100 });
  const token: bigint = claim.fencingToken;
  const signal: AbortSignal = claim.signal;
  console.log(token, signal.aborted, claim.held);
  await claim.update({ status: 'connected', lastConnected: new Date(), qrCode: null });
  // @ts-expect-error: no such status
  await claim.update({ status: 'online' });
  // @ts-expect-error: held is read only
  claim.held = true;
  const { claims, inUse } = await claimInstances(['a', 'b']);
  console.log(claims.length, inUse[0]?.owner.heartbeatAgeMs);
  const heartbeat = startHeartbeat({
    intervalMs: 1000,
    onLost: (lost, error) => console.log(lost.agentId, error.reason satisfies string),
    onError: (error: GuardError) => console.log(error.code),
  });
  console.log(heartbeat.stats().beats.toFixed());
  heartbeat.stop();
  const owner = await getOwner('a');
  console.log(owner?.lastHeartbeat.getTime());
  for (const session of await listSessions({ active: true, mine: false })) {
    console.log(session.lastConnected?.toISOString(), session.owner?.pid);
  }
  const stop = watchOwnership(({ agentIds, reason }) => console.log(agentIds.join(), reason));
  await stop.ready;
  stop();
  await guard.shutdown({ timeoutMs: 1000, beforeRelease: async (held) => void held.agentId });
}

export function tell(error: unknown): string {
  if (error instanceof AgentInUseError) return `${error.owner.hostname} ${error.retryAfterMs}`;
  if (error instanceof ClaimLostError) return error.reason;
  return error instanceof GuardError ? error.code : String(error);
}
