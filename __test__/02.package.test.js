'use strict';

// What npm packs is what users get: it installs without scripts and without Rust, gives every
// name to `require`, `import` and TypeScript, and says what to do where its binary is missing.

const { execFile } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { promisify } = require('node:util');
const ts = require('typescript');

const { platformName } = require('../lib/platform');
const { temporaryFolder } = require('./support/databases');

const ROOT = path.join(__dirname, '..');
const BINARY = `baileys-guard.${platformName()}.node`;
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';

jest.setTimeout(180_000); // npm may have to ask the registry

/** Runs a program as a user's shell would, not as a script of this package. */
async function run(command, args, { cwd, env = {} }) {
  const own = Object.entries(process.env).filter(([name]) => !/^(npm_|JEST_|NODE_ENV)/.test(name));
  const options = { cwd, env: { ...Object.fromEntries(own), ...env } };
  try {
    const { stdout, stderr } = await promisify(execFile)(command, args, options);
    return { code: 0, stdout, stderr };
  } catch (error) {
    if (typeof error.code !== 'number') throw error;
    return { code: error.code, stdout: error.stdout, stderr: error.stderr };
  }
}

async function succeed(command, args, options) {
  const { code, stdout, stderr } = await run(command, args, options);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${code}\n${stdout}${stderr}`);
  return stdout;
}

/** A project with the tarball in it, and a `cargo` that notes its calls instead of building. */
class Project {
  constructor(consumer) {
    this.folder = temporaryFolder();
    this.guard = path.join(this.folder, 'node_modules', 'baileys-guard');
    this.binary = path.join(this.guard, BINARY);
    if (consumer)
      fs.cpSync(path.join(__dirname, 'consumers', consumer), this.folder, { recursive: true });
    else fs.writeFileSync(path.join(this.folder, 'package.json'), '{}');
    this.bin = path.join(this.folder, 'bin');
    this.cargoCalls = path.join(this.folder, 'cargo-calls');
    this.cargo('exit 1');
    this.env = { PATH: `${this.bin}${path.delimiter}${process.env.PATH}` };
  }

  cargo(script) {
    fs.mkdirSync(this.bin, { recursive: true });
    fs.writeFileSync(
      path.join(this.bin, 'cargo'),
      `#!/bin/sh\necho "$@" >> "${this.cargoCalls}"\n${script}\n`,
      { mode: 0o755 },
    );
  }

  get cargoWasCalled() {
    return fs.existsSync(this.cargoCalls);
  }

  install(tarball, ...options) {
    const args = ['install', tarball, '--no-audit', '--no-fund', '--prefer-offline', ...options];
    return succeed(npm, args, { cwd: this.folder, env: this.env });
  }

  node(...args) {
    return run(process.execPath, args, { cwd: this.folder, env: this.env });
  }

  /** How the first `require` ends. */
  async require() {
    const script = `
      try { require('baileys-guard'); console.log('{}'); }
      catch ({ name, code, message, platform }) {
        console.log(JSON.stringify({ name, code, message, platform }));
      }`;
    return JSON.parse((await this.node('-e', script)).stdout);
  }
}

let tarball;
let files;
let template;

beforeAll(async () => {
  const destination = temporaryFolder();
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', destination];
  const [packed] = JSON.parse(await succeed(npm, args, { cwd: ROOT }));
  tarball = path.join(destination, packed.filename);
  files = packed.files.map((file) => file.path);
  template = new Project();
  await template.install(tarball, '--ignore-scripts');
});

/** A project as `npm install ./baileys-guard-….tgz --ignore-scripts` leaves it. */
function installed(consumer) {
  const project = new Project(consumer);
  const options = { recursive: true, verbatimSymlinks: true }; // or .bin would lead to the template
  fs.cpSync(path.dirname(template.guard), path.dirname(project.guard), options);
  return project;
}

