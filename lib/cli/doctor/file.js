'use strict';

// An SQLite file, looked at from outside: whether it is there, who may read it, and whether it is
// on a file system that SQLite can share between processes.

const fs = require('node:fs');
const path = require('node:path');

const { sqliteFile } = require('../database-url');

/** Linux' numbers for file systems that live on another machine (statfs(2)). */
const NETWORK = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xfe534d42, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0x01021997, '9P'],
  [0x00c36400, 'Ceph'],
  [0x5346414f, 'AFS'],
  [0x0bd00bd0, 'Lustre'],
  [0x01161970, 'GFS2'],
  [0x65735546, 'FUSE'],
]);

/** @returns {boolean} whether there is a database to look into, as far as a file tells */
function checkFile(findings, url, statfs = fs.statfsSync) {
  const file = sqliteFile(url);
  if (file === undefined) return true;
  let found;
  try {
    found = fs.statSync(file);
  } catch (error) {
    const missing = error.code === 'ENOENT';
    findings.failure(
      'file',
      missing ? `there is no file ${file}` : `cannot look at ${file}: ${error.message}`,
      missing
        ? 'run `npx baileys-guard migrate`, or set DATABASE_URL to the right one'
        : 'run doctor as the user of your server',
    );
    return false;
  }
  checkMode(findings, file, found);
  checkFileSystem(findings, path.dirname(file), statfs);
  return true;
}

function checkMode(findings, file, { mode }) {
  if (process.platform === 'win32') return;
  if (mode & 0o077) {
    const octal = (mode & 0o777).toString(8);
    findings.warning('file', `others may open ${file} (mode ${octal})`, `chmod 600 ${file}`);
  } else {
    findings.ok('file', file);
  }
}

function checkFileSystem(findings, folder, statfs) {
  if (process.platform !== 'linux') {
    findings.skipped('file system', 'can be told on Linux only; it has to be a local one');
    return;
  }
  const type = Number(BigInt.asUintN(32, BigInt(statfs(folder).type)));
  const network = NETWORK.get(type);
  if (network === undefined) findings.ok('file system', 'not a network file system');
  else if (network === 'FUSE') {
    findings.warning(
      'file system',
      `${folder} is on FUSE, which may be a network file system`,
      'put the file on a local disk, or use PostgreSQL',
    );
  } else {
    findings.failure(
      'file system',
      `${folder} is on ${network}: SQLite cannot be shared over a network file system`,
      'put the file on a local disk, or use PostgreSQL for several machines',
    );
  }
}

module.exports = { checkFile };
