'use strict';

const js = require('@eslint/js');
const globals = require('globals');

const unused = { argsIgnorePattern: '^_', ignoreRestSiblings: true };

module.exports = [
  { ignores: ['binding.js', 'target/', 'npm/', 'coverage/', '**/*.ts', '**/*.mts'] },
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2023, sourceType: 'commonjs', globals: globals.node },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      strict: ['error', 'global'],
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-unused-vars': ['error', unused],
      'no-var': 'error',
      'prefer-const': 'error',
      'object-shorthand': 'error',
      'no-implicit-globals': 'error',
      'no-throw-literal': 'error',
      'no-unneeded-ternary': 'error',
    },
  },
  {
    files: ['**/*.mjs', '__test__/consumers/esm/*.js'],
    languageOptions: { sourceType: 'module' },
    rules: { strict: 'off' },
  },
  {
    files: ['__test__/**/*.test.js', '__test__/support/*.js'],
    languageOptions: { globals: globals.jest },
  },
  {
    files: ['examples/**/public/**/*.js'],
    languageOptions: { globals: globals.browser },
  },
];
