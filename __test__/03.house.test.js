'use strict';

// What ARCHITECTURE.md says the sources are never to do, looked for in the sources.

const fs = require('node:fs');
const path = require('node:path');

const ROOT = path.join(__dirname, '..');

function sources(folder, extension) {
  return fs
    .readdirSync(path.join(ROOT, folder), { recursive: true })
    .map((name) => `${folder}/${name.replaceAll(path.sep, '/')}`)
    .filter((name) => name.endsWith(extension));
}

/** `file:line: text` of every line that matches, comments and tests left out. */
function occurrences(files, pattern) {
  return files.flatMap((file) => {
    const [code] = fs.readFileSync(path.join(ROOT, file), 'utf8').split(/^#\[cfg\(test\)\]\nmod /m);
    return code
      .split('\n')
      .map((line, index) => ({ line: line.replace(/\/\/.*$/, ''), at: `${file}:${index + 1}` }))
      .filter(({ line }) => pattern.test(line))
      .map(({ line, at }) => `${at}: ${line.trim()}`);
  });
}

const rust = sources('src', '.rs');
const outside = (room) => rust.filter((file) => !file.startsWith(`src/${room}`));

test('the search finds what it looks for', () => {
  expect(occurrences(rust, /\bnapi\b/).length).toBeGreaterThan(0);
  expect(occurrences(rust, /\bSELECT\b/).length).toBeGreaterThan(0);
});

test('only the binding names napi', () => {
  expect(occurrences(outside('binding/'), /\bnapi(_derive)?\b/)).toEqual([]);
});

test('only the store speaks SQL', () => {
  const sql = /\b(SELECT|INSERT INTO|UPDATE \w+|DELETE FROM|CREATE TABLE|ALTER TABLE)\b/;
  expect(occurrences(outside('store/'), sql)).toEqual([]);
  expect(occurrences(outside('store/'), /\bsqlx\b/)).toEqual([]);
});

test('domain modules are given the clock and randomness', () => {
  const domain = rust.filter((file) =>
    /^src\/(ownership|rate_limit|reconnect)\/(?!.*tests)/.test(file),
  );
  expect(domain.length).toBeGreaterThan(0);
  const own = /\b(Instant|SystemTime|OffsetDateTime)::now|\bgetrandom::|\brand::/;
  expect(occurrences(domain, own)).toEqual([]);
});

test('no static holds state', () => {
  // A jest worker has one native image for all its files: what one left there, another would find.
  const statics = occurrences(rust, /^\s*(pub(\(.*\))? )?static |thread_local!/);
  // The start of the clock on systems without one that counts sleep; it is the same for all.
  expect(statics.filter((found) => !found.startsWith('src/clock.rs:'))).toEqual([]);
});

test('unsafe code is allowed in two files', () => {
  const allowing = occurrences(rust, /allow\(unsafe_code\)/).map((found) => found.split(':')[0]);
  expect(allowing).toEqual(['src/binding/fast_call.rs', 'src/binding/outcome.rs']);
  expect(occurrences(['src/lib.rs'], /^#!\[deny\(unsafe_code\)\]/)).toHaveLength(1);
});

test('the wall clock is looked at by diagnosis only', () => {
  const asked = occurrences(rust, /\b(SystemTime|OffsetDateTime|Utc)::now/);
  expect(asked.filter((found) => !found.startsWith('src/store/diagnosis.rs:'))).toEqual([]);
});

test('ARCHITECTURE.md has a reason for each dependency', () => {
  const read = (file) => fs.readFileSync(path.join(ROOT, file), 'utf8');
  const tables = read('Cargo.toml').split(/^\[/m);
  const crates = tables.filter((table) => /^[^\]]*dependencies\]/.test(table)).join('');
  const all = [
    ...Array.from(crates.matchAll(/^([\w-]+) = /gm), ([, name]) => name),
    ...Object.keys(JSON.parse(read('package.json')).dependencies),
  ];
  expect(all).toContain('sqlx');
  expect(all).toContain('commander');
  const listed = read('ARCHITECTURE.md')
    .match(/^\|[^|]*\|/gm)
    .flatMap((cell) => cell.match(/[\w-]+/g));
  expect(all.filter((name) => !listed.includes(name))).toEqual([]);
});

test('docs/errors.md has one heading for each code', () => {
  // ERR_ERL_… are express-rate-limit's own codes, in its own documentation.
  const code = /(?<=['"])ERR_(?!ERL_)[A-Z_]+(?=['"])/g;
  const files = [...rust, ...sources('lib', '.js')];
  const used = files.flatMap(
    (file) => fs.readFileSync(path.join(ROOT, file), 'utf8').match(code) ?? [],
  );
  const text = fs.readFileSync(path.join(ROOT, 'docs', 'errors.md'), 'utf8');
  const headings = [...text.matchAll(/^#+ `?(ERR_[A-Z_]+)`?$/gm)].map((match) => match[1]);
  expect(headings).toEqual([...new Set(used)].sort());
});

test('every documented code is provoked by a test', () => {
  const text = fs.readFileSync(path.join(ROOT, 'docs', 'errors.md'), 'utf8');
  const codes = [...text.matchAll(/^#+ `?(ERR_[A-Z_]+)`?$/gm)].map((match) => match[1]);
  const tests = fs
    .readdirSync(__dirname)
    .filter((file) => file.endsWith('.test.js'))
    .map((file) => fs.readFileSync(path.join(__dirname, file), 'utf8'))
    .join();
  const bugs = ['ERR_INTERNAL'];
  const missing = codes.filter((code) => !bugs.includes(code) && !tests.includes(`'${code}'`));
  expect(missing).toEqual([]);
});
