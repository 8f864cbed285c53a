'use strict';

// npm run screenshots: the pictures in docs/screenshots, of the reference backend's page.

/* global document -- in what runs in the page */

const { randomBytes } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { cleanUp, defer } = require('../__test__/support/cleanup');
const { findChromium, startChromium } = require('../__test__/support/chromium');
const { Server } = require('../examples/demo/server');
const { spawnEndpoint } = require('../examples/whatsapp-endpoint');

const FOLDER = path.join(__dirname, '..', 'docs', 'screenshots');

async function main() {
  if (!findChromium()) throw new Error('there is no Chromium on this system');
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-guard-screenshots-'));
  defer(() => fs.rmSync(folder, { recursive: true, force: true }));
  const endpoint = await spawnEndpoint();
  defer(() => endpoint.close());
  const start = async (name) => {
    const server = new Server(name, {
      DATABASE_URL: `sqlite:${path.join(folder, 'guard.db')}`,
      CREDENTIALS_ENCRYPTION_KEY: randomBytes(32).toString('hex'),
      WA_WEBSOCKET_URL: endpoint.url,
    });
    defer(() => server.end('SIGTERM'));
    await server.ready;
    return server;
  };
  const a = await start('server-A');
  const b = await start('server-B');
  for (const [server, agentId] of [
    [a, 'agent-1'],
    [b, 'agent-2'],
  ]) {
    await server.call(agentId, 'init-whatsapp', {});
    const { qrCode } = await server.statusWhere(agentId, (status) => status.qrCode, 'QR code');
    await endpoint.scan(qrCode);
    await server.connected(agentId);
  }
  await a.call('agent-3', 'init-whatsapp', {});
  await a.statusWhere('agent-3', (status) => status.qrCode, 'QR code');

  const browser = await startChromium();
  fs.mkdirSync(FOLDER, { recursive: true });
  for (const [name, width, scheme] of [
    ['page-light', 1000, 'light'],
    ['page-dark-phone', 390, 'dark'],
  ]) {
    const page = await browser.newPage();
    await page.setViewport({ width, height: 640 });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    await page.goto(a.url);
    await page.waitForSelector('.qr:not([hidden])');
    await page.waitForFunction(() => [...document.images].every(({ complete }) => complete));
    await page.screenshot({ path: path.join(FOLDER, `${name}.png`), fullPage: true });
    console.log(`docs/screenshots/${name}.png`);
  }
}

main()
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  })
  .finally(() => cleanUp());
