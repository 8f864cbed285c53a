'use strict';

// The page of the reference backend: what it is told, what it shows, and what it may do.

/* global document, getComputedStyle -- in what runs in the page */

const { randomBytes } = require('node:crypto');

const { Server } = require('../examples/demo/server');
const { showSideBySide } = require('../examples/demo/side-by-side');
const { spawnEndpoint } = require('../examples/whatsapp-endpoint');
const { describeWithChromium, startChromium } = require('./support/chromium');
const { defer } = require('./support/cleanup');
const { freshDatabase } = require('./support/databases');

let endpoint;
let server;
let env;

function start(name, more = {}) {
  const started = new Server(name, { ...env, ...more });
  defer(() => started.end('SIGKILL'));
  return started;
}

beforeAll(async () => {
  const database = await freshDatabase('sqlite', { migrated: false });
  endpoint = await spawnEndpoint();
  defer(() => endpoint.close());
  env = {
    DATABASE_URL: database.url,
    CREDENTIALS_ENCRYPTION_KEY: randomBytes(32).toString('hex'),
    WA_WEBSOCKET_URL: endpoint.url,
    WHATSAPP_INIT_LIMIT: '1000',
    DEMO_CONTROL_URL: endpoint.controlUrl,
  };
  server = start('server-A');
  await server.ready;
});

/** Reads server-sent events until one matches. */
async function live(url, matches) {
  const ended = new AbortController();
  const response = await fetch(`${url}/live`, { signal: ended.signal });
  expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
  let text = '';
  try {
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const events = text.split('\n\n');
      text = events.pop();
      for (const event of events) {
        if (!event.startsWith('data: ')) continue;
        const state = JSON.parse(event.slice('data: '.length));
        if (matches(state)) return state;
      }
    }
  } finally {
    ended.abort();
  }
  throw new Error('the stream ended');
}

const agentIn = (state, agentId) => state.agents.find((agent) => agent.agentId === agentId);

describe('the stream', () => {
  test('tells of agents, owners and times, and no QR code itself', async () => {
    await server.call('streamed', 'init-whatsapp', {});
    const state = await live(server.url, (seen) => agentIn(seen, 'streamed')?.qr);
    expect(state).toMatchObject({
      server: { name: 'server-A', pid: server.pid },
      limits: { connects: 1000, messages: 30, agentMessages: 60 },
      demo: true,
    });
    const agent = agentIn(state, 'streamed');
    expect(agent).toMatchObject({
      status: 'qr_pending',
      mine: true,
      owner: { instanceId: 'server-A' },
    });
    expect(agent.qrCode).toBeUndefined();
    expect(agent.owner.heartbeatAgeMs).toBeLessThan(60_000);
    const picture = await fetch(`${server.url}/qr-codes/streamed.svg`);
    expect(picture.headers.get('content-type')).toMatch('image/svg+xml');
    expect(picture.headers.get('cache-control')).toBe('no-store');
    expect(await picture.text()).toMatch(/^<svg /);
    expect((await fetch(`${server.url}/qr-codes/nobody.svg`)).status).toBe(404);
    await server.call('streamed', 'disconnect', {});
  });

  test('does not keep a server from stopping', async () => {
    const other = start('server-to-stop');
    await other.ready;
    const open = live(other.url, () => false).catch((error) => error);
    await live(other.url, () => true);
    expect(await other.end('SIGTERM')).toBe(0);
    expect((await open).message).toMatch(/ended|terminated/);
  });
});

test('other sites, and other names for this one, are not answered', async () => {
  const post = (path, headers) => fetch(`${server.url}${path}`, { method: 'POST', headers });
  const foreign = { 'sec-fetch-site': 'cross-site' };
  for (const path of ['/demo/kill', '/api/agents/a/disconnect', '/api/agents/a/init-whatsapp']) {
    expect((await post(path, foreign)).status).toBe(403);
  }
  const { port } = new URL(server.url);
  expect((await fetch(`http://localhost:${port}/demo/kill`, { method: 'POST' })).status).toBe(403);
  expect((await fetch(`${server.url}/health`)).headers.get('x-content-type-options')).toBe(
    'nosniff',
  );
});