describe('the tarball', () => {
  test('holds the binary of this platform, and what it can be built from', () => {
    const sources = fs
      .readdirSync(path.join(ROOT, 'src'), { recursive: true })
      .filter((name) => name.endsWith('.rs'))
      .map((name) => `src/${name.replaceAll(path.sep, '/')}`);
    const needed = [
      BINARY,
      'Cargo.toml',
      'Cargo.lock',
      'build.rs',
      'scripts/install.js',
      ...sources,
    ];
    expect(files).toEqual(expect.arrayContaining(needed));
  });

  test('holds no tests, build output or databases', () => {
    const stray = /^(__test__|tests|target|bench|examples\/(?!backend\/)|npm|\.)|\.(tgz|db)$/;
    expect(files.filter((file) => stray.test(file))).toEqual([]);
  });

  test('holds every file that its pages link to', () => {
    const pages = files.filter((file) => file.endsWith('.md'));
    const links = pages.flatMap((page) => {
      const text = fs.readFileSync(path.join(ROOT, page), 'utf8');
      const targets = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, target]) => target);
      return targets.map((target) => path.posix.join(path.posix.dirname(page), target));
    });
    expect(links).toContain('docs/api.md');
    expect(links.filter((link) => !files.includes(link))).toEqual([]);
  });

  test.each(['cjs', 'esm'])(
    'works in an empty %s project without scripts and Rust',
    async (consumer) => {
      const project = installed(consumer);
      const { code, stdout, stderr } = await project.node('index.js');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toMatch(/agent-1 is held: true\n[^]*true ERR_INVALID_ARGUMENT\n/);
      expect(project.cargoWasCalled).toBe(false);
    },
  );

  test('has the command line tool', async () => {
    const project = installed();
    const npx = (...args) =>
      run('npx', ['--no-install', 'baileys-guard', ...args], {
        cwd: project.folder,
        env: project.env,
      });
    expect((await npx('migrate')).code).toBe(0);
    const { code, stdout } = await npx('doctor', '--json');
    expect([code, JSON.parse(stdout).ok]).toEqual([0, true]);
    fs.rmSync(project.binary);
    const without = await npx('doctor', '--json');
    expect(without.code).toBe(1);
    expect(JSON.parse(without.stdout).findings).toContainEqual({
      check: 'binary',
      level: 'failure',
      message: expect.stringContaining('no native binary'),
      mend: expect.stringContaining('install.js'),
    });
    expect((await npx('status')).stderr).toContain('ERR_NATIVE_BINDING_MISSING: ');
  });

  test('says what is missing where baileys is not installed', async () => {
    const project = installed('cjs');
    const script = `
      const guard = require('baileys-guard').createGuard({ databaseUrl: 'sqlite:guard.db' });
      guard.migrate()
        .then(() => guard.claimInstance('agent-1'))
        .then((claim) => guard.useGuardedAuthState(claim))
        .catch(({ code }) => console.log(code))
        .then(() => guard.shutdown());`;
    const { stdout } = await project.node('-e', script);
    expect(stdout.trim().split('\n').at(-1)).toBe('ERR_BAILEYS_MISSING');
  });

  test('has types for require and import', async () => {
    const project = installed('typescript');
    fs.symlinkSync(
      path.join(ROOT, 'node_modules', '@types'),
      path.join(project.folder, 'node_modules', '@types'),
    );
    const tsc = path.join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
    expect(await project.node(tsc)).toEqual({ code: 0, stdout: '', stderr: '' });
  });
});

test('require, import and the types have the same names', async () => {
  const names = Object.keys(require('..')).sort();
  const script = `import('./index.mjs').then((all) => console.log(JSON.stringify(Object.keys(all))))`;
  const imported = JSON.parse(await succeed(process.execPath, ['-e', script], { cwd: ROOT }));
  expect(imported.sort()).toEqual(names);

  const file = path.join(ROOT, 'index.d.ts');
  const program = ts.createProgram([file], {});
  const checker = program.getTypeChecker();
  const exports = checker.getExportsOfModule(
    checker.getSymbolAtLocation(program.getSourceFile(file)),
  );
  const meant = (symbol) =>
    symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
  const values = exports.filter((symbol) => meant(symbol).flags & ts.SymbolFlags.Value);
  expect(values.map((symbol) => symbol.name).sort()).toEqual(names);
});

