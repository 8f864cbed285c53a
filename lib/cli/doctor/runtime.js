'use strict';

// Node.js and the native binary.

const { engines, version } = require('../../../package.json');
const { platformName } = require('../../platform');

/** From these on, `require` loads ES modules, which Baileys 7 is one of. */
const REQUIRES_ESM = { 20: 19, 22: 12 };

/** @returns {boolean} whether the native binary loads */
function checkRuntime(findings, node = process.versions.node) {
  checkNode(findings, node);
  try {
    const native = require('../../native');
    findings.ok('binary', `${platformName()}, version ${native.nativeVersion()}`);
    return true;
  } catch (error) {
    const [what, ...how] = error.message.split('\n');
    findings.failure('binary', what, how.join(' ') || 'install baileys-guard again');
    return false;
  }
}

function checkNode(findings, node) {
  const [major, minor] = node.split('.').map(Number);
  const [, neededMajor, neededMinor] = /(\d+)\.(\d+)/.exec(engines.node).map(Number);
  if (major < neededMajor || (major === neededMajor && minor < neededMinor)) {
    findings.failure(
      'node',
      `Node.js ${node} is older than baileys-guard ${version} supports (${engines.node})`,
      'install Node.js 22 or 24',
    );
  } else if (minor < (REQUIRES_ESM[major] ?? (major === 21 ? Infinity : 0))) {
    findings.warning(
      'node',
      `Node.js ${node} cannot require() Baileys, which is an ES module`,
      'import it, or install Node.js 20.19, 22.12 or later',
    );
  } else {
    findings.ok('node', `Node.js ${node}`);
  }
}

module.exports = { checkRuntime };
