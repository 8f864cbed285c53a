'use strict';

// What can be checked of the documentation: every public name has a heading, examples are
// JavaScript, links lead somewhere.

const fs = require('node:fs');
const path = require('node:path');
const { Script } = require('node:vm');

const ROOT = path.join(__dirname, '..');
const pages = [
  ...['.', 'docs', 'examples/backend', 'examples/whatsapp-endpoint']
    .map((folder) => path.join(ROOT, folder))
    .flatMap((folder) => fs.readdirSync(folder).map((name) => path.join(folder, name)))
    .filter((file) => file.endsWith('.md')),
].map((file) => [path.relative(ROOT, file), fs.readFileSync(file, 'utf8')]);

/** Without what only looks like Markdown. */
const prose = (text) => text.replace(/^```[^]*?^```/gm, '').replace(/`[^`\n]*`/g, '');

/** As GitHub makes them of headings. */
function anchors(text) {
  const headings = text.replace(/^```[^]*?^```/gm, '').matchAll(/^#+ (.*)$/gm);
  return Array.from(headings, ([, title]) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replace(/\s/g, '-'),
  );
}

test('docs/api.md has a heading for every public name', () => {
  const text = fs.readFileSync(path.join(ROOT, 'docs', 'api.md'), 'utf8');
  const headings = Array.from(text.matchAll(/^### (?:Class: |`)(\w+)/gm), ([, name]) => name);
  const names = Object.keys(require('..'));
  expect(names.filter((name) => !headings.includes(name))).toEqual([]);
});

test('docs/reconnect.md has every reason of an end', () => {
  const read = (...file) => fs.readFileSync(path.join(ROOT, ...file), 'utf8');
  const [, union] = /^export type DisconnectReason =([^;]*);/m.exec(read('index.d.ts'));
  const reasons = Array.from(union.matchAll(/'(\w+)'/g), ([, reason]) => reason);
  expect(reasons).toContain('loggedOut');
  const text = read('docs', 'reconnect.md');
  expect(reasons.filter((reason) => !text.includes(`\`${reason}\``))).toEqual([]);
});

test('docs/proof.md has a row for each mutant, with the test that catches it', () => {
  const page = fs.readFileSync(path.join(ROOT, 'docs', 'proof.md'), 'utf8');
  const rows = page.split('\n').map((line) => line.split('|').map((cell) => cell.trim()));
  const told = rows.filter((cells) => cells.length === 6 && cells[2].startsWith('`src/'));
  const listed = require('../mutants/list').map(({ name, file, test: { cargo, jest }, short }) => [
    name,
    `\`${file}\``,
    expect.stringContaining(`: \`${(cargo ?? jest)[1]}\``),
    short ? 'yes' : '',
  ]);
  expect(told.map((cells) => cells.slice(1, 5))).toEqual(listed);
});

test('docs/benchmarks.md has one place for the table of each benchmark', () => {
  const { NAMES, PAGE, withTable } = require('../bench/page');
  const text = fs.readFileSync(PAGE, 'utf8');
  const tables = /(?:^\|.*\n)+/gm;
  const replaced = NAMES.reduce((page, name) => withTable(page, name, `| ${name} |\n`), text);
  expect(replaced.match(tables).sort()).toEqual(NAMES.map((name) => `| ${name} |\n`).sort());
  expect(replaced.replace(tables, '')).toBe(text.replace(tables, ''));
  expect(() => withTable(text, 'nothing', '')).toThrow('no table of nothing');
});

describe.each(pages)('%s', (file, text) => {
  const blocks = Array.from(text.matchAll(/^```js\n([^]*?)^```/gm), ([, code]) => code);
  if (blocks.length > 0) {
    test('its examples are JavaScript', () => {
      for (const code of blocks) {
        // A value is shown as one, without a statement around it.
        const script = /^[{[]/.test(code) ? `(${code}\n)` : `async () => {${code}\n}`;
        expect(() => new Script(script)).not.toThrow();
      }
    });
  }

  const links = Array.from(
    prose(text).matchAll(/\]\((?!https?:)([^)\s#]*)(?:#([^)\s]*))?\)/g),
    ([, target, anchor]) => [target, anchor],
  );
  if (links.length > 0) {
    test('its links lead somewhere', () => {
      for (const [target, anchor] of links) {
        const to = target ? path.join(ROOT, path.dirname(file), target) : path.join(ROOT, file);
        expect({ target, exists: fs.existsSync(to) }).toEqual({ target, exists: true });
        if (anchor) expect(anchors(fs.readFileSync(to, 'utf8'))).toContain(anchor);
      }
    });
  }
});
