'use strict';

// Code that is typed against express-rate-limit compiles against this library.

const path = require('node:path');
const ts = require('typescript');

const ROOT = path.join(__dirname, '..');
const USE = path.join(__dirname, 'rate-limit', 'types', 'use.ts');

function problems(library, module) {
  const program = ts.createProgram([USE], {
    strict: true,
    noEmit: true,
    module,
    moduleResolution: ts.ModuleResolutionKind.Node16,
    esModuleInterop: true,
    types: ['node'],
    paths: { 'the-library': [library] },
  });
  return ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
}

test.each([
  ['express-rate-limit', path.join(ROOT, 'node_modules/express-rate-limit/dist/index.d.cts')],
  ['baileys-guard/rate-limit', path.join(ROOT, 'rate-limit.d.ts')],
])('a program that uses every type and option of express-rate-limit: %s', (_name, library) => {
  expect(problems(library, ts.ModuleKind.Node16)).toEqual([]);
});

test('each option of express-rate-limit is an option here, and each export an export', () => {
  const typesOf = (file) => {
    const program = ts.createProgram([file], { types: ['node'] });
    const checker = program.getTypeChecker();
    const exports = checker.getExportsOfModule(
      checker.getSymbolAtLocation(program.getSourceFile(file)),
    );
    const options = exports.find(({ name }) => name === 'Options');
    const type = checker.getDeclaredTypeOfSymbol(options);
    return {
      exports: exports.map(({ name }) => name),
      options: checker.getPropertiesOfType(type).map(({ name }) => name),
    };
  };
  const theirs = typesOf(path.join(ROOT, 'node_modules/express-rate-limit/dist/index.d.cts'));
  const ours = typesOf(path.join(ROOT, 'rate-limit.d.ts'));
  expect(ours.options).toEqual(expect.arrayContaining(theirs.options));
  const internal = ['Client', 'Validations'];
  expect(ours.exports).toEqual(
    expect.arrayContaining(theirs.exports.filter((name) => !internal.includes(name))),
  );
});
