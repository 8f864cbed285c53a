'use strict';

/** The endpoint as a command; `node examples/whatsapp-endpoint --help` says how. */

const { parseArgs } = require('node:util');
const { startEndpoint } = require('./server');

const HELP = `node examples/whatsapp-endpoint [options]

  --port N               port of the WebSocket (any free one)
  --control-port N       port of the HTTP control interface (any free one)
  --state FILE           keep linked devices in FILE over a restart
  --max-events N         how many events the log keeps (200000)
  --answer-within-ms N   how soon a kicked client must be heard of to count as live (1000)
  --json                 print the addresses as one line of JSON
  --until-stdin-ends     end when standard input does, with the process that started this one
`;

const OPTIONS = {
  port: { type: 'string' },
  'control-port': { type: 'string' },
  state: { type: 'string' },
  'max-events': { type: 'string' },
  'answer-within-ms': { type: 'string' },
  json: { type: 'boolean' },
  'until-stdin-ends': { type: 'boolean' },
  help: { type: 'boolean' },
};

function readOptions(argv) {
  const { values } = parseArgs({ args: argv, options: OPTIONS });
  const number = (name) => {
    if (values[name] === undefined) return undefined;
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < 0) {
      throw new TypeError(`--${name} is not a whole number: ${values[name]}`);
    }
    return value;
  };
  return {
    ...values,
    endpoint: {
      port: number('port'),
      controlPort: number('control-port'),
      state: values.state,
      maxEvents: number('max-events'),
      answerWithinMs: number('answer-within-ms'),
    },
  };
}

/** libsignal prints whole sessions, private keys included, when it renews one. */
function quietLibsignal() {
  console.info = () => {};
  console.warn = () => {};
}

async function main(argv) {
  const options = readOptions(argv);
  if (options.help) {
    process.stdout.write(HELP);
    return;
  }
  quietLibsignal();
  const endpoint = await startEndpoint(options.endpoint);
  const { url, controlUrl } = endpoint;
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ url, controlUrl })}\n`
      : `offline WhatsApp endpoint\n  WA_WEBSOCKET_URL=${url}\n  control  ${controlUrl}\n`,
  );
  let closing;
  const close = () => {
    closing ??= endpoint.close().then(() => process.stdin.destroy());
  };
  process.once('SIGINT', close);
  process.once('SIGTERM', close);
  if (options['until-stdin-ends']) process.stdin.resume().once('close', close);
}

module.exports.main = main;
