'use strict';

// `status`: every agent, who owns it and since when its owner was heard of.

const { describeDatabase } = require('./database-url');
const { counted, duration } = require('./output');
const { table } = require('./table');
const { databaseUrlOf, withGuard } = require('./with-guard');
const { invalidArgument } = require('../errors');

const HEAD = ['AGENT', 'STATUS', 'ACTIVE', 'OWNER', 'HOST', 'PID', 'HEARTBEAT', 'TOKEN'];

function declare(program) {
  return program
    .command('status')
    .summary('lists the agents and who owns them')
    .description('Lists the agents, their state and the live instance that owns each of them.')
    .option('--active', 'only sessions that should run')
    .option('--inactive', 'only sessions that should not')
    .option('--owned', 'only agents with a live owner')
    .option('--free', 'only agents without one')
    .option('--agent <agentId...>', 'only these agents')
    .option('--instance <name>', 'only agents of this instance id or host name')
    .option('--status <status>', 'only sessions in this state, such as connected');
}

async function run({ options, output }) {
  const { active, inactive, owned, free, agent, instance, status } = options;
  if (active && inactive) throw invalidArgument('--inactive', 'contradicts --active');
  if (owned && free) throw invalidArgument('--free', 'contradicts --owned');

  return withGuard({ options, output }, async (guard) => {
    const filter = active || inactive ? { active: Boolean(active) } : {};
    const sessions = (await guard.listSessions(filter)).filter(
      ({ agentId, owner, status: state }) =>
        (!owned || owner) &&
        (!free || !owner) &&
        (!agent || agent.includes(agentId)) &&
        (!instance || owner?.instanceId === instance || owner?.hostname === instance) &&
        (!status || state === status),
    );
    sessions.sort((a, b) => (a.agentId < b.agentId ? -1 : 1));
    const database = describeDatabase(databaseUrlOf(options));
    output.result({ database, agents: sessions.map(document) }, lines(database, sessions));
  });
}

/** As JSON has it; a token is text, for it may be more than a number of JavaScript holds. */
function document({ mine: _, owner, ...session }) {
  return { ...session, owner: owner && { ...owner, fencingToken: String(owner.fencingToken) } };
}

function* lines(database, sessions) {
  yield database;
  yield '';
  if (sessions.length > 0) yield* table(HEAD, sessions.map(row));
  else yield 'no agents';
  const owned = sessions.filter(({ owner }) => owner).length;
  yield '';
  yield `${counted(sessions.length, 'agent')}, ${owned} with a live owner`;
}

function row({ agentId, status, isActive, owner }) {
  const { instanceId, hostname, pid, heartbeatAgeMs, fencingToken } = owner ?? {};
  const age = owner && `${duration(heartbeatAgeMs)} ago`;
  return [agentId, status, isActive ? 'yes' : 'no', instanceId, hostname, pid, age, fencingToken];
}

const examples = [
  'npx baileys-guard status',
  'npx baileys-guard status --active --free        # should run, and nobody runs them',
  'npx baileys-guard status --instance server-2',
  "npx baileys-guard status --json | jq -r '.agents[].agentId'",
];

module.exports = { declare, run, examples };
