'use strict';

// Runs one program on a tether: when this process's standard input ends, because whoever started
// it closed it or died in whatever way, the program is ended and its folder removed. A line on
// standard input is the name of a signal to pass on.
//
//   node tether.js '{"command": "postgres", "args": [], "uid": 101, "gid": 101, "folder": "/tmp/x"}'

const { spawn } = require('node:child_process');
const { rmSync } = require('node:fs');
const readline = require('node:readline');

const { command, args, uid, gid, env, folder } = JSON.parse(process.argv[2]);

const child = spawn(command, args, {
  uid,
  gid,
  env: { ...process.env, ...env },
  cwd: folder,
  stdio: ['ignore', 'inherit', 'inherit'],
});

let orphaned = false;

child.on('error', (error) => {
  process.stderr.write(`${command}: ${error.message}\n`);
  process.exit(127);
});

child.on('exit', (code, signal) => {
  if (orphaned) rmSync(folder, { recursive: true, force: true });
  process.exit(signal ? 1 : code);
});

readline
  .createInterface({ input: process.stdin })
  .on('line', (signal) => child.kill(signal))
  .on('close', () => {
    orphaned = true;
    child.kill('SIGQUIT');
    setTimeout(() => child.kill('SIGKILL'), 5000).unref();
  });
