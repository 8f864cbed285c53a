'use strict';

// The wrong protocols, as edits of the real sources. `find` has to be there exactly once: a mutant
// that no longer applies is out of date, and fails the run. `test` is what has to catch it. `short`
// are one of each rule without which an agent gets two owners, on the database where more can go wrong.

const LEASES = 'src/store/sqlite/leases.rs';
const SESSIONS = 'src/store/sqlite/sessions.rs';
const FENCE_ON_POSTGRES = 'src/store/postgres/mod.rs';
const LEASES_ON_POSTGRES = 'src/store/postgres/leases.rs';

const conformance = (name) => ({ cargo: ['conformance_sqlite', name] });
const conformanceOnPostgres = (name) => ({ cargo: ['conformance_postgres', name] });
const unit = (name) => ({ cargo: ['lib', name] });
const TAKEOVER_WAITS = 'locks::a_write_waits_for_a_locked_row_and_a_takeover_for_the_write';
const model = (name) => ({ cargo: ['model', name] });
const inJest = (file, name) => ({ jest: [`__test__/${file}.test.js`, name] });

module.exports = [
  {
    name: 'a claim takes agents of living owners',
    file: LEASES,
    find: 'AND (l.held = 0 OR o.dead_at IS NOT NULL OR o.incarnation IS NULL))',
    replace: 'AND true)',
    test: conformance('claims::a_refused_claim_writes_nothing'),
  },
  {
    name: 'a claim frees nothing of the dead',
    file: LEASES,
    find: 'AND (l.held = 0 OR o.dead_at IS NOT NULL OR o.incarnation IS NULL))',
    replace: 'AND l.held = 0)',
    test: conformance('takeovers::from_an_owner_that_fell_silent'),
  },
  {
    name: 'a claim selects, then upserts',
    file: 'src/store/sqlite/connection.rs',
    find: 'begin_with("BEGIN IMMEDIATE")',
    replace: 'begin_with("BEGIN DEFERRED")',
    test: conformance('takeovers::a_thousand_fresh_agents_have_one_winner_each'),
  },
  {
    name: 'a late duplicate of a claim is granted again',
    file: LEASES,
    find: '(l.incarnation = ?1 AND l.seq < ?3)',
    replace: '(l.incarnation = ?1 AND ?3 = ?3)',
    test: conformance('claims::only_a_newer_sequence_claims_again'),
  },
  {
    name: 'a takeover keeps the token',
    file: LEASES,
    find: 'token = max(token + 1, excluded.token)',
    replace: 'token = token',
    test: conformance('takeovers::tokens_only_grow'),
  },
  {
    name: 'a burial does not compare the counter',
    file: LEASES,
    find: 'WHERE incarnation = ?1 AND beat = ?2 AND dead_at IS NULL',
    replace: 'WHERE incarnation = ?1 AND ?2 = ?2 AND dead_at IS NULL',
    test: conformance('instances::a_burial_needs_the_count_that_was_watched'),
  },
  {
    name: 'a beat revives the dead',
    file: LEASES,
    find: `        " WHERE incarnation = ?1 AND dead_at IS NULL"
    ));
    let alive`,
    replace: `        ", dead_at = NULL WHERE incarnation = ?1"
    ));
    let alive`,
    test: conformance('instances::the_dead_stay_dead'),
  },
  {
    name: 'a release does not compare the token',
    file: LEASES,
    find: 'AND l.token = j.value ->> 2 AND l.held = 1)',
    replace: 'AND l.held = 1)',
    test: conformance('claims::a_release_of_an_old_term_touches_nothing'),
  },
  {
    name: 'a write is not fenced',
    file: SESSIONS,
    find: 'sql.push(" AND EXISTS (SELECT 1',
    replace: 'sql.push(" AND true OR EXISTS (SELECT 1',
    test: conformance('fences::a_frozen_owner_never_writes_after_its_successor'),
  },
  {
    name: 'a fence does not compare the token',
    file: SESSIONS,
    find: 'sql.push(" AND token = ").push_bind(fence.token).push(")");',
    replace: 'sql.push(" AND token >= ").push_bind(0_i64.min(fence.token)).push(")");',
    test: conformance('fences::only_the_holder_writes'),
  },
  {
    name: 'a write is not fenced on PostgreSQL',
    file: FENCE_ON_POSTGRES,
    find: 'l.agent_id = $1 AND l.incarnation = $2 AND l.token = $3 AND l.held',
    replace: 'l.agent_id = $1 AND (l.incarnation = $2 AND l.token = $3 AND l.held OR true)',
    test: conformanceOnPostgres('fences::only_the_holder_writes'),
    short: true,
  },
  {
    name: 'a fence does not compare the token on PostgreSQL',
    file: FENCE_ON_POSTGRES,
    find: 'AND l.token = $3 AND l.held',
    replace: 'AND l.token >= least(0, $3) AND l.held',
    test: conformanceOnPostgres('fences::only_the_holder_writes'),
    short: true,
  },
  {
    name: 'a fence without FOR SHARE',
    file: FENCE_ON_POSTGRES,
    find: 'FOR SHARE OF l), ",',
    replace: '), ",',
    test: { cargo: ['store_postgres', TAKEOVER_WAITS] },
    short: true,
  },
  {
    name: 'a fence that locks the key only',
    file: FENCE_ON_POSTGRES,
    find: 'FOR SHARE OF l), ",',
    replace: 'FOR KEY SHARE OF l), ",',
    test: { cargo: ['store_postgres', TAKEOVER_WAITS] },
  },
  {
    name: 'a claim looks, then takes, on PostgreSQL',
    file: LEASES_ON_POSTGRES,
    find: `WHERE CASE WHEN l.incarnation = EXCLUDED.incarnation THEN l.seq < EXCLUDED.seq
                   ELSE NOT l.held OR EXISTS (
                     SELECT 1 FROM baileys_guard_instance o
                      WHERE o.incarnation = l.incarnation AND o.dead_at IS NOT NULL) END`,
    replace: '',
    test: conformanceOnPostgres('takeovers::a_thousand_orphans_have_one_winner_each'),
    short: true,
  },
  {
    name: 'a takeover keeps the token on PostgreSQL',
    file: LEASES_ON_POSTGRES,
    find: 'token = greatest(l.token + 1, EXCLUDED.token)',
    replace: 'token = l.token',
    test: conformanceOnPostgres('takeovers::tokens_only_grow'),
  },
  {
    name: 'a burial does not compare the counter on PostgreSQL',
    file: LEASES_ON_POSTGRES,
    find: 'WHERE incarnation = $1 AND beat = $2 AND dead_at IS NULL',
    replace: 'WHERE incarnation = $1 AND beat >= least(0, $2) AND dead_at IS NULL',
    test: conformanceOnPostgres('instances::a_burial_needs_the_count_that_was_watched'),
    short: true,
  },
  {
    name: 'a beat revives the dead on PostgreSQL',
    file: LEASES_ON_POSTGRES,
    find: `"), beat_at = clock_timestamp()
        WHERE incarnation = $1 AND dead_at IS NULL RETURNING incarnation),`,
    replace: `"), beat_at = clock_timestamp(), dead_at = NULL
        WHERE incarnation = $1 RETURNING incarnation),`,
    test: conformanceOnPostgres('instances::the_dead_stay_dead'),
    short: true,
  },
  {
    name: 'a release goes by the agent alone on PostgreSQL',
    file: 'src/store/postgres/host.rs',
    find: `ON (g.agent_id, g.incarnation, g.token) = (l.agent_id, l.incarnation, l.token)
                WHERE l.held ORDER BY`,
    replace: `ON g.agent_id = l.agent_id
                WHERE l.held ORDER BY`,
    test: conformanceOnPostgres(
      'takeovers::a_release_that_races_a_takeover_frees_nothing_of_the_successors',
    ),
  },
  {
    name: 'whoever was granted an agent is shown, whoever has it by now',
    file: 'src/store/postgres/host.rs',
    find: `USING (agent_id)
                WHERE l.incarnation = $1 AND l.held),
             {newest}, {locked},
             shown`,
    replace: `USING (agent_id)),
             {newest}, {locked},
             shown`,
    test: conformanceOnPostgres('sessions::a_superseded_owner_is_not_shown'),
  },
  {
    name: 'the trust window has no margin',
    file: 'src/ownership/trust.rs',
    find: '(sent + (self.ttl - margin(self.ttl)))',
    replace: '(sent + self.ttl)',
    test: model('ours::a_takeover_leaves_one_owner'),
  },
  {
    name: 'the watch waits for half of the time to live',
    file: 'src/ownership/watch.rs',
    find: 'now.since(seen.unchanged_since) >= seen.peer.ttl)',
    replace: 'now.since(seen.unchanged_since) >= seen.peer.ttl / 2)',
    test: unit('watch::tests::a_counter_that_stands_still_for_the_ttl_is_silent'),
    short: true,
  },
  {
    name: 'the watch does not mind a read that failed',
    file: 'src/ownership/watch.rs',
    find: 'self.last_read = None;',
    replace: '',
    test: unit('watch::tests::one_read_that_failed_is_enough_to_start_anew'),
  },
  {
    name: 'the watch does not mind that it slept',
    file: 'src/ownership/watch.rs',
    find: 'gap.is_some_and(|gap| gap <= peer.ttl / 2)',
    replace: 'gap.is_some()',
    test: unit('watch::tests::a_watcher_that_slept_trusts_nothing_it_knew_before'),
  },
  {
    name: 'an owner trusts its claims until it is told otherwise',
    file: 'src/ownership/claim.rs',
    find: '!self.dead.load(Ordering::SeqCst) && self.trust.holds(now)',
    replace: '!self.dead.load(Ordering::SeqCst) && now >= Tick::from_start(Default::default())',
    test: inJest('10.claims', 'claims on sqlite without a heartbeat a claim is lost'),
    short: true,
  },
  {
    name: 'a lease that was deleted goes unnoticed',
    file: 'src/ownership/pulse.rs',
    find: 'beat.alive && self.ledger.totals() != (beat.held, beat.token_sum)',
    replace: 'beat.alive && self.ledger.totals().0 < beat.held',
    test: inJest('10.claims', 'claims on sqlite a deleted lease row ends the claim'),
  },
  {
    name: 'a claim is trusted from when the answer to a beat came',
    file: 'src/ownership/pulse.rs',
    find: 'term.trust.renewed(sent);',
    replace: 'term.trust.renewed(received);',
    test: inJest('13.database-faults', 'a claim is trusted from when its last beat was sent'),
  },
  {
    name: 'a claim waits without a second look',
    file: 'src/ownership/guard.rs',
    find: 'continue; // what became free before it was watched is not told',
    replace: '// straight to waiting',
    test: inJest('11.takeover', 'a release is not missed by a claim that begins to wait'),
  },
  {
    name: 'what is listed is compared with what is held now',
    file: 'src/ownership/pulse.rs',
    find: 'fence.incarnation == term.incarnation() && before.contains(&fence)',
    replace: 'fence.incarnation == term.incarnation() && !before.is_empty()',
    test: inJest('16.endings', 'a list from before a claim was taken up again'),
  },
  {
    name: 'a lease is moved from whoever has it',
    file: 'src/store/sqlite/seizure.rs',
    find: 'AND incarnation = ?3 AND token = ?4 AND held = 1',
    replace: 'AND ?3 = ?3 AND ?4 = ?4 AND held = 1',
    test: conformance('takeovers::from_ones_own_term_before'),
  },
  {
    name: 'a write without an answer is written again under the same token',
    file: 'src/ownership/writing.rs',
    find: 'self.claim.doubt(fence);',
    replace: 'let _ = fence;',
    test: inJest('16.endings', 'a write that arrives late does not undo what the same owner'),
  },
  {
    name: 'whatever is free is taken up again',
    file: 'src/ownership/claiming.rs',
    find: 'inner.claim_resolved(&term, &untouched)',
    replace: 'inner.claim_resolved(&term, [&agents, &untouched][0])',
    test: inJest('13.database-faults', 'an outage ends nothing until somebody else owns the agent'),
  },
];
