'use strict';

// `release`: frees an agent whose owner does not.
//
// An owner that is dead is taken over and the agent given back. One that may only be silent is
// waited for, for its time to live. One that lives keeps its agent, unless it is forced: its term
// then ends in the database, where every further write of it is refused, and the agent is held
// here until the owner is sure to have noticed, so that nobody opens a second socket meanwhile.

const { setTimeout: sleep } = require('node:timers/promises');

const { AgentInUseError } = require('../errors');
const { seconds } = require('./arguments');
const { describeOwner, duration } = require('./output');
const { checkKnown } = require('./with-claim');
const { withGuard } = require('./with-guard');

/** Beyond the earliest moment at which an owner can be found dead. */
const GRACE_MS = 2000;
/** How often a wait looks whether the owner has been heard of meanwhile. */
const LOOK_MS = 1000;

function declare(program) {
  return program
    .command('release <agentId>')
    .summary('frees an agent whose owner is dead or stuck')
    .description(
      'Frees an agent whose owner does not. A dead owner is noticed at once on the same machine ' +
        'and after its time to live elsewhere; a live one keeps its agent unless --force is given.',
    )
    .option('--wait <seconds>', 'how long to wait for a silent owner (default: as needed)', seconds)
    .option('--force', 'takes the agent from a live owner, whose writes are refused from then on')
    .option('--deactivate', 'also marks the session as one that should not run');
}

async function run({ args: [agentId], options, output }) {
  const { wait, force, deactivate = false } = options;
  return withGuard({ options, output }, async (guard, signal) => {
    await checkKnown(guard, agentId);
    const owner = await guard.getOwner(agentId);
    guard.startHeartbeat();
    const { claim, settlesAfterMs } = force
      ? await seize(guard, agentId)
      : { claim: await claimOrWait(guard, agentId, wait, output), settlesAfterMs: 0 };
    if (settlesAfterMs > 0) {
      output.note(
        `${agentId} is taken; held for ${duration(settlesAfterMs)} until its former owner is ` +
          'sure to have stopped',
      );
      await hold(claim, settlesAfterMs, signal);
    }
    await claim.release({ deactivate });
    output.result(
      { agentId, released: true, deactivated: deactivate, forced: settlesAfterMs > 0, owner },
      [`${agentId} is free${deactivate ? ' and deactivated' : ''}`, ...formerly(owner)],
    );
  });
}

function seize(guard, agentId) {
  const { Guard } = require('../guard');
  return Guard.operatorOf(guard).seize(agentId);
}

async function claimOrWait(guard, agentId, wait, output) {
  try {
    return await guard.claimInstance(agentId);
  } catch (error) {
    if (!(error instanceof AgentInUseError) || wait === 0) throw error;
    const waitMs = wait ?? error.retryAfterMs + GRACE_MS;
    output.note(describeOwner(error.owner));
    output.note(`waiting up to ${duration(waitMs)} whether it stays silent`);
    return claimWithin(guard, agentId, waitMs, (owner) => {
      // Who asked for no time of his own waits for the dead only.
      return wait !== undefined || owner.lastHeartbeat <= error.owner.lastHeartbeat;
    });
  }
}

async function claimWithin(guard, agentId, waitMs, goesOn) {
  const end = performance.now() + waitMs;
  for (;;) {
    const left = Math.max(0, end - performance.now());
    try {
      return await guard.claimInstance(agentId, { waitMs: Math.min(left, LOOK_MS) });
    } catch (error) {
      if (!(error instanceof AgentInUseError) || left === 0 || !goesOn(error.owner)) throw error;
    }
  }
}

async function hold(claim, ms, signal) {
  const ended = AbortSignal.any([signal, claim.signal]);
  await sleep(ms, undefined, { signal: ended }).catch(() => ended.throwIfAborted());
}

function formerly(owner) {
  return owner ? [`former ${describeOwner(owner)}`] : [];
}

const examples = [
  'npx baileys-guard release agent-1',
  'npx baileys-guard release agent-1 --wait 0       # only if its owner is known to be dead',
  'npx baileys-guard release agent-1 --deactivate   # and let nobody resume it',
  'npx baileys-guard release agent-1 --force        # even from a live owner',
];

module.exports = { declare, run, examples };
