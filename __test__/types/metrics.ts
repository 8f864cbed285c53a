// Compiled by `npm run lint:types`, never run.

import express from 'express';
import { createServer } from 'node:http';
import { Registry, register } from 'prom-client';
import {
  createGuard,
  health,
  healthHandler,
  metrics,
  metricsText,
  off,
  on,
  once,
  registerMetrics,
  type GuardError,
  type Health,
  type Metrics,
} from 'baileys-guard';

const guard = createGuard();
const app = express();

export async function show(): Promise<void> {
  const counted: Metrics = guard.metrics();
  console.log(counted.claims.lost['row-gone'].toFixed(), counted.conflicts.connectionReplaced);
  console.log(counted.heartbeat.ageMs?.toFixed(), counted.heartbeat.duration.counts[0]);
  console.log(counted.sessions.byAgent['a']?.connectedMs, counted.reconnects.disconnects['440']);
  console.log(counted.rateLimits['messages']?.refused, metrics().pool.inUse.toFixed());
  // @ts-expect-error: nothing is lost by being released
  console.log(counted.claims.lost.released);
  app.get('/metrics', (request, response) => {
    response.type('text/plain').send(metricsText({ perAgent: true }));
  });
  registerMetrics(register);
  guard.registerMetrics(new Registry(), { guard: 'one', perAgent: false });
  // @ts-expect-error: no registry
  guard.registerMetrics({});
  app.get('/health', healthHandler(), guard.healthHandler({ timeoutMs: 500 }));
  createServer(guard.healthHandler());
  const found: Health = await health({ timeoutMs: 1000 });
  console.log(
    found.database.latencyMs?.toFixed(),
    found.database.error?.code satisfies string | undefined,
  );
}

export function listen(): void {
  guard.on('conflict', (event) => {
    console.log(event.agentId);
    if (event.kind === 'claimRefused') console.log(event.owner.hostname);
    // @ts-expect-error: the owner of replaced credentials is not known
    else console.log(event.owner.hostname);
  });
  guard.on('takeover', ({ claim }) => console.log(claim.fencingToken));
  const listener = ({ error }: { error: GuardError }) => console.log(error.code);
  on('databaseUnavailable', listener).on('heartbeatFailing', listener);
  once('loggedOut', ({ agentId, code }) => console.log(agentId, code?.toFixed()));
  off('databaseUnavailable', listener);
  // @ts-expect-error: no such event
  on('conflicts', () => {});
}
