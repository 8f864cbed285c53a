'use strict';

// How each fault of the schedule is done. Each ends by itself and leaves the place as it was.

const { setTimeout: pause } = require('node:timers/promises');

const { History } = require('./history');

/** A fault of the whole site; a second one waits for its end. */
const SITE_WIDE = new Set(['endpoint', 'restart', 'crash', 'outage']);

const faults = {
  async kill(site, place, ms) {
    await site.kill(place);
    await pause(ms);
    await site.start(place);
  },
  async stop(site, place, ms) {
    await site.stop(place);
    await pause(ms);
    await site.start(place);
  },
  freeze: (site, place, ms) => site.freeze(place, ms),
  async stall(site, place, ms) {
    await place.child.call('stall', ms);
    await pause(ms);
  },
  /** The wall clock of one process jumps by an hour, and back. */
  async clock(site, place, ms) {
    place.clock.jump(ms % 2 ? 3600 : -3600);
    await pause(ms);
    place.clock.jump(0);
  },
  async cut(site, place) {
    place.proxy.cut();
  },
  /** A network that swallows everything. */
  async silence(site, place, ms) {
    place.proxy.blackhole(true);
    await pause(ms);
    place.proxy.blackhole(false);
  },
  async delay(site, place, ms) {
    place.proxy.delay(100);
    await pause(ms);
    place.proxy.delay(0);
  },
  /** The same three upon its way to WhatsApp. */
  async hangUp(site, place) {
    place.line.cut();
  },
  async mute(site, place, ms) {
    place.line.blackhole(true);
    await pause(ms);
    place.line.blackhole(false);
  },
  async lag(site, place, ms) {
    place.line.delay(100);
    await pause(ms);
    place.line.delay(0);
  },
  async endpoint(site, place, ms) {
    await site.endpoint.fail('http');
    await site.endpoint.fail('drop');
    await pause(ms);
    await site.endpoint.heal();
  },
  restart: (site) => site.database.server.restart('fast'),
  crash: (site) => site.database.server.restart('immediate'),
  async outage(site, place, ms) {
    await site.database.server.stop('fast');
    await pause(ms);
    await site.database.server.start();
  },
};

/**
 * Lets a schedule strike; resolves when all of it is over and everything runs again.
 *
 * @returns {Promise<{ struck: object[], away: { what: string, from: number, to: number }[] }>} what struck (a
 *   place that still suffers is left out), and when the database or WhatsApp were away
 */
async function strike(site, plan, log = () => {}) {
  const start = performance.now();
  const struck = [];
  const away = [];
  const running = [];
  let whole = false;
  for (const step of plan) {
    await pause(Math.max(0, step.atMs - (performance.now() - start)));
    const place = site.places[step.target];
    const wide = SITE_WIDE.has(step.fault);
    if (wide ? whole : place.busy) continue;
    if (step.fault === 'clock' && !place.clock) continue; // told at the start
    if (wide) whole = true;
    else place.busy = true;
    struck.push(step);
    log(
      `${(step.atMs / 1000).toFixed(1)} s: ${step.fault}, place ${step.target}, ${step.lastsMs} ms`,
    );
    const from = History.now();
    const done = faults[step.fault](site, place, step.lastsMs).finally(() => {
      if (wide) {
        whole = false;
        away.push({ what: step.fault, from, to: History.now() });
      } else {
        place.busy = false;
      }
    });
    done.catch(() => {}); // told below
    running.push(done);
  }
  await Promise.all(running);
  return { struck, away };
}

module.exports = { strike };
