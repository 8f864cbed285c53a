//! The statements on `baileys_guard_rate_limit`.
//!
//! Parameters of those that count hits: $1 ids in order, $2 how many hits on each, $3 limiter,
//! $4 points (gcra: spacing of so many in ns), $5 limit (gcra: by how much the hit may be early, in
//! ns), $6 window (gcra: block and tolerance in ns), $7 block, $8 waits, $9 clock (null for the
//! server's).

/// Milliseconds on the caller's clock or the server's.
macro_rules! clock {
    ($given:literal) => {
        concat!("coalesce(", $given, ",
            floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)")
    };
}

/// An upsert whose new state is one expression over the old: a fresh row's, or the row's own.
macro_rules! upsert {
    ($state:ident) => {
        concat!(
            "INSERT INTO baileys_guard_rate_limit AS l
               (id, limiter, at, ahead, passed, taken, refused, due, keep_until, log)
             SELECT h.id, $3, s.* FROM unnest($1::bytea[], $2::bigint[]) AS h (id, times),
               LATERAL ", $state!("h.times", "0", "0", "0", "0", "0", "NULL::bigint[]"), " s
              ORDER BY h.id
             ON CONFLICT (id) DO UPDATE SET
               (at, ahead, passed, taken, refused, due, keep_until, log) = ",
               $state!("($2::bigint[])[array_position($1::bytea[], l.id)]",
                       "l.at", "l.ahead", "l.taken", "l.refused", "l.due", "l.log"), "
             RETURNING l.id, l.at, l.passed, l.taken, l.refused, l.due,
               l.log[1] AS oldest, l.log[greatest(l.taken + $4 - $5, 1)] AS leaving"
        )
    };
}

/// The row's steady clock: `c.clock` is the wall's reading, `n.now` the moment.
macro_rules! steady {
    ($clock:literal, $at:literal, $ahead:literal) => {
        concat!(
            "(SELECT ", clock!($clock), " AS clock) c,
             LATERAL (SELECT greatest(c.clock + ", $ahead, ", ", $at, ") AS now) n"
        )
    };
}

/// What comes of `o.times` hits of which `p.passed` pass: points taken then, refusals before the
/// first that did not pass, and whether that one blocks the key.
macro_rules! outcome {
    ($taken:literal) => {
        concat!(
            "LATERAL (SELECT p.passed, ", $taken, " AS taken,
                  CASE WHEN p.passed > 0 THEN 0 ELSE o.refused END AS refused) v,
               LATERAL (SELECT v.passed < o.times AND v.refused = 0 AND $7 > 0 AND NOT $8
                  AS blocks) b"
        )
    };
}

macro_rules! fixed_window {
    ($times:expr, $at:literal, $ahead:literal, $taken:literal, $refused:literal, $due:literal,
     $log:literal) => {
        concat!(
            "(SELECT o.now, o.now - o.clock, v.passed,
                CASE WHEN b.blocks THEN greatest(v.taken, $5) ELSE v.taken END,
                CASE WHEN $8 THEN v.refused ELSE v.refused + o.times - v.passed END,
                CASE WHEN b.blocks THEN greatest(o.due, o.now + $7) ELSE o.due END,
                CASE WHEN b.blocks THEN greatest(o.due, o.now + $7) ELSE o.due END,
                NULL::bigint[]
               FROM (SELECT ", $times, " AS times, c.clock, n.now,
                       CASE WHEN ", $due, " > n.now THEN ", $taken, " ELSE 0 END AS taken,
                       CASE WHEN ", $due, " > n.now THEN ", $refused, " ELSE 0 END AS refused,
                       CASE WHEN ", $due, " > n.now THEN ", $due, " ELSE n.now + $6 END AS due
                       FROM ", steady!("$9", $at, $ahead), ") o,
               LATERAL (SELECT least(o.times, greatest($5 - o.taken, 0) / $4) AS passed) p,
               ", outcome!("o.taken + p.passed * $4"), ")"
        )
    };
}

macro_rules! sliding_window {
    ($times:expr, $at:literal, $ahead:literal, $taken:literal, $refused:literal, $due:literal,
     $log:literal) => {
        concat!(
            "(SELECT o.now, o.now - o.clock, v.passed, v.taken,
                CASE WHEN $8 THEN v.refused ELSE v.refused + o.times - v.passed END,
                d.due,
                greatest(d.due,
                  CASE WHEN v.passed > 0 THEN o.now ELSE coalesce(o.log[o.taken], 0) END + $6),
                CASE WHEN v.passed > 0
                     THEN o.log || array_fill(o.now, ARRAY[(v.passed * $4)::int]) ELSE o.log END
               FROM (SELECT ", $times, " AS times, c.clock, n.now,
                       k.log, cardinality(k.log)::bigint AS taken, ",
                       $refused, " AS refused, ", $due, " AS due
                       FROM ", steady!("$9", $at, $ahead), ",
                       LATERAL (SELECT ARRAY(SELECT m FROM unnest(", $log, ") AS u (m)
                                              WHERE m > n.now - $6 ORDER BY m) AS log) k) o,
               LATERAL (SELECT CASE WHEN o.due <= o.now
                  THEN least(o.times, greatest($5 - o.taken, 0) / $4) ELSE 0 END AS passed) p,
               ", outcome!("o.taken + p.passed * $4"), ",
               LATERAL (SELECT CASE WHEN b.blocks THEN o.now + $7
                  WHEN v.passed > 0 THEN 0 ELSE o.due END AS due) d)"
        )
    };
}

