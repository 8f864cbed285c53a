'use strict';

// One run: a site, a schedule, and the verdict on what happened.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: pause } = require('node:timers/promises');

const { findFaketime } = require('../__test__/support/faketime');
const { check } = require('./checker');
const { strike } = require('./faults');
const { History } = require('./history');
const { schedule } = require('./schedule');
const { Site } = require('./site');

/** What `resumeAll` promises to look after at the latest, with the times of the site's scheduler. */
const promised = ({ ttlMs, agents, processes }) =>
  1.25 * ttlMs + 15_000 + 5000 + 1000 + (agents / (20 * processes)) * 1000;

async function allOnline(site, agents, timeoutMs) {
  for (const end = History.now() + timeoutMs; History.now() < end; await pause(50)) {
    if ((await site.online()) === agents) return History.now();
  }
  return null;
}

/**
 * @param {object} how
 * @param {'sqlite' | 'postgres'} how.database
 * @param {number} how.seed
 * @param {number} how.seconds in which faults begin
 * @param {number} how.agents
 * @param {number} how.processes
 * @param {number} how.ttlMs
 * @param {number} [how.beatMs] 1000
 * @param {number} how.gapMs between two faults, on average
 * @param {boolean} [how.naive] what an audit recommends instead, for comparison
 * @param {(line: string) => void} [how.log]
 */
async function run(how) {
  const { database, agents, processes, ttlMs, beatMs, naive, log = () => {} } = how;
  log(`${database}, seed ${how.seed}: pairing ${agents} agents`);
  const { missing } = findFaketime();
  if (missing) log(`SKIPPED: jumping clocks, because ${missing}`);
  const site = await Site.open({ kind: database, agents, processes, ttlMs, beatMs, naive });
  if ((await allOnline(site, agents, 60_000)) === null) throw new Error('not all came up at first');

  const { lastSeq } = await site.endpoint.stats();
  const from = History.now();
  const { struck, away } = await strike(site, schedule(how), log);
  const healed = History.now();
  const promisedMs = promised(how);
  const backAt = await allOnline(site, agents, promisedMs + 60_000);
  for (const place of site.places) await site.stop(place);
  for (let judging = 1; judging > 0; await pause(50)) {
    ({ conflictsJudging: judging } = await site.endpoint.stats());
  }
  const events = await site.endpoint.events({ since: lastSeq });
  const endpoint = events.map(({ monoMs, ...event }) => ({ ...event, at: monoMs }));
  const before = await site.endpoint.events({ since: 0 });
  const history = {
    processes: site.processes(),
    endpoint: [...openBefore(before, lastSeq), ...endpoint],
    run: { agents, from, healed, backAt, promisedMs, away },
    struck,
  };
  const { violations, figures } = check(history);
  const faults = {};
  for (const { fault } of struck) faults[fault] = (faults[fault] ?? 0) + 1;
  return {
    worker: naive ? 'naive' : 'guard',
    database,
    seed: how.seed,
    seconds: how.seconds,
    faults,
    ...figures,
    violations,
    ...(violations.length > 0 && !naive ? { kept: keep(history, how) } : {}),
  };
}

/** The interleaving that did it may not come again, so its history is kept for `--check`. */
function keep(history, { database, seed }) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), `chaos-${database}-${seed}-`));
  const file = path.join(folder, 'history.json');
  fs.writeFileSync(file, JSON.stringify(history));
  return file;
}

/** Sockets that were open when the run began count from then on. */
function openBefore(events, lastSeq) {
  const open = new Map();
  for (const { seq, type, conn, jid, monoMs } of events) {
    if (seq > lastSeq) break;
    const event = { type, conn, jid, at: monoMs };
    if (type === 'login') open.set(conn, [event]);
    if (type === 'active') open.get(conn)?.push(event);
    if (type === 'close') open.delete(conn);
  }
  return [...open.values()].flat();
}

module.exports = { run };
