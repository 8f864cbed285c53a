// The types of reconnecting, as a user's compiler sees them. Checked by `npm run lint:types`.

import {
  classifyDisconnect,
  createGuard,
  createReconnectScheduler,
  type DisconnectReason,
  type ReconnectEvent,
  superviseSession,
} from 'baileys-guard';

/** As Baileys declares it, in what matters here; its own declarations need `skipLibCheck`. */
declare function makeWASocket(config: { auth: { creds: object; keys: object } }): {
  ev: {
    on<T extends 'connection.update'>(event: T, listener: (update: object) => void): void;
    off<T extends 'connection.update'>(event: T, listener: (update: object) => void): void;
  };
  end(error: Error | undefined): Promise<void>;
};

const scheduler = createReconnectScheduler({
  connect: async (agentId, { claim, attempt, signal }) => {
    console.log(agentId.length, claim.held, attempt.toFixed(), signal.aborted);
  },
  maxAttempts: Infinity,
  onGiveUp: (agentId, { action, reason, error }) => console.log(agentId, action, reason, error),
  onEvent: (event) => console.log(describe(event)),
});
createReconnectScheduler({
  makeSocket: ({ auth }) => makeWASocket({ auth }),
  onEvent: ({ type, agentId, qr }) => console.log(type, agentId?.length, qr?.length),
});
// @ts-expect-error: no way to connect
createReconnectScheduler({ jitter: 0 });
// @ts-expect-error: two ways to connect
createReconnectScheduler({ connect: () => {}, makeSocket: () => makeWASocket({} as never) });
// @ts-expect-error: no such option
createReconnectScheduler({ connect: () => {}, retries: 3 });

function describe(event: ReconnectEvent): string {
  switch (event.type) {
    case 'qr':
      return event.qr;
    case 'resuming':
      return event.agentIds.join();
    case 'retry':
    case 'quarantine':
      return `${event.agentId} ${event.delayMs.toFixed()} ${event.reason}`;
    default:
      return event.agentId;
  }
}

export async function everything(): Promise<void> {
  const { action, delayMs, attempt, reason, code } = scheduler.disconnected('a', { error: 1 });
  console.log(action satisfies string, delayMs + attempt, reason satisfies DisconnectReason, code);
  console.log(classifyDisconnect(new Error('x'), { jitter: 0.5 }).action);
  scheduler.connected('a');
  scheduler.progress('a');
  const scheduled: boolean = scheduler.schedule('a', { userId: 'u', delayMs: 5, reset: true });
  const { total, taken, tried, left } = await scheduler.resumeAll({
    onProgress: (progress) => console.log(progress.left),
  });
  console.log(scheduled, total + taken + tried + left, scheduler.pending()[0]?.dueInMs);
  console.log((await scheduler.listInactive())[0]?.lastConnected?.getTime());
  console.log(scheduler.stats().connectTime.sumMs);
  const session = await superviseSession('a', {
    userId: 'u',
    makeSocket: ({ auth, signal }) => {
      signal.throwIfAborted();
      return makeWASocket({ auth });
    },
  });
  await session.stop({ deactivate: true });
  const fleet = createGuard().createReconnectScheduler({
    makeSocket: async ({ auth }) => makeWASocket({ auth }),
    authState: async (claim) => ({ state: { creds: {}, keys: claim }, saveCreds: () => {} }),
    balance: true,
  });
  await fleet.superviseSession('a');
  await fleet.superviseSession('a', { reset: true, pairAnew: true });
  await fleet.cancel('a', { deactivate: true });
  await fleet.cancel('a', { logout: true });
  await fleet.stop();
}
