'use strict';

/**
 * An offline WhatsApp for tests and the demo; README.md tells what it plays.
 *
 * `startEndpoint` runs it in this process and loads Baileys, an ES module, which jest cannot do on
 * Node 20: there, `spawnEndpoint` runs it in a child process. `connectEndpoint` drives one that runs.
 */

const { connectEndpoint, spawnEndpoint } = require('./remote');
const { trustEndpoint } = require('./trust');

module.exports.startEndpoint = (options) => require('./server').startEndpoint(options);
module.exports.spawnEndpoint = spawnEndpoint;
module.exports.connectEndpoint = connectEndpoint;
module.exports.trustEndpoint = trustEndpoint;

if (require.main === module) {
  require('./cli')
    .main(process.argv.slice(2))
    .catch((error) => {
      console.error(error.message);
      process.exitCode = 1;
    });
}
