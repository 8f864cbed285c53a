// Compiled by `npm run lint:types`, never run: what a user writes has to be accepted, and what a
// user gets wrong refused.

import {
  AgentInUseError,
  ClaimLostError,
  GuardError,
  claimInstance,
  configure,
  createGuard,
  shutdown,
  startHeartbeat,
  watchOwnership,
  type Claim,
  type Guard,
  type GuardOptions,
} from 'baileys-guard';

const options: GuardOptions = { leaseTtlMs: 60_000, onStoreLost: 'keep', logger: console };
configure(options);
const guard: Guard = createGuard({
  ...options,
  databaseUrl: process.env.DATABASE_URL ?? 'sqlite:a.db',
});

export async function connect(agentId: string): Promise<Claim | undefined> {
  try {
    const claim = await claimInstance(agentId, { userId: 'u', waitMs: 5000 });
    claim.signal.addEventListener('abort', () => {
      const reason: unknown = claim.signal.reason;
      if (reason instanceof ClaimLostError) console.log(reason.reason, reason.code);
    });
    await claim.update({ status: 'qr_pending', qrCode: null, lastConnected: new Date() });
    const next: bigint = claim.fencingToken + 1n;
    console.log(next);
    return claim;
  } catch (error) {
    if (error instanceof AgentInUseError) {
      console.log(error.owner.lastHeartbeat.toISOString(), error.retryAfterMs);
    } else if (error instanceof GuardError) {
      console.log(error.code);
    }
    return undefined;
  }
}

export async function serve(): Promise<void> {
  const heartbeat = startHeartbeat({
    onLost: (claim, error) => console.log(claim.agentId, error.reason),
  });
  const age: number | null = heartbeat.stats().lastBeatAgeMs;
  const stop = watchOwnership(({ agentIds, reason }) => console.log(agentIds.length, reason));
  await stop.ready;
  guard.on('claimLost', ({ agentId, error }) => console.log(agentId, error.reason, age));
  const { claims, inUse } = await guard.claimInstances(['a', 'b']);
  console.log(claims[0]?.held, inUse[0]?.owner.hostname);
  const [session] = await guard.listSessions({ mine: true });
  console.log(session?.owner?.pid, (await guard.getOwner('a'))?.instanceId);
  stop();
  heartbeat.stop();
  await shutdown({ beforeRelease: (claim) => claim.release({ deactivate: true }) });
}

export function mistakes(claim: Claim): void {
  // @ts-expect-error no such option
  createGuard({ ttl: 60 });
  // @ts-expect-error an agent is named by a string
  void claimInstance(7);
  // @ts-expect-error no such status
  void claim.update({ status: 'online' });
  // @ts-expect-error a claim is read, not written
  claim.held = true;
  // @ts-expect-error tokens are bigints
  const token: number = claim.fencingToken;
  console.log(token);
}
