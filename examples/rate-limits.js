'use strict';

// Only rate limits: an Express app that answers two requests a minute from one address.
//
//   node examples/rate-limits.js

const express = require('express');
const { rateLimit } = require('baileys-guard');

const app = express();
app.use(
  rateLimit({
    windowMs: 60_000,
    limit: 2,
    algorithm: 'sliding-window',
    standardHeaders: 'draft-8',
    legacyHeaders: false,
    message: { error: 'Too many requests. Please try again later.' },
  }),
);
app.get('/', (request, response) => response.json({ remaining: request.rateLimit.remaining }));

async function main() {
  const server = app.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address();
  for (let n = 1; n <= 3; n++) {
    const response = await fetch(`http://127.0.0.1:${port}/`);
    console.log(
      n,
      response.status,
      await response.json(),
      response.headers.get('retry-after') ?? '',
    );
  }
  server.closeAllConnections();
  server.close();
}

main();
