'use strict';

// `rotate`: everything stored under the current key, while sessions run.

const { wholeNumber } = require('./arguments');
const { EXIT } = require('./exit');
const { counted } = require('./output');
const { progress } = require('./progress');
const { withGuard } = require('./with-guard');

function declare(program) {
  return program
    .command('rotate')
    .summary('re-encrypts everything under the current key')
    .description(
      'Brings every stored credential under the current key: plain text, the older ' +
        '{ encrypted, iv, authTag } form, and what is under a previous key. Sessions may run ' +
        'meanwhile. One that was interrupted goes on where it stopped.',
    )
    .option('--dry-run', 'counts and changes nothing')
    .option('--batch-size <values>', 'values a statement', wholeNumber(1, 10_000), 200);
}

async function run({ options, output }) {
  const { dryRun = false, batchSize } = options;
  return withGuard({ options, output }, async (guard, signal) => {
    // How much there is to do is known only once it was gone through; a bar is worth that.
    const total =
      output.screen && !dryRun
        ? (await guard.rotateCredentials({ dryRun: true, batchSize })).examined
        : 0;
    signal.throwIfAborted();
    const bar = progress(output, 'values', total);
    let report;
    try {
      const onProgress = ({ examined }) => bar.at(examined);
      report = await guard.rotateCredentials({ dryRun, batchSize, onProgress });
    } finally {
      bar.stop();
    }
    output.result({ dryRun, ...report }, lines(report, dryRun));
    const { plain, legacy, previousKey, unreadable } = report.remaining;
    if (unreadable > 0) return EXIT.failed;
    return !dryRun && plain + legacy + previousKey > 0 ? EXIT.failed : EXIT.ok;
  });
}

function* lines({ examined, rotated, remaining, failed }, dryRun) {
  const { plain, legacy, previousKey, unreadable } = remaining;
  yield dryRun
    ? `${counted(examined, 'value')} examined, nothing changed`
    : `${counted(examined, 'value')} examined, ${rotated} brought under the current key`;
  yield 'not under the current key:';
  yield `  plain text    ${plain}`;
  yield `  older form    ${legacy}`;
  yield `  previous key  ${previousKey}`;
  yield `  unreadable    ${unreadable}`;
  for (const { agentId, type, id, code, message } of failed) {
    yield `  ${[agentId, type, id].filter(Boolean).join(' / ')}: ${code}: ${message}`;
  }
  if (unreadable > failed.length) yield `  and ${unreadable - failed.length} more`;
}

const examples = [
  'npx baileys-guard rotate --dry-run',
  'npx baileys-guard rotate',
  'npx baileys-guard rotate --key-file guard.key --batch-size 500',
];

module.exports = { declare, run, examples, needs: { keys: true } };
