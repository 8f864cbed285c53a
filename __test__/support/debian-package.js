'use strict';

// Programs of Debian's or Ubuntu's packages for tests, unpacked under node_modules/.cache without
// installing anything and without being root.

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const CACHE = path.join(__dirname, '..', '..', 'node_modules', '.cache', 'baileys-guard');

const quietly = (command, args, options) =>
  execFileSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', ...options });

/** The file of a program, where the system has it. */
function onPath(name) {
  const folders = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/sbin', '/sbin'];
  return folders.map((folder) => path.join(folder, name)).find((file) => fs.existsSync(file));
}

/**
 * Unpacks a package, unless an earlier run did.
 *
 * @param {string} name
 * @param {RegExp} [needed] finds, in what apt says of it, the libraries to unpack as well
 * @returns {{ folder: string, missing?: undefined } | { missing: string }} where its files are, as
 *   below `/`; or why it cannot be had
 */
function findPackage(name, needed) {
  const folder = path.join(CACHE, name);
  if (fs.existsSync(folder)) return { folder };
  if (!(onPath('apt-get') && onPath('dpkg'))) {
    return { missing: `there is no ${name} on this system and no apt-get to fetch it with` };
  }
  try {
    unpack(name, needed, folder);
    return { folder };
  } catch (error) {
    // Where it can be had it has to be: a CI that skips these tests proves nothing.
    if (process.env.CI) throw error;
    return { missing: `apt-get could not fetch ${name}: ${error.stderr || error.message}` };
  }
}

function unpack(name, needed, folder) {
  fs.mkdirSync(CACHE, { recursive: true });
  const draft = fs.mkdtempSync(path.join(CACHE, `${name}-`));
  try {
    try {
      download(name, needed, draft, []);
    } catch {
      download(name, needed, draft, ownPackageLists(draft)); // the machine's lists are old, or none
    }
    for (const file of fs.readdirSync(draft).filter((entry) => entry.endsWith('.deb'))) {
      quietly('dpkg', ['-x', path.join(draft, file), path.join(draft, 'root')]);
    }
    fs.renameSync(path.join(draft, 'root'), folder);
  } catch (error) {
    if (!fs.existsSync(folder)) throw error; // else another process was first
  } finally {
    fs.rmSync(draft, { recursive: true, force: true });
  }
}

function download(name, needed, folder, options) {
  const about = quietly('apt-cache', [...options, 'show', '--no-all-versions', name]);
  const libraries = needed ? (about.match(needed) ?? []) : [];
  quietly('apt-get', [...options, 'download', name, ...new Set(libraries)], { cwd: folder });
}

/** Package lists in a folder of our own, which nobody has to be root for. */
function ownPackageLists(folder) {
  const state = path.join(folder, 'apt');
  fs.mkdirSync(path.join(state, 'lists', 'partial'), { recursive: true });
  const options = [`Dir::State::Lists=${state}/lists`, `Dir::Cache=${state}`].flatMap((option) => [
    '-o',
    option,
  ]);
  quietly('apt-get', [...options, 'update']);
  return options;
}

module.exports = { findPackage, onPath };
