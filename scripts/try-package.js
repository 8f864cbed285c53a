'use strict';

// Packs this folder, installs the tarball in an empty project with scripts off, and uses it there:
// an agent is claimed and given back. The release runs it on every platform; it needs no more
// than Node and the binary.

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const ROOT = path.join(__dirname, '..');

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-guard-try-'));
const shell = process.platform === 'win32'; // npm is a .cmd there
const npm = (args, cwd, stdio) =>
  execFileSync('npm', args, { cwd, shell, stdio: ['ignore', stdio, 'inherit'], encoding: 'utf8' });

try {
  fs.cpSync(path.join(ROOT, '__test__', 'consumers', 'cjs'), folder, { recursive: true });
  const packed = npm(
    ['pack', '--json', '--ignore-scripts', '--pack-destination', folder],
    ROOT,
    'pipe',
  );
  const tarball = `./${JSON.parse(packed)[0].filename}`;
  npm(['install', tarball, '--ignore-scripts', '--no-audit', '--no-fund'], folder, 'inherit');
  const said = execFileSync(process.execPath, ['index.js'], { cwd: folder, encoding: 'utf8' });
  process.stdout.write(said);
  if (!said.includes('agent-1 is held: true')) throw new Error('the agent was not claimed');
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
