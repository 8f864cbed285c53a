'use strict';

// The command line tool: the frame that every command stands in. A command declares its arguments
// and does its work (one file each); this reads the command line, and turns what a command returns
// or throws into output and an exit code.

const { Command, CommanderError } = require('commander');

const { version } = require('../../package.json');
const { exitCodeOf, EXIT } = require('./exit');
const { Output } = require('./output');

const COMMANDS = [
  require('./status'),
  require('./migrate'),
  require('./rollback'),
  require('./keygen'),
  require('./rotate'),
  require('./import'),
  require('./export'),
  require('./release'),
  require('./doctor'),
];

const EXIT_CODES = `
Exit codes:
  0  done
  1  failed, or something was found that has to be mended
  2  the command line or the configuration cannot be used
  3  the agent is in use by a live instance
  130, 143  interrupted; what was claimed has been given back`;

const ENVIRONMENT = `
Environment:
  DATABASE_URL                          as --database-url, and the place for a URL with a password
  CREDENTIALS_ENCRYPTION_KEY            the key, unless --key-file names a file
  CREDENTIALS_ENCRYPTION_PREVIOUS_KEYS  keys of before, comma separated`;

/**
 * @param {string[]} argv without node and script
 * @returns {Promise<number>} the exit code
 */
async function main(argv, { stdin, stdout, stderr } = process) {
  const streams = { stdin, stdout, stderr };
  let code = EXIT.ok;
  const program = new Command('baileys-guard')
    .description('Operates the database of baileys-guard: who owns which session, keys, schema.')
    .version(version)
    .showHelpAfterError('(--help shows what there is)')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, 'ERR_INVALID_ARGUMENT: ')),
    })
    .addHelpText('after', `${ENVIRONMENT}\n${EXIT_CODES}`);

  for (const { declare, run, examples, needs = {} } of COMMANDS) {
    const command = declare(program).copyInheritedSettings(program);
    addCommonOptions(command, needs);
    command.addHelpText('after', `\nExamples:\n${examples.map((line) => `  ${line}`).join('\n')}`);
    command.action(async (...given) => {
      const options = given.at(-2);
      const output = new Output(options, streams);
      try {
        if (options.dotenv) loadEnvironment(options.dotenv);
        code = (await run({ args: given.slice(0, -2), options, output, stdin })) ?? EXIT.ok;
      } catch (error) {
        output.failure(error);
        code = exitCodeOf(error);
      }
    });
  }

  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return EXIT.ok; // --help, --version
    if (argv.includes('--json')) {
      new Output({ json: true }, streams).document({
        error: { code: 'ERR_INVALID_ARGUMENT', message: error.message.replace(/^error: /, '') },
      });
    }
    return EXIT.usage;
  }
  return code;
}

function addCommonOptions(command, { database = true, keys = false }) {
  if (database) {
    command.option(
      '--database-url <url>',
      'sqlite:<file> or postgres://… (default: DATABASE_URL, else sqlite:baileys-guard.db)',
    );
  }
  if (keys) {
    command.option(
      '--key-file <file>',
      'keys, one a line: the current one first, then those of before',
    );
  }
  if (database) {
    // Not --env-file: Node.js takes that one for itself, wherever it stands.
    command.option('--dotenv <file>', 'reads environment variables from a file, such as .env');
  }
  command.option('--json', 'writes one JSON document to standard output');
  if (database) command.option('--verbose', 'tells on standard error what happens');
}

/** What is set already stays. */
function loadEnvironment(file) {
  const { invalidOption } = require('../errors');
  try {
    process.loadEnvFile(file);
  } catch (error) {
    throw invalidOption('dotenv', `cannot be read: ${error.message}`);
  }
}

module.exports = { main };
