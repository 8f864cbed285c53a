'use strict';

// Reads a history and tells what in it must not be. Pure: the same history, the same verdict.

/** A process that runs again is told of its loss by the next turn of its event loop, at the latest. */
const TOLD_AFTER_THAW_MS = 1500;

/**
 * @typedef {object} History
 * @property {{ name: string, events: object[], killedAt?: number, ended?: string,
 *   standstills: { from: number, to: number }[] }[]} processes what each wrote, in order; when it was
 *   killed; how it ended where nobody ended it; when it was frozen or its event loop stood still
 * @property {object[]} endpoint its events, `{ at, type, … }`
 * @property {{ from: number, healed: number, backAt: number | null, promisedMs: number }} run
 */

/** Every claim of every process: who held which token from when to when. */
function claimsOf(processes) {
  const claims = [];
  for (const { name, events, killedAt = Infinity, standstills } of processes) {
    const open = new Map();
    for (const event of events) {
      const key = `${event.agent} ${event.token}`;
      if (event.type === 'granted') {
        const claim = { process: name, ...event, from: event.at, to: killedAt, standstills };
        open.set(key, claim);
        claims.push(claim);
      } else if (event.type === 'ended') {
        const claim = open.get(key);
        if (claim) claim.to = stoppedActing(event.at, standstills);
      }
    }
  }
  return claims;
}

/** Who stands still does nothing, and is told as soon as it runs again. */
function stoppedActing(at, standstills) {
  const last = standstills.filter(({ from }) => from <= at).at(-1);
  return last && at - last.to <= TOLD_AFTER_THAW_MS ? Math.min(at, last.from) : at;
}

function byAgent(items) {
  const groups = new Map();
  for (const item of items) groups.set(item.agent, [...(groups.get(item.agent) ?? []), item]);
  return groups;
}

function* doubleOwners(claims) {
  for (const [agent, ours] of byAgent(claims)) {
    ours.sort((a, b) => a.from - b.from);
    for (let i = 1; i < ours.length; i++) {
      const [before, after] = [ours[i - 1], ours[i]];
      if (before.to > after.from) {
        const what = `${before.process} (token ${before.token}) until ${round(before.to)}, ${after.process} (token ${after.token}) from ${round(after.from)}`;
        yield { kind: 'two owners', agent, what };
      }
    }
  }
}

function* tokensThatShrink(claims) {
  for (const [agent, ours] of byAgent(claims)) {
    ours.sort((a, b) => a.from - b.from);
    for (let i = 1; i < ours.length; i++) {
      if (BigInt(ours[i].token) <= BigInt(ours[i - 1].token)) {
        const what = `${ours[i].token} of ${ours[i].process} after ${ours[i - 1].token}`;
        yield { kind: 'token that does not grow', agent, what };
      }
    }
  }
}

function* staleWrites(claims, processes) {
  const grants = byAgent(claims);
  for (const { name, events } of processes) {
    for (const { type, agent, token, sent, accepted } of events) {
      if (type !== 'write' || !accepted) continue;
      const newer = (grants.get(agent) ?? []).find(
        (grant) => BigInt(grant.token) > BigInt(token) && grant.from < sent,
      );
      if (newer) {
        const what = `${name} wrote under ${token} after ${newer.process} had ${newer.token}`;
        yield { kind: 'write under an old token', agent, what };
      }
    }
  }
}

function* kicks(endpoint, processes) {
  const standstills = processes.flatMap((one) => one.standstills);
  for (const { type, at, jid, kickedAnswering } of endpoint) {
    if (type !== 'conflict' || !kickedAnswering) continue;
    // It was frozen when it was replaced, and answered as soon as it ran again.
    if (standstills.some(({ from, to }) => from <= at && to >= at - 50)) continue;
    yield { kind: 'live client kicked', agent: jid, what: `at ${round(at)}` };
  }
}

function* deaths(processes) {
  for (const { name, ended } of processes) {
    if (ended) yield { kind: 'process that ended by itself', agent: '', what: `${name}: ${ended}` };
  }
}

function* comeback({ healed, backAt, promisedMs }) {
  if (backAt !== null && backAt - healed <= promisedMs) return;
  const took = backAt === null ? 'never' : `${round(backAt - healed)} ms`;
  yield {
    kind: 'sessions not back in time',
    agent: '',
    what: `${took}; promised ${promisedMs} ms`,
  };
}

const round = (ms) => Math.round(ms * 10) / 10;

/** Part of the time, from 0 to 1, in which sessions had an open socket. */
function uptime(endpoint, { from, healed }, agents) {
  let online = 0;
  const since = new Map();
  const count = (start, end) => {
    online += Math.max(0, Math.min(end, healed) - Math.max(start, from));
  };
  for (const { type, at, jid, conn } of endpoint) {
    if (type === 'active') since.set(conn, { jid, at });
    if (type === 'close' && since.has(conn)) {
      count(since.get(conn).at, at);
      since.delete(conn);
    }
  }
  for (const { at } of since.values()) count(at, healed);
  return online / (agents * (healed - from));
}

/**
 * @param {History} history
 * @returns {{ violations: { kind: string, agent: string, what: string }[], figures: object }}
 */
function check({ processes, endpoint, run }) {
  const claims = claimsOf(processes);
  const violations = [
    ...doubleOwners(claims),
    ...tokensThatShrink(claims),
    ...staleWrites(claims, processes),
    ...kicks(endpoint, processes),
    ...deaths(processes),
    ...comeback(run),
  ];
  const events = processes.flatMap((one) => one.events);
  const writes = events.filter(({ type }) => type === 'write');
  const agents = new Set(claims.map(({ agent }) => agent)).size;
  return {
    violations,
    figures: {
      agents,
      claims: claims.length,
      writes: writes.length,
      refused: writes.filter(({ code }) => code === 'ERR_CLAIM_LOST').length,
      logins: endpoint.filter(({ type }) => type === 'login').length,
      frozenClientsReplaced: endpoint.filter(({ type }) => type === 'conflict').length,
      uptime: uptime(endpoint, run, agents),
      backMs: run.backAt === null ? null : round(run.backAt - run.healed),
    },
  };
}

module.exports = { check };
