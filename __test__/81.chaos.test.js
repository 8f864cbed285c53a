'use strict';

// The short form of `npm run chaos`: a minute of everything, half of it on each database.

const { run } = require('../chaos/run');

test.each(['sqlite', 'postgres'])(
  'faults one upon the other on %s',
  async (database) => {
    const seed = Number(process.env.CHAOS_SEED ?? Math.floor(Math.random() * 1e6));
    const how = { database, seed, seconds: 30, agents: 6, processes: 3, gapMs: 1500, ttlMs: 3000 };
    const { violations, kept, faults, ...figures } = await run(how);
    // Run again with CHAOS_SEED, or npm run chaos -- --seed; judge it again with --check.
    expect({ seed, violations, kept }).toEqual({ seed, violations: [] });
    expect(Object.keys(faults).length).toBeGreaterThan(2);
    expect(figures.writes).toBeGreaterThan(50);
  },
  300_000, // it ends by itself, and tells why; on a slow machine that takes its time
);
