'use strict';

// A progress bar where a person looks: on standard error, when that is a terminal.

/**
 * @param {import('./output').Output} output
 * @param {string} unit what is counted
 * @param {number} total
 * @returns {{ at(count: number): void, stop(): void }}
 */
function progress(output, unit, total) {
  const stream = output.screen;
  if (!stream || total === 0) return { at() {}, stop() {} };
  const { SingleBar } = require('cli-progress');
  const bar = new SingleBar({
    stream,
    format: `{bar} {percentage}% | {value}/{total} ${unit} | {eta_formatted} left`,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    hideCursor: true,
  });
  bar.start(total, 0);
  return {
    at: (count) => bar.update(Math.min(count, total)),
    stop: () => bar.stop(),
  };
}

module.exports = { progress };
