'use strict';

// Wall clocks that jump, by Debian's libfaketime: that of the system, else the one of its package.
//
//   describeWithFaketime('a jump', () => {
//     const clock = fakeClock();                       // for programs that run with clock.env
//     clock.jump(3600);                                // seconds ahead of the real time

const fs = require('node:fs');
const path = require('node:path');

const { defer } = require('./cleanup');
const { findPackage } = require('./debian-package');
const { giveAway, reachable, serverFolder } = require('./server-process');

const LIBRARY = 'libfaketime.so.1';

/** The library below a folder that is laid out as `/` is. */
function below(root) {
  const lib = path.join(root, 'usr', 'lib');
  if (!fs.existsSync(lib)) return undefined;
  return fs
    .readdirSync(lib)
    .map((platform) => path.join(lib, platform, 'faketime', LIBRARY))
    .find((file) => fs.existsSync(file));
}

/** @returns {{ library?: string, missing?: string }} */
function findFaketime() {
  if (process.platform !== 'linux') return { missing: 'libfaketime is preloaded on Linux only' };
  const library = below('/');
  if (library) return { library };
  const { folder, missing } = findPackage('libfaketime');
  return missing === undefined ? { library: below(folder) } : { missing };
}

/** `describe`, or a line that says why these tests are left out. */
function describeWithFaketime(title, tests) {
  const { missing } = findFaketime();
  if (missing === undefined) return describe(title, tests);
  console.warn(`SKIPPED: ${title}, because ${missing}`);
  return describe.skip(title, tests);
}

/** A wall clock for other programs; their monotonic clock stays the machine's. */
function fakeClock() {
  const { library, missing } = findFaketime();
  if (missing !== undefined) throw new Error(missing);
  const folder = serverFolder('clock');
  defer(() => fs.rmSync(folder, { recursive: true, force: true }));
  const preload = path.join(folder, LIBRARY);
  fs.copyFileSync(library, preload); // where a server's user can read it
  giveAway(preload);
  if (!reachable(preload)) throw new Error(`${preload} cannot be read by a server's user`);

  const file = path.join(folder, 'time');
  const clock = {
    env: {
      LD_PRELOAD: preload,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1', // a jump shows at once
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      DONT_FAKE_MONOTONIC: '1', // its name until version 0.9.8
    },
    /** @param {number} seconds ahead of the real time; negative: behind it */
    jump(seconds) {
      const draft = `${file}.new`;
      fs.writeFileSync(draft, `${seconds < 0 ? '-' : '+'}${Math.abs(seconds)}s\n`, { mode: 0o644 });
      fs.renameSync(draft, file); // nobody reads half a time
    },
  };
  clock.jump(0);
  return clock;
}

module.exports = { describeWithFaketime, fakeClock, findFaketime };
