'use strict';

// A table for people: columns and a line under their names, no boxes, no colours.

const { printable } = require('./output');

const NOTHING = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};

/** @returns {string[]} lines */
function table(head, rows) {
  const Table = require('cli-table3');
  const style = { head: [], border: [], 'padding-left': 0, 'padding-right': 0 };
  const made = new Table({ head, chars: NOTHING, style });
  const cell = (value) => (value === null || value === undefined ? '-' : printable(value));
  made.push(...rows.map((row) => row.map(cell)));
  return made
    .toString()
    .split('\n')
    .map((line) => line.trimEnd());
}

module.exports = { table };
