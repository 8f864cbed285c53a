'use strict';

/** A page with the pages of several servers side by side, to watch a takeover. */

const { once } = require('node:events');
const http = require('node:http');

const page = (servers) => `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>Two servers, one WhatsApp number</title>
    <style>
      :root { color-scheme: light dark; }
      body { margin: 0; display: grid; height: 100vh;
        grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); }
      iframe { width: 100%; height: 100%; min-height: 60vh; border: 0; border-right: 1px solid gray; }
    </style>
  </head>
  <body>
    ${servers.map(({ name, url }) => `<iframe title="${name}" src="${url}/"></iframe>`).join('\n    ')}
  </body>
</html>
`;

/** @returns {Promise<{ url: string, close: () => void }>} */
async function showSideBySide(servers) {
  const server = http.createServer((request, response) => {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(page(servers));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${server.address().port}/`, close };
}

module.exports = { showSideBySide };
