'use strict';

// Shows what /live tells, and sends what is clicked to the routes of the API.

const list = document.getElementById('agents');
const template = document.getElementById('agent');
const message = document.getElementById('message');
const cards = new Map();

const TITLES = {
  connected: 'connected',
  connecting: 'connecting',
  initializing: 'starting',
  qr_pending: 'scan the QR code',
  disconnected: 'disconnected',
  conflict: 'in use by another login',
  error: 'error',
};

function say(text, failed = false) {
  message.textContent = text;
  message.classList.toggle('failed', failed);
}

const seconds = (ms) => (ms < 10_000 ? (ms / 1000).toFixed(1) : Math.round(ms / 1000)) + ' s';

async function post(path, body = {}) {
  const response = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (response.ok) return answer;
  const wait = response.headers.get('retry-after');
  const owner = answer.owner ? ` (${answer.owner.instanceId})` : '';
  throw new Error(answer.error + owner + (wait ? ` Retry in ${wait} s.` : ''));
}

const actions = {
  connect: (agentId) => post(`api/agents/${encodeURIComponent(agentId)}/init-whatsapp`),
  disconnect: (agentId) => post(`api/agents/${encodeURIComponent(agentId)}/disconnect`),
  scan: (agentId) => post(`demo/scan/${encodeURIComponent(agentId)}`),
};

async function act(name, agentId) {
  say(`${agentId}: ${name} …`);
  try {
    const { status } = await actions[name](agentId);
    say(`${agentId}: ${TITLES[status] ?? status ?? 'done'}`);
  } catch (error) {
    say(`${agentId}: ${error.message}`, true);
  }
}

function newCard(agentId) {
  const card = template.content.firstElementChild.cloneNode(true);
  card.querySelector('h2').textContent = agentId;
  card.addEventListener('click', ({ target }) => {
    const does = target.dataset?.does;
    if (does && target.ariaDisabled !== 'true') act(does, agentId);
  });
  cards.set(agentId, card);
  return card;
}

function fill(card, is, text) {
  const cell = card.querySelector(`[data-is=${is}]`);
  cell.textContent = text ?? '';
  cell.parentElement.hidden = text === undefined || text === null;
}

function show(agent, demo) {
  const card = cards.get(agent.agentId) ?? newCard(agent.agentId);
  const { status, owner, mine } = agent;
  // For those who do not see the card; what one has asked for oneself is told by the answer.
  if (card.dataset.status && card.dataset.status !== status) {
    say(`${agent.agentId}: ${TITLES[status] ?? status}`);
  }
  card.dataset.status = status;
  card.classList.toggle('mine', mine);
  card.querySelector('strong').textContent = TITLES[status] ?? status;
  fill(card, 'owner', owner ? `${owner.instanceId}${mine ? ' (this server)' : ''}` : 'nobody');
  fill(card, 'heartbeat', owner && `${seconds(owner.heartbeatAgeMs)} ago`);
  fill(card, 'phone', agent.phoneNumber && `+${agent.phoneNumber}`);
  fill(card, 'attempts', agent.attempts || null);
  fill(card, 'next', agent.nextTryInMs === null ? null : `in ${seconds(agent.nextTryInMs)}`);
  fill(card, 'reason', agent.reason);

  const qr = card.querySelector('.qr');
  qr.hidden = !agent.qr;
  if (agent.qr && qr.dataset.of !== agent.qr) {
    qr.dataset.of = agent.qr;
    qr.alt = `QR code to link ${agent.agentId}`;
    qr.src = `qr-codes/${encodeURIComponent(agent.agentId)}.svg?${agent.qr}`;
  }
  const runs = mine && status !== 'disconnected' && status !== 'error';
  // Not `disabled`, which would take the focus away from whoever has just pressed it.
  const useless = (does, is) =>
    (card.querySelector(`[data-does=${does}]`).ariaDisabled = String(is));
  useless('connect', runs);
  useless('disconnect', Boolean(owner) && !mine);
  card.querySelector('[data-does=scan]').hidden = !(demo && agent.qr);
  return card;
}

function render({ server, agents, limits, demo }) {
  document.getElementById('server').textContent = `${server.name}, pid ${server.pid}`;
  document.getElementById('kill').hidden = !demo;
  document.getElementById('limits').textContent =
    `Limits: ${limits.connects} connects in 15 minutes, ${limits.messages} messages a minute and ` +
    `client; ${limits.agentMessages} messages a minute and agent.`;
  document.getElementById('empty').hidden = agents.length > 0;
  const shown = new Set(agents.map(({ agentId }) => agentId));
  for (const [agentId, card] of cards) {
    if (shown.has(agentId)) continue;
    card.remove();
    cards.delete(agentId);
  }
  agents.forEach((agent, index) => {
    const card = show(agent, demo);
    // Moved only when it is out of place: moving would take the focus away.
    if (list.children[index] !== card) list.insertBefore(card, list.children[index] ?? null);
  });
}

document.getElementById('add').addEventListener('submit', (event) => {
  event.preventDefault();
  act('connect', new FormData(event.target).get('agentId').trim());
  event.target.reset();
});

document.getElementById('kill').addEventListener('click', () => {
  post('demo/kill').catch(() => say('this server is dead', true));
});

const live = new EventSource('live');
live.onmessage = ({ data }) => render(JSON.parse(data));
live.onopen = () => say('');
live.onerror = () => say('no connection to this server; trying again', true);