describe('a platform without a binary', () => {
  test('finds it in the package for the platform', async () => {
    const project = installed();
    const name = `baileys-guard-${platformName()}`;
    const folder = path.join(project.folder, 'node_modules', name);
    fs.mkdirSync(folder);
    fs.renameSync(project.binary, path.join(folder, BINARY));
    fs.writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ name, main: BINARY }));
    expect(await project.require()).toEqual({});
  });

  test('finds it where the generated loader is mistaken about the C library', async () => {
    const project = installed();
    fs.writeFileSync(path.join(project.guard, 'binding.js'), `throw new Error('no musl binary')`);
    expect(await project.require()).toEqual({});
  });

  test('is told what is missing and how to build it', async () => {
    const project = installed();
    fs.rmSync(project.binary);
    const { name, code, message, platform } = await project.require();
    expect({ name, code, platform }).toEqual({
      name: 'GuardError',
      code: 'ERR_NATIVE_BINDING_MISSING',
      platform: platformName(),
    });
    expect(message).toContain(`no native binary for this platform (${platformName()}, Node `);
    expect(message).toContain(process.versions.node);
    expect(message).toContain('https://rustup.rs');
    expect(message).toContain(JSON.stringify(path.join(project.guard, 'scripts', 'install.js')));
    expect(message).not.toContain('npm has a bug');
  });

  test('is told the package that holds it, where one was published', async () => {
    const project = installed();
    fs.rmSync(project.binary);
    const manifest = path.join(project.guard, 'package.json');
    const { version, ...rest } = JSON.parse(fs.readFileSync(manifest));
    const name = `baileys-guard-${platformName()}`;
    const optionalDependencies = { [name]: version };
    fs.writeFileSync(manifest, JSON.stringify({ version, ...rest, optionalDependencies }));
    const { message } = await project.require();
    expect(message).toContain(`npm install --include=optional ${name}@${version}`);
  });

  test('is told when there is one that does not load', async () => {
    const project = installed();
    fs.writeFileSync(project.binary, 'not a library');
    const { code, message } = await project.require();
    expect(code).toBe('ERR_NATIVE_BINDING_MISSING');
    expect(message).toMatch(/^baileys-guard cannot load its native binary: .*\.node/);
  });

  test('is told when it is of another version', async () => {
    const project = installed();
    const manifest = path.join(project.guard, 'package.json');
    const changed = { ...JSON.parse(fs.readFileSync(manifest)), version: '99.0.0' };
    fs.writeFileSync(manifest, JSON.stringify(changed));
    const { code, message } = await project.require();
    expect(code).toBe('ERR_NATIVE_BINDING_MISSING');
    expect(message).toMatch(/^baileys-guard 99\.0\.0 found a native binary of version \d/);
  });
});

describe('the install script', () => {
  test('does nothing where the binary is', async () => {
    const project = new Project();
    await project.install(tarball, '--foreground-scripts');
    expect(project.cargoWasCalled).toBe(false);
    expect(await project.require()).toEqual({});
  });

  test('builds it where it is not', async () => {
    const project = installed();
    const prebuilt = path.join(project.folder, 'built.node');
    fs.renameSync(project.binary, prebuilt);
    // --target-dir is the last argument; what cargo would have made there is the real binary.
    project.cargo(
      `[ "$1" = build ] || exit 0
       for folder; do :; done
       mkdir -p "$folder/release" && cp "${prebuilt}" "$folder/release/libbaileys_guard.so"`,
    );
    const { code, stdout } = await project.node('node_modules/baileys-guard/scripts/install.js');
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining('building it') });
    expect(fs.readFileSync(project.cargoCalls, 'utf8')).toMatch(
      /^build --release --lib --locked --target-dir /m,
    );
    expect(await project.require()).toEqual({});
  });

  test('explains itself, and lets the rest of an install pass, without Rust', async () => {
    const project = installed();
    fs.rmSync(project.binary);
    const { code, stderr } = await project.node('node_modules/baileys-guard/scripts/install.js');
    expect(code).toBe(0);
    expect(stderr).toMatch(/no native binary for .* could be built: cargo is not to be found/);
  });

  test('fails in a checkout that does not build', async () => {
    const project = installed();
    fs.rmSync(project.binary);
    fs.mkdirSync(path.join(project.guard, '__test__'));
    const { code } = await project.node('node_modules/baileys-guard/scripts/install.js');
    expect(code).toBe(1);
  });
});

describe('platformName', () => {
  test('is the one that napi gives this binary', () => {
    expect(fs.existsSync(path.join(ROOT, BINARY))).toBe(true);
  });

  test.each([
    ['gnu', { glibcVersionRuntime: '2.36' }],
    ['musl', {}],
  ])('asks the running Node for its C library: %s', (expected, header) => {
    const report = { getReport: () => ({ header }) };
    expect(platformName({ platform: 'linux', arch: 'x64', report })).toBe(`linux-x64-${expected}`);
  });
});
