'use strict';

// Prometheus' text format, version 0.0.4.

const escapeHelp = (text) => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
const escapeLabel = (text) => escapeHelp(text).replaceAll('"', '\\"');

function textOf(families, metrics) {
  const lines = [];
  for (const { name, type, help, read } of families) {
    lines.push(`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`);
    for (const { suffix = '', labels, value } of read(metrics)) {
      const pairs = Object.entries(labels).map(
        ([label, text]) => `${label}="${escapeLabel(text)}"`,
      );
      lines.push(`${name}${suffix}${pairs.length > 0 ? `{${pairs.join(',')}}` : ''} ${value}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

module.exports = { textOf };
