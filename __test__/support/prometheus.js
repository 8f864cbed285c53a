'use strict';

// A strict reader of Prometheus' text format 0.0.4: it refuses what a server would only tolerate.

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const HELP = new RegExp(`^# HELP (${NAME}) ((?:[^\\\\]|\\\\[\\\\n])*)$`);
const TYPE = new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram|summary|untyped)$`);
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (\\+Inf|-Inf|NaN|-?[0-9][0-9.e+-]*)$`);
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,(?=.)|$)/y;
const ESCAPES = { '\\n': '\n', '\\\\': '\\', '\\"': '"' };

class Family {
  samples = new Map(); // series -> value

  constructor(name, help) {
    this.name = name;
    this.help = help;
  }
}

function labelsOf(text, line) {
  const labels = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < text.length) {
    const match = LABEL.exec(text);
    if (!match) throw new Error(`malformed labels: ${line}`);
    const [, name, value] = match;
    if (name in labels) throw new Error(`a label twice: ${line}`);
    labels[name] = value.replace(/\\[\\n"]/g, (escaped) => ESCAPES[escaped]);
  }
  return labels;
}

/** `name{a="1",b="2"}` with labels in order, so that the same series reads the same. */
function series(name, labels) {
  const pairs = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return pairs.length === 0
    ? name
    : `${name}{${pairs.map(([label, value]) => `${label}=${JSON.stringify(value)}`).join(',')}}`;
}

/**
 * @returns {Map<string, { name, help, type, samples: Map<string, number> }>} by name
 * @throws where the text breaks a rule
 */
function parse(text) {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const families = new Map();
  let current;
  for (const line of text.slice(0, -1).split('\n')) {
    if (line === '') continue; // prom-client's own way to set families apart
    const help = HELP.exec(line);
    const type = TYPE.exec(line);
    if (help) {
      if (families.has(help[1])) throw new Error(`a family twice: ${line}`);
      current = new Family(help[1], help[2]);
      families.set(current.name, current);
    } else if (type) {
      if (current?.name !== type[1] || current.type) throw new Error(`TYPE out of place: ${line}`);
      current.type = type[2];
    } else {
      addSample(current, line);
    }
  }
  for (const family of families.values()) checkFamily(family);
  return families;
}

function addSample(family, line) {
  const sample = SAMPLE.exec(line);
  if (!sample) throw new Error(`malformed line: ${line}`);
  const [, name, labelText = '', valueText] = sample;
  const suffix = family?.type && name.startsWith(family.name) && name.slice(family.name.length);
  const allowed = family?.type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
  if (!allowed.includes(suffix)) throw new Error(`a sample outside its family: ${line}`);
  const key = series(name, labelsOf(labelText, line));
  if (family.samples.has(key)) throw new Error(`a series twice: ${line}`);
  const value = Number(valueText.replace('Inf', 'Infinity'));
  if (Number.isNaN(value) && valueText !== 'NaN') throw new Error(`no number: ${line}`);
  family.samples.set(key, value);
}

function checkFamily({ name, help, type, samples }) {
  if (!help) throw new Error(`${name} has no help`);
  if (!type) throw new Error(`${name} has no type`);
  if ((type === 'counter') !== name.endsWith('_total')) throw new Error(`${name} is a ${type}`);
  if (/_(ms|milliseconds|kb|mb|kilobytes)(_|$)/.test(name)) throw new Error(`${name}: base units`);
  for (const [key, value] of samples) {
    if (type !== 'gauge' && !(value >= 0)) throw new Error(`${key} is ${value}`);
  }
  if (type === 'histogram') checkHistograms(name, samples);
}

function checkHistograms(name, samples) {
  const groups = new Map(); // labels but `le` -> [[le, value]]
  for (const [key, value] of samples) {
    if (!key.startsWith(`${name}_bucket`)) continue;
    const le = /le="([^"]*)"/.exec(key);
    if (!le) throw new Error(`a bucket without le: ${key}`);
    const rest = key
      .replace(/,?le="[^"]*"/, '')
      .replace('{}', '')
      .replace('{,', '{');
    const group = rest.replace('_bucket', '');
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push([le[1], value]);
  }
  for (const [group, buckets] of groups) {
    const bounds = buckets.map(([le]) => Number(le.replace('Inf', 'Infinity')));
    const counts = buckets.map(([, value]) => value);
    const grows = (list) => list.every((value, index) => index === 0 || value >= list[index - 1]);
    if (!grows(bounds) || !grows(counts)) throw new Error(`${group}: buckets do not grow`);
    if (bounds.at(-1) !== Infinity) throw new Error(`${group}: no bucket +Inf`);
    const count = samples.get(group.replace(name, `${name}_count`));
    if (count !== counts.at(-1)) throw new Error(`${group}: count ${count}, not ${counts.at(-1)}`);
    if (!samples.has(group.replace(name, `${name}_sum`))) throw new Error(`${group}: no sum`);
  }
}

/** All series and their values, as one plain object. */
function valuesOf(text) {
  const all = [...parse(text).values()].flatMap(({ samples }) => [...samples]);
  return Object.fromEntries(all);
}

module.exports = { parse, valuesOf };
