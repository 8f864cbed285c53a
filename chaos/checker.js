'use strict';

// Reads a history and tells what in it must not be. Pure: the same history, the same verdict.

/** How long a process that runs again may run until it has written down that it lost a claim. */
const TOLD_AFTER_THAW_MS = 1500;
/** The same where nobody froze it, and only a busy machine did not let it run. */
const TOLD_AFTER_LATE_MS = 250;

const toldWithin = ({ late }) => (late ? TOLD_AFTER_LATE_MS : TOLD_AFTER_THAW_MS);

/**
 * @typedef {object} History
 * @property {{ name: string, events: object[], killedAt?: number, ended?: string,
 *   standstills: { from: number, to: number, late?: boolean, ranMs?: number }[] }[]} processes what
 *   each wrote, in order; when it was killed; how it ended where nobody ended it; when it was frozen or
 *   its event loop stood still, in order; `late` by no fault of ours, with the time of processors that
 *   it had nevertheless (`ranMs`)
 * @property {object[]} endpoint its events, `{ at, type, … }`
 * @property {object} run `agents`; when faults began (`from`) and were over (`healed`), when all was up
 *   again (`backAt`, or null), within what it is promised (`promisedMs`); when the database or WhatsApp
 *   were away (`away`, `{ what, from, to }`, of which WhatsApp is `endpoint`)
 */

/** Every claim of every process: who held which token, and acted on it, from when to when. */
function claimsOf(processes) {
  const claims = [];
  for (const { name, events, killedAt = Infinity, standstills } of processes) {
    const open = new Map();
    for (const event of events) {
      const key = `${event.agent} ${event.token}`;
      if (event.type === 'granted') {
        const claim = { process: name, ...event, from: event.at, to: killedAt };
        open.set(key, claim);
        claims.push(claim);
      } else if (event.type === 'ended') {
        const claim = open.get(key);
        if (claim) claim.to = stoppedActing(event, events, standstills);
      }
    }
  }
  return claims;
}

/**
 * Who stands still does nothing, and may learn of its loss only afterwards: then its claim ended when
 * it began to stand still, unless it still wrote under it when it ran again. It may stand still again
 * before it is told; what counts is for how long it ran.
 */