test('controls of the demo exist in the demo only, on this machine only', async () => {
  const plain = start('server-plain', { DEMO_CONTROL_URL: '' });
  await plain.ready;
  for (const route of ['kill', 'scan/agent']) {
    expect((await fetch(`${plain.url}/demo/${route}`, { method: 'POST' })).status).toBe(404);
  }
  const { headers } = await fetch(`${plain.url}/`);
  expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
  expect(await (await fetch(`${plain.url}/health`)).json()).toMatchObject({ ok: true });
  expect(await plain.end('SIGTERM')).toBe(0);
});

describeWithChromium('in Chromium', () => {
  let browser;

  beforeAll(async () => {
    browser = await startChromium();
  });

  /** A page that fails the test when it logs an error, as one of its policy. */
  async function open(url, { width = 1000, scheme = 'light' } = {}) {
    const page = await browser.newPage();
    const errors = [];
    page.on('console', (line) => line.type() === 'error' && errors.push(line.text()));
    page.on('pageerror', (error) => errors.push(error.message));
    await page.setViewport({ width, height: 900 });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    await page.goto(url);
    return { page, errors };
  }

  const shows = (page, text) =>
    page.waitForFunction((what) => document.body.innerText.includes(what), {}, text);

  /** A click by coordinates may miss while something comes in above. */
  async function press(where, button) {
    const shown = await where.waitForSelector(`${button}:not([hidden])`);
    await shown.evaluate((element) => element.click());
  }

  /** Has the phone scan the QR code. */
  async function scan(frame, card) {
    const qr = await card.waitForSelector('.qr:not([hidden])');
    await frame.waitForFunction((image) => image.complete && image.naturalWidth > 0, {}, qr);
    await press(card, '[data-does=scan]');
  }

  test.each([
    ['light', 1000],
    ['dark', 360],
  ])('an agent is connected, scanned and disconnected (%s, %i pixels)', async (scheme, width) => {
    const agentId = `in-${scheme}`;
    const { page, errors } = await open(server.url, { width, scheme });
    await page.type('#agent-id', agentId);
    await page.keyboard.press('Enter');
    const card = await page.waitForSelector(`::-p-xpath(//li[h2[text()="${agentId}"]])`);
    await scan(page, card);
    await shows(page, 'connected');
    await page.waitForFunction((one) => one.dataset.status === 'connected', {}, card);
    await card.waitForSelector('.qr[hidden]');

    // Nothing is wider than the window, and text stands out from its ground.
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(
      width,
    );
    const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    expect(ground).toBe(scheme === 'dark' ? 'rgb(20, 24, 28)' : 'rgb(244, 246, 248)');

    // By keyboard alone.
    await (await card.$('[data-does=disconnect]')).focus();
    await page.keyboard.press('Enter');
    await page.waitForFunction((one) => one.dataset.status === 'disconnected', {}, card);
    expect(errors).toEqual([]);
    await page.close();
  });

  test('two servers side by side: one is killed, and the other has its agent', async () => {
    // A database of their own: nobody else is there to take over.
    const { url } = await freshDatabase('sqlite', { migrated: false });
    const [first, second] = ['server-1', 'server-2'].map((name) =>
      start(name, { DATABASE_URL: url }),
    );
    await Promise.all([first.ready, second.ready]);
    const both = await showSideBySide([
      { name: 'server-1', url: first.url },
      { name: 'server-2', url: second.url },
    ]);
    defer(both.close);
    const { page } = await open(both.url);
    const frames = await Promise.all(
      (await page.$$('iframe')).map((element) => element.contentFrame()),
    );
    await frames[0].waitForSelector('#agent-id');
    await frames[0].type('#agent-id', 'watched');
    await press(frames[0], '#add button');
    const xpath = '::-p-xpath(//li[h2[text()="watched"]])';
    const card = await frames[0].waitForSelector(xpath);
    await scan(frames[0], card);
    await frames[0].waitForFunction((one) => one.dataset.status === 'connected', {}, card);
    await press(frames[0], '#kill');
    const other = await frames[1].waitForSelector(xpath);
    await frames[1].waitForFunction(
      (one) => one.classList.contains('mine') && one.dataset.status === 'connected',
      {},
      other,
    );
    await frames[0].waitForFunction(() => document.body.innerText.includes('no connection'));
    expect(await first.exited).toBe('SIGKILL');
    await page.close();
  });
});