macro_rules! gcra {
    ($times:expr, $at:literal, $ahead:literal, $taken:literal, $refused:literal, $due:literal,
     $log:literal) => {
        concat!(
            "(SELECT o.now, o.now - o.clock, v.passed, v.taken,
                CASE WHEN $8 THEN v.refused ELSE v.refused + o.times - v.passed END,
                d.due, d.due / 1000000 + 1, NULL::bigint[]
               FROM (SELECT ", $times, " AS times, c.clock, n.now, n.now * 1000000 AS ns, ",
                       $refused, " AS refused, ", $due, " AS due
                       FROM ", steady!("$9", $at, $ahead), ") o,
               LATERAL (SELECT CASE WHEN $5 >= 0 AND o.ns + $5 >= greatest(o.due, o.ns)
                  THEN least(o.times, (o.ns + $5 - greatest(o.due, o.ns)) / $4 + 1)
                  ELSE 0 END AS passed) p,
               ", outcome!("0"), ",
               LATERAL (SELECT CASE WHEN v.passed > 0 THEN greatest(o.due, o.ns) + v.passed * $4
                                    ELSE o.due END AS due) t,
               LATERAL (SELECT CASE WHEN b.blocks THEN greatest(t.due, o.ns + $6)
                                    ELSE t.due END AS due) d)"
        )
    };
}

pub(super) const TAKE_FIXED_WINDOW: &str = upsert!(fixed_window);
pub(super) const TAKE_SLIDING_WINDOW: &str = upsert!(sliding_window);
pub(super) const TAKE_GCRA: &str = upsert!(gcra);

/// $1 id, $2 clock. A key without a row has nothing but `at`.
pub(super) const PEEK: &str = concat!(
    "SELECT greatest(c.clock + coalesce(l.ahead, 0), coalesce(l.at, c.clock)) AS at,
            l.taken, l.refused, l.due, l.log
       FROM (SELECT ", clock!("$2"), " AS clock) c
       LEFT JOIN baileys_guard_rate_limit l ON l.id = $1"
);

/// $1 id, $2 points, $3 the moment of the hit, $4 window, $5 clock.
pub(super) const REFUND_FIXED_WINDOW: &str = concat!(
    "UPDATE baileys_guard_rate_limit l SET (at, ahead, taken, refused) =
       (SELECT n.now, n.now - c.clock,
          CASE WHEN v.counts THEN greatest(l.taken - $2, 0) ELSE l.taken END,
          CASE WHEN v.counts THEN 0 ELSE l.refused END
          FROM ", steady!("$5", "l.at", "l.ahead"), ",
               LATERAL (SELECT l.due > n.now AND $3 >= l.due - $4 AS counts) v)
      WHERE l.id = $1"
);

/// Takes out the moments of that hit, as many as there are points, if it is there. Parameters as
/// above.
pub(super) const REFUND_SLIDING_WINDOW: &str = concat!(
    "UPDATE baileys_guard_rate_limit l SET (at, ahead, refused, log) =
       (SELECT n.now, n.now - c.clock,
          CASE WHEN $3 > n.now - $4 AND $3 = ANY (l.log) THEN 0 ELSE l.refused END,
          ARRAY(SELECT m FROM unnest(l.log) WITH ORDINALITY AS u (m, i)
                 WHERE $3 <= n.now - $4
                    OR i NOT IN (SELECT j FROM unnest(l.log) WITH ORDINALITY AS w (o, j)
                                  WHERE o = $3 ORDER BY j LIMIT $2) ORDER BY i)
          FROM ", steady!("$5", "l.at", "l.ahead"), ")
      WHERE l.id = $1"
);

/// $1 id, $2 points, $3 the moment of the hit, $4 spacing, $5 clock.
pub(super) const REFUND_GCRA: &str = concat!(
    "UPDATE baileys_guard_rate_limit l SET (at, ahead, refused, due) =
       (SELECT n.now, n.now - c.clock, CASE WHEN g.back > 0 THEN 0 ELSE l.refused END,
          greatest(l.due - g.back, 0)
          FROM ", steady!("$5", "l.at", "l.ahead"), ",
               LATERAL (SELECT greatest($2 * $4 - greatest(n.now - $3, 0) * 1000000, 0) AS back) g)
      WHERE l.id = $1"
);

pub(super) const RESET: &str = "DELETE FROM baileys_guard_rate_limit WHERE id = $1";

/// Deletes what says nothing any more in a stretch of pages, from page $1 on.
pub(super) const SWEEP: &str = concat!(
    "WITH swept AS (
       DELETE FROM baileys_guard_rate_limit WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM baileys_guard_rate_limit
          WHERE ctid >= ('(' || $1 || ',0)')::tid AND ctid < ('(' || $1 + 64 || ',0)')::tid
            AND keep_until <= ", clock!("NULL::bigint"), " + ahead
            FOR UPDATE SKIP LOCKED)) RETURNING 1)
     SELECT count(*) AS swept,
            CASE WHEN ($1 + 64) * 8192 < pg_relation_size('baileys_guard_rate_limit')
                 THEN $1 + 64 ELSE 0 END AS next FROM swept"
);