function stoppedActing({ at, agent, token }, events, standstills) {
  const wroteAfter = (time) =>
    events.some(
      (event) =>
        event.agent === agent && event.token === token && event.accepted && event.sent > time,
    );
  let stopped = at;
  let ran = 0;
  for (const standstill of standstills.toReversed()) {
    const { from, to, ranMs = 0 } = standstill;
    if (from > stopped) continue;
    ran += Math.max(0, stopped - to) + ranMs;
    if (ran > toldWithin(standstill) || wroteAfter(to)) break;
    stopped = from;
  }
  return stopped;
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

/**
 * One whose own process stood still when somebody else got its agent answers as soon as that runs again,
 * and until it has been told. Whose client it was, its claim tells: a process that is frozen at once may
 * never have written down that it was connected.
 */
function* kicks(endpoint, claims, processes) {
  const loggedIn = new Map(); // a client's connection → when
  const agents = new Map(); // a jid → its agent
  for (const { events } of processes) {
    for (const { jid, agent } of events) if (jid) agents.set(jid, agent);
  }
  for (const { type, at, jid, conn, kicked, kickedAnswering } of endpoint) {
    if (type === 'login') loggedIn.set(conn, at);
    if (type !== 'conflict' || !kickedAnswering) continue;
    const before = ({ agent, from }) => agent === agents.get(jid) && from <= loggedIn.get(kicked);
    const claim = claims
      .filter(before)
      .sort((a, b) => a.from - b.from)
      .at(-1);
    const owner = processes.find(({ name }) => name === claim?.process);
    const stoodStill = (one) => one.from <= at && one.to >= at - toldWithin(one) + (one.ranMs ?? 0);
    if (owner?.standstills.some(stoodStill)) continue;
    const what = `of ${owner?.name ?? 'nobody known'} at ${round(at)}`;
    yield { kind: 'live client kicked', agent: jid, what };
  }
}

function* deaths(processes) {
  for (const { name, ended } of processes) {
    if (ended) yield { kind: 'process that ended by itself', agent: '', what: `${name}: ${ended}` };
  }
}

/** Without faults of the database or of WhatsApp, no session is down for longer than promised. */
function* gaps(endpoint, run) {
  for (const { jid, ms } of downtimes(endpoint, run)) {
    if (ms > run.promisedMs) {
      yield { kind: 'session down for too long', agent: jid, what: `${round(ms)} ms` };
    }
  }
}

/** For how long sessions were down, not counting what the database or WhatsApp were away for. */
function downtimes(endpoint, { from, healed, away = [] }) {
  return [...gapsOf(endpoint)]
    .filter((gap) => gap.to >= from && gap.to <= healed)
    .map((gap) => {
      const excused = away.reduce(
        (sum, one) => sum + overlap(gap.from, gap.to, one.from, one.to),
        0,
      );
      return { jid: gap.jid, ms: gap.to - gap.from - excused };
    });
}

/** When sessions had no socket; one that is replaced has two for a moment, and closes the old one late. */
function* gapsOf(endpoint) {
  const sessions = new Map(); // jid → its sockets, and since when there is none
  for (const { type, at, jid, conn } of endpoint) {
    const session = sessions.get(jid) ?? { sockets: new Set(), closedAt: undefined };
    if (type === 'active') {
      sessions.set(jid, session);
      if (session.closedAt !== undefined) yield { jid, from: session.closedAt, to: at };
      session.closedAt = undefined;
      session.sockets.add(conn);
    } else if (type === 'close' && session.sockets.delete(conn) && session.sockets.size === 0) {
      session.closedAt = at;
    }
  }
}

const overlap = (from, to, start, end) => Math.max(0, Math.min(to, end) - Math.max(from, start));

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

/**
 * Part of the time, from 0 to 1, in which sessions had an open socket; two at once count once, and
 * moments that are excused not at all.
 */
function uptime(endpoint, { from, healed, agents }, excused = []) {
  const counted = (start, end) => {
    const [first, last] = [Math.max(start, from), Math.min(end, healed)];
    const without = excused.reduce((sum, one) => sum + overlap(first, last, one.from, one.to), 0);
    return Math.max(0, last - first) - without;
  };
  const open = new Map(); // jid → its sockets, and since when there is one
  let online = 0;
  for (const { type, at, jid, conn } of endpoint) {
    const session = open.get(jid) ?? { sockets: new Set(), since: at };
    if (type === 'active') {
      if (session.sockets.size === 0) session.since = at;
      open.set(jid, session);
      session.sockets.add(conn);
    } else if (type === 'close' && session.sockets.delete(conn) && session.sockets.size === 0) {
      online += counted(session.since, at);
    }
  }
  for (const session of open.values()) {
    if (session.sockets.size > 0) online += counted(session.since, healed);
  }
  return online / (agents * counted(from, healed));
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
    ...kicks(endpoint, claims, processes),
    ...gaps(endpoint, run),
    ...deaths(processes),
    ...comeback(run),
  ];
  const events = processes.flatMap((one) => one.events);
  const writes = events.filter(({ type }) => type === 'write');
  return {
    violations,
    figures: {
      agents: run.agents,
      claims: claims.length,
      writes: writes.length,
      refused: writes.filter(({ code }) => code === 'ERR_CLAIM_LOST').length,
      logins: endpoint.filter(({ type }) => type === 'login').length,
      frozenClientsReplaced: endpoint.filter(({ type }) => type === 'conflict').length,
      uptime: uptime(
        endpoint,
        run,
        run.away?.filter(({ what }) => what === 'endpoint'),
      ),
      wholeUptime: uptime(endpoint, run),
      longestDownMs: round(Math.max(0, ...downtimes(endpoint, run).map(({ ms }) => ms))),
      backMs: run.backAt === null ? null : round(run.backAt - run.healed),
    },
  };
}

module.exports = { check };
