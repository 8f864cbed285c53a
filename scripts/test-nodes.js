'use strict';

// npm run test:nodes [-- jest arguments]: the jest tests on other versions of Node, which npm has
// as packages. The tests of the machine's own version are those of `npm test`.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const ROOT = path.join(__dirname, '..');
const CACHE = path.join(ROOT, 'node_modules', '.cache', 'baileys-guard', 'nodes');
const VERSIONS = ['22', '24'];

function run(command, args, options) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', ...options });
  if (error) throw error;
  return status;
}

/** The folder with the `node` of a version. */
function fetchNode(version) {
  const folder = path.join(CACHE, version);
  const bin = path.join(folder, 'node_modules', 'node', 'bin');
  if (fs.existsSync(bin)) return bin;
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, 'package.json'), '{}');
  const name = `node@npm:node-${process.platform}-${process.arch}@${version}`;
  if (
    run('npm', ['install', '--no-save', '--no-audit', '--no-fund', name], { cwd: folder }) !== 0
  ) {
    throw new Error(`npm could not fetch Node ${version} for ${process.platform}-${process.arch}`);
  }
  return bin;
}

const failed = VERSIONS.filter((version) => {
  const bin = fetchNode(version);
  const env = { ...process.env, PATH: `${bin}${path.delimiter}${process.env.PATH}` };
  console.log(`\n=== Node ${version}`);
  const jest = path.join(ROOT, 'node_modules', 'jest', 'bin', 'jest.js');
  return run(path.join(bin, 'node'), [jest, ...process.argv.slice(2)], { cwd: ROOT, env }) !== 0;
});
if (failed.length > 0) {
  console.error(`failed on Node ${failed.join(' and ')}`);
  process.exitCode = 1;
}
