'use strict';

// What LeakSanitizer says at the end of a process, read.

/**
 * Leaks in a report, with the frames of where they were allocated.
 *
 * @param {string} report
 * @returns {{ bytes: number, objects: number, frames: string[] }[]}
 */
function leaksIn(report) {
  const leaks = [];
  for (const line of report.split('\n')) {
    const leak = /^(?:Direct|Indirect) leak of (\d+) byte\(s\) in (\d+) object\(s\)/.exec(line);
    const frame = /^ +#\d+ 0x[0-9a-f]+ (?:in )?(.*)$/.exec(line);
    if (leak) leaks.push({ bytes: Number(leak[1]), objects: Number(leak[2]), frames: [] });
    else if (frame) leaks.at(-1)?.frames.push(frame[1]);
  }
  return leaks;
}

/**
 * Node does not take its heap down when it ends, so what its last objects hold counts as leaked:
 * some of each kind. What leaks with the calls is there as often as was called.
 *
 * @param {string} report
 * @param {{ addon: string, calls: number }} what the file whose code has to be among the frames
 */
const leakedByCalls = (report, { addon, calls }) =>
  leaksIn(report).filter(
    ({ objects, frames }) => objects >= calls && frames.some((frame) => frame.includes(addon)),
  );

/** An error other than a leak: a use after free, an overflow, a double free. */
const errorIn = (report) =>
  /ERROR: AddressSanitizer: (.*)/.exec(report)?.[1] ??
  /AddressSanitizer:DEADLYSIGNAL/.exec(report)?.[0];

module.exports = { errorIn, leakedByCalls, leaksIn };
